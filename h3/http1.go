package h3

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// HTTP/1.1 is what most balancers speak to their origins. One request at a time
// has a connection there, and the connection goes on to the next request, of
// another client perhaps: what one request does to it must end with that request.

// overHTTP1 gives requests over HTTP/1 a writer that keeps to that.
func overHTTP1(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 {
			next.ServeHTTP(w, r)
			return
		}
		x := &http1Writer{ResponseWriter: w, read: r.Body == nil || r.Body == http.NoBody}
		if !x.read {
			r = r.WithContext(r.Context())
			r.Body = http1Body{r.Body, x}
		}
		next.ServeHTTP(x, r)
		x.hurry()
	})
}

// http1Writer is the response to a request over HTTP/1.
type http1Writer struct {
	http.ResponseWriter

	mu      sync.Mutex
	read    bool // the request's body is at its end
	hurried bool // or it has so much time left, and no more
}

// Unwrap is for http.ResponseController.
func (w *http1Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// SetReadDeadline sets the deadline while there is a body to read. After that
// net/http reads on without one to notice that the client has gone, and takes a
// deadline that passes for just that: the context of this request would end, and
// that of every later one on the connection.
func (w *http1Writer) SetReadDeadline(at time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.read {
		return nil
	}
	return http.NewResponseController(w.ResponseWriter).SetReadDeadline(at)
}

// hurry bounds the time that the rest of the body has. net/http reads it before
// it sends the answer, and would wait for it as long as the client likes.
func (w *http1Writer) hurry() {
	w.mu.Lock()
	done := w.hurried
	w.hurried = true
	w.mu.Unlock()
	if !done {
		_ = w.SetReadDeadline(time.Now().Add(bodyTime))
	}
}

// WriteHeader begins the answer.
func (w *http1Writer) WriteHeader(status int) {
	if status >= 200 {
		w.hurry()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *http1Writer) Write(b []byte) (int, error) {
	w.hurry()
	return w.ResponseWriter.Write(b)
}

// atEnd notes that the body has been read.
func (w *http1Writer) atEnd() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read = true
}

// EnableFullDuplex is for handlers that answer a body while it comes, where
// net/http would wait for its end first, which never comes. What is left of such
// a body when the handler is done must not be taken for a request: the connection
// has no other.
func (w *http1Writer) EnableFullDuplex() error {
	w.mu.Lock()
	w.hurried = true
	w.mu.Unlock()
	w.Header().Set("Connection", "close")
	return http.NewResponseController(w.ResponseWriter).EnableFullDuplex()
}

// http1Body is the body of a request over HTTP/1.
type http1Body struct {
	io.ReadCloser
	w *http1Writer
}

func (b http1Body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.w.atEnd()
	}
	return n, err
}

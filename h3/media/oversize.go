package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/webtransport-go"

	"riptide/h3/chunk"
)

// maxOversize is how many chunks that fit no datagram are on their way at once
// on a session. A picture has a few dozen packets, and a stream is done with in a
// round trip.
const maxOversize = 64

var errOversize = errors.New("too many chunks that fit no datagram")

// oversize sends chunks that fit no datagram, each on a stream of its own, beside
// everything else: a stream waits for the peer and for lost packets, which
// datagrams must not.
type oversize struct {
	mu     sync.Mutex
	n      int
	closed bool
	wg     sync.WaitGroup
}

// send sends a chunk behind prefix, and then calls done, perhaps at once. It
// keeps nothing of either, and does not wait.
func (o *oversize) send(s session, prefix, b []byte, done func(error)) {
	str, ok := s.(streams)
	if !ok {
		done(errors.New("chunk too large for the path"))
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.n == maxOversize {
		done(errOversize)
		return
	}
	o.n++
	whole := slices.Concat(prefix, b)
	o.wg.Go(func() {
		err := writeStream(str, whole)
		o.mu.Lock()
		o.n--
		o.mu.Unlock()
		done(err)
	})
}

// close takes no more, and waits for what is on its way: not long, since a
// stream has a time limit.
func (o *oversize) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.wg.Wait()
}

// writeStream writes a stream from end to end.
func writeStream(s streams, b []byte) error {
	str, err := s.OpenUniStream()
	if err != nil {
		return fmt.Errorf("open a stream for a chunk of %d bytes: %w", len(b), err)
	}
	if err := str.SetWriteDeadline(time.Now().Add(streamTimeout)); err != nil {
		return fmt.Errorf("send a chunk on a stream: %w", err)
	}
	if _, err := str.Write(b); err != nil {
		str.CancelWrite(0)
		return fmt.Errorf("send a chunk on a stream: %w", err)
	}
	return str.Close()
}

// maxReading is how many streams of a session are read at once.
const maxReading = 16

// eachStream hands the streams that the peer opens to read, several at once: a
// lost packet of one must not hold up the others. It returns when ctx has ended
// and all are done.
func eachStream(ctx context.Context, s streams, read func(*webtransport.ReceiveStream)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, maxReading)
	for {
		str, err := s.AcceptUniStream(ctx)
		if err != nil {
			return
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		wg.Go(func() {
			defer func() { <-places }()
			read(str)
		})
	}
}

// readStream reads a stream of one chunk.
func readStream(str *webtransport.ReceiveStream) ([]byte, error) {
	if err := str.SetReadDeadline(time.Now().Add(streamTimeout)); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(str, chunk.MaxChunk+9))
	if err == nil && len(b) > chunk.MaxChunk+8 {
		err = errors.New("more than a chunk")
	}
	if err != nil {
		str.CancelRead(0)
		return nil, err
	}
	return b, nil
}

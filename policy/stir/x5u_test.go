package stir

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestCheckURL(t *testing.T) {
	long := "https://a.example/" + strings.Repeat("p", maxURL-len("https://a.example/"))
	for _, good := range []string{testX, "https://a.example", "https://[::1]:8443/x?y=z;w", "https://a.example/%20&x", long} {
		if err := CheckURL(good); err != nil {
			t.Errorf("%.40q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", long + "p", "http://a.example/x", "file:///etc/passwd", "//a.example/x", "a.example", "https:///x", "https://:443/x",
		"https://user@a.example/", "https://user:pw@a.example/", "https://a.example/#x", "https://a.example/#",
		"https://a.example/ x", "https://a.example/\n", "https://a.example/<x>", "https://a.example/é", `https://a.example/"`, `https:\\a.example`,
		"https://a.example/%zz", "https://a.example:port/",
	} {
		if err := CheckURL(bad); !errors.Is(err, ErrURL) {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
}

// origin is what a Source fetches from in tests.
type origin struct {
	mu     sync.Mutex
	pem    []byte
	maxAge time.Duration
	err    error
	delay  time.Duration
	count  int
}

func (o *origin) fetch(ctx context.Context, _ string) ([]byte, time.Duration, error) {
	o.mu.Lock()
	o.count++
	delay := o.delay
	o.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.pem, o.maxAge, o.err
}

func (o *origin) fetched() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.count
}

// longLived is a chain that outlasts the clock of a synctest bubble, which
// starts in 2000.
func longLived(t testing.TB, notAfter time.Time) []byte {
	t.Helper()
	certPEM, _, err := GenerateCA("ca", nil, time.Until(notAfter), time.Now())
	must(t, err)
	return certPEM
}

func TestSourceKeeps(t *testing.T) {
	for _, tc := range []struct {
		name   string
		maxAge time.Duration
		life   time.Duration // of the leaf
		err    error
		want   time.Duration
	}{
		{"no word", 0, 48 * time.Hour, nil, time.Minute},
		{"a second", time.Second, 48 * time.Hour, nil, time.Minute},
		{"an hour", time.Hour, 48 * time.Hour, nil, time.Hour},
		{"a week", 7 * 24 * time.Hour, 48 * time.Hour, nil, 24 * time.Hour},
		{"until the leaf expires", time.Hour, 10 * time.Minute, nil, 10 * time.Minute},
		{"a failure", time.Hour, time.Hour, errors.New("refused"), 30 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := &origin{pem: longLived(t, time.Now().Add(tc.life)), maxAge: tc.maxAge, err: tc.err}
			s := NewSource(o.fetch, time.Now)
			get := func() {
				if _, err := s.Chain(t.Context(), testX); !errors.Is(err, tc.err) {
					t.Errorf("%s: %v", tc.name, err)
				}
			}
			get()
			time.Sleep(tc.want)
			get()
			if n := o.fetched(); n != 1 {
				t.Errorf("%s: fetched %d times within %s", tc.name, n, tc.want)
			}
			time.Sleep(time.Nanosecond)
			get()
			if n := o.fetched(); n != 2 {
				t.Errorf("%s: fetched %d times after %s", tc.name, n, tc.want)
			}
		})
	}
}

func TestSourceRefusals(t *testing.T) {
	o := &origin{pem: []byte("<html>not found</html>")}
	s := NewSource(o.fetch, time.Now)
	if _, err := s.Chain(t.Context(), "http://a.example/"); !errors.Is(err, ErrURL) || o.fetched() != 0 {
		t.Errorf("plain http: %v, fetched %d times", err, o.fetched())
	}
	for range 2 {
		if _, err := s.Chain(t.Context(), testX); !errors.Is(err, ErrChain) {
			t.Errorf("no chain: %v", err)
		}
	}
	if o.fetched() != 1 {
		t.Errorf("a page that is no chain was fetched %d times", o.fetched())
	}
}

func TestSourceSharesFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{pem: longLived(t, time.Now().Add(time.Hour)), delay: time.Second}
		s := NewSource(o.fetch, time.Now)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if chain, err := s.Chain(t.Context(), testX); err != nil || len(chain) != 1 {
					t.Errorf("%d certificates, %v", len(chain), err)
				}
			})
		}
		wg.Wait()
		if n := o.fetched(); n != 1 {
			t.Errorf("fetched %d times", n)
		}
	})
}

// The caller whose call started the fetch hangs up: the others get their chain
// all the same, and nothing is held against the URL.
func TestSourceSurvivesItsFetcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{pem: longLived(t, time.Now().Add(time.Hour)), delay: time.Second}
		s := NewSource(o.fetch, time.Now)
		first, hangUp := context.WithCancel(t.Context())
		impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := s.Chain(first, testX); !errors.Is(err, context.Canceled) {
				t.Errorf("who hung up: %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := s.Chain(t.Context(), testX); err != nil {
				t.Errorf("who waited: %v", err)
			}
		})
		wg.Go(func() {
			if _, err := s.Chain(impatient, testX); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who waited in vain: %v", err)
			}
		})
		time.Sleep(500 * time.Millisecond)
		hangUp()
		wg.Wait()
		if n := o.fetched(); n != 2 {
			t.Errorf("fetched %d times", n)
		}
	})
}

func TestSourceLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{pem: longLived(t, time.Now().Add(time.Hour)), delay: time.Second}
		s := NewSource(o.fetch, time.Now)
		urlOf := func(i int) string { return fmt.Sprintf("https://a.example/%d", i) }
		var wg sync.WaitGroup
		for i := range maxFetches {
			wg.Go(func() {
				if _, err := s.Chain(t.Context(), urlOf(i)); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if _, err := s.Chain(t.Context(), testX); err == nil || !strings.Contains(err.Error(), "too many") {
			t.Errorf("fetch %d at once: %v", maxFetches+1, err)
		}
		wg.Wait()
		if _, err := s.Chain(t.Context(), testX); err != nil {
			t.Errorf("after that: %v", err)
		}
	})

	var l lru
	now := epoch
	put := func(url string) { l.put(&keptChain{url: url, until: now}) }
	for i := range maxKept {
		put(fmt.Sprint(i))
	}
	put("5")
	if l.order.Len() != maxKept || len(l.byURL) != maxKept {
		t.Errorf("%d kept", l.order.Len())
	}
	if l.get("0", now) == nil { // and now it is the one used last
		t.Error("the first was dropped at the limit")
	}
	put("one more")
	if l.order.Len() != maxKept || l.get("0", now) == nil || l.get("1", now) != nil {
		t.Error("one past the limit the one used longest ago must go")
	}
	if l.get("2", now.Add(1)) != nil || l.byURL["2"] != nil {
		t.Error("expired, and still there")
	}
}

// A fetch that panics must not leave others waiting for it.
func TestSourceFetchPanics(t *testing.T) {
	s := NewSource(func(context.Context, string) ([]byte, time.Duration, error) { panic("fetcher") }, time.Now)
	func() {
		defer func() { _ = recover() }()
		_, _ = s.Chain(t.Context(), testX)
	}()
	if len(s.underWay) != 0 {
		t.Error("the fetch is still under way")
	}
}

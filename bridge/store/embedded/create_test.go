package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"riptide/bridge/store"
)

// TestAKeyIsFreeAgainWhateverItsMarkerDoes: a key that has lived its time does not exist,
// also in the moment in which its marker goes away.
func TestAKeyIsFreeAgainWhateverItsMarkerDoes(t *testing.T) {
	t.Parallel()
	s := openHere(t, slog.New(slog.DiscardHandler))
	var keys sync.WaitGroup
	for i := range 200 {
		keys.Go(func() {
			key := fmt.Sprintf("key-%d", i)
			const lives = time.Second
			if _, err := s.Create(t.Context(), store.Calls, key, nil, lives); err != nil {
				t.Error(err)
				return
			}
			gone := func() bool {
				_, err := s.Get(t.Context(), store.Calls, key)
				return errors.Is(err, store.ErrNotFound)
			}
			for !gone() {
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(markerTTL - 100*time.Millisecond + time.Duration(i)*time.Millisecond)
			if _, err := s.Create(t.Context(), store.Calls, key, nil, 0); errors.Is(err, store.ErrExists) {
				t.Errorf("%s is gone: %v", key, err)
			}
		})
	}
	keys.Wait()
}

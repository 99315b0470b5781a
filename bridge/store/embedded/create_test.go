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

// TestAKeyIsFreeAgainWhateverItsMarkerDoes: a key that was removed does not exist,
// also in the moment in which its marker goes away.
func TestAKeyIsFreeAgainWhateverItsMarkerDoes(t *testing.T) {
	t.Parallel()
	s := openHere(t, slog.New(slog.DiscardHandler))
	var keys sync.WaitGroup
	for i := range 200 {
		keys.Go(func() {
			key := fmt.Sprintf("key-%d", i)
			if _, err := s.Create(t.Context(), store.Calls, key, nil, 0); err != nil {
				t.Error(err)
				return
			}
			if err := s.Delete(t.Context(), store.Calls, key); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(markerTTL - 100*time.Millisecond + time.Duration(i)*time.Millisecond)
			if _, err := s.Create(t.Context(), store.Calls, key, nil, 0); errors.Is(err, store.ErrExists) {
				t.Errorf("%s was removed: %v", key, err)
			}
		})
	}
	keys.Wait()
}

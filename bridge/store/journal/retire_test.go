package journal

import (
	"testing"
	"time"

	"riptide/bridge/store"
)

// TestRetire: everything comes out, for as long as it has to live, and the next
// journal begins empty.
func TestRetire(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	if Exists(state) {
		t.Error("a journal that nobody has made")
	}
	s := openSized(t, state, usual)
	ctx := t.Context()
	if _, err := s.Create(ctx, store.Calls, "a", []byte("one"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(ctx, store.Certificates, "b", []byte("two"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(ctx, store.Peers, "gone", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, store.Peers, "gone"); err != nil {
		t.Fatal(err)
	}
	all, err := s.All(ctx)
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	for _, k := range all {
		switch {
		case k.Bucket == store.Calls && k.Key == "a" && string(k.Value) == "one" && k.TTL == 0:
		case k.Bucket == store.Certificates && k.Key == "b" && string(k.Value) == "two" && k.TTL > 0 && k.TTL <= time.Hour:
		default:
			t.Errorf("%+v", k)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // also where one was put aside before
		if err := Retire(state); err != nil || Exists(state) {
			t.Fatalf("%v, it is there: %v", err, Exists(state))
		}
		s = openSized(t, state, usual)
		if got := contents(t, s, store.Calls); len(got) != 0 {
			t.Errorf("the next one holds %v", got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

package seal

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestOneKeyServesAll(t *testing.T) {
	caller, callee := ends(t, `[{"kid":1,"suite":4,"key":"`+key16+`"}]`)
	other := ring(t, `[{"kid":1,"suite":4,"key":"`+key16+`"}]`).Call(strings.Repeat("1", 32), false)
	seq, kid, ok := s(caller).Next(1, noon)
	if !ok || kid != 1 {
		t.Fatal("no key")
	}
	seen := map[string]string{}
	for name, who := range map[string]*Sealer{
		"caller's audio": caller.Sealer(Audio), "caller's video": caller.Sealer(Video),
		"callee's audio": callee.Sealer(Audio), "another call's audio": other.Sealer(Audio),
	} {
		if _, _, ok := who.Next(1, noon); !ok {
			t.Fatal(name)
		}
		sealed := string(who.Seal(nil, seq, []byte("aad"), []byte("package")))
		if same, ok := seen[sealed]; ok {
			t.Errorf("%s is sealed as %s is", name, same)
		}
		seen[sealed] = name
		_, err := callee.Opener(Audio).Open(nil, 1, seq, []byte("aad"), []byte(sealed), noon)
		if (err == nil) != (name == "caller's audio") {
			t.Errorf("the callee opens %s as the caller's audio: %v", name, err)
		}
	}
}

func s(session *Session) *Sealer { return session.Sealer(Audio) }

func TestNumbersAreNeverUsedTwice(t *testing.T) {
	r := ring(t, `[{"kid":1,"suite":4,"key":"`+key16+`"}]`)
	used := map[uint64]bool{}
	for range 100 { // the same call id each time, within a millisecond
		sealer := s(r.Call(call1, true))
		for _, n := range []uint64{1, 2, 4, 3} {
			seq, _, ok := sealer.Next(n, noon)
			if !ok || used[seq] {
				t.Fatalf("number %d for packet %d, %v", seq, n, ok)
			}
			used[seq] = true
		}
		for _, n := range []uint64{1, 2, 3, 4} {
			if seq, _, ok := sealer.Next(n, noon); ok {
				t.Fatalf("packet %d again, as number %d", n, seq)
			}
		}
	}
	later := ring(t, `[{"kid":1,"suite":4,"key":"`+key16+`"}]`)
	seq, _, _ := s(later.Call(call1, true)).Next(1, noon.Add(101*time.Millisecond))
	for n := range used {
		if n >= seq {
			t.Fatalf("a process that started later begins at %d, below %d", seq, n)
		}
	}
}

func TestALongStreamGoesOn(t *testing.T) {
	caller, callee := ends(t, `[{"kid":1,"suite":4,"key":"`+key16+`"}]`)
	sealer, opener := s(caller), callee.Opener(Audio)
	var last uint64
	for _, n := range []uint64{1, span, span + 1, span + 2} {
		seq, _, ok := sealer.Next(n, noon)
		if !ok || seq <= last {
			t.Fatalf("packet %d: number %d after %d, %v", n, seq, last, ok)
		}
		last = seq
		if _, err := opener.Open(nil, 1, seq, nil, sealer.Seal(nil, seq, nil, []byte{1}), noon); err != nil {
			t.Errorf("packet %d: %v", n, err)
		}
	}
	if _, _, ok := sealer.Next(span, noon); ok {
		t.Error("a packet from before went out")
	}
}

func TestOpener(t *testing.T) {
	caller, callee := ends(t, `[{"kid":1,"suite":1,"key":"`+key16+`"},{"kid":2,"suite":5,"key":"`+key16+`","from":"2026-07-01T13:00:00Z"}]`)
	sealer, opener := s(caller), callee.Opener(Audio)
	var all [][]byte
	var seqs []uint64
	for n := range uint64(windowSize + 10) {
		seq, kid, ok := sealer.Next(n+1, noon)
		if !ok || kid != 1 {
			t.Fatal(kid, ok)
		}
		all, seqs = append(all, sealer.Seal(nil, seq, []byte("aad"), []byte{byte(n)})), append(seqs, seq)
	}
	open := func(i int) error {
		got, err := opener.Open(nil, 1, seqs[i], []byte("aad"), all[i], noon)
		if err == nil && (len(got) != 1 || got[0] != byte(i)) {
			t.Errorf("opened %d as %x", i, got)
		}
		return err
	}
	last := len(all) - 1
	for _, step := range []struct {
		i    int
		want error
	}{{1, nil}, {1, ErrReplay}, {3, nil}, {2, nil}, {2, ErrReplay}, {last, nil}, {last - windowSize + 1, nil}, {last - windowSize, ErrReplay}, {1, ErrReplay}, {0, ErrReplay}, {last, ErrReplay}, {last - 1, nil}} {
		if err := open(step.i); !errors.Is(err, step.want) {
			t.Errorf("chunk %d: %v, want %v", step.i, err, step.want)
		}
	}
	if _, err := opener.Open(nil, 3, seqs[0], []byte("aad"), all[0], noon); !errors.Is(err, ErrKey) {
		t.Errorf("unknown key: %v", err)
	}
	if _, err := opener.Open(nil, 2, seqs[0], []byte("aad"), all[0], noon); !errors.Is(err, ErrKey) {
		t.Errorf("key of the future: %v", err)
	}
	if _, err := opener.Open(nil, 2, seqs[0], []byte("aad"), all[0], noon.Add(time.Hour)); !errors.Is(err, ErrForged) {
		t.Errorf("another key: %v", err)
	}
	// A chunk that is not authentic leaves no trace.
	if _, err := opener.Open(nil, 1, seqs[last]+5000, []byte("aad"), all[0], noon); !errors.Is(err, ErrForged) {
		t.Errorf("forged number: %v", err)
	}
	if err := open(last - 2); err != nil {
		t.Errorf("after a forged number: %v", err)
	}
}

func TestKeysFollowTheTime(t *testing.T) {
	caller, callee := ends(t, `[
		{"kid":1,"suite":4,"key":"`+key16+`","until":"2026-07-01T12:00:10Z"},
		{"kid":2,"suite":4,"key":"`+key16+`","from":"2026-07-01T12:00:05Z","until":"2026-07-01T12:00:20Z"},
		{"kid":3,"suite":4,"key":"`+key16+`","direction":"callee-to-caller"}]`)
	sealer, opener := s(caller), callee.Opener(Audio)
	n := uint64(0)
	for _, step := range []struct {
		at  time.Duration
		kid uint64
		ok  bool
	}{{0, 1, true}, {4 * time.Second, 1, true}, {5 * time.Second, 2, true}, {19 * time.Second, 2, true}, {20 * time.Second, 0, false}} {
		n++
		seq, kid, ok := sealer.Next(n, noon.Add(step.at))
		if kid != step.kid || ok != step.ok {
			t.Errorf("after %v: key %d, %v; want %+v", step.at, kid, ok, step)
		}
		if !ok {
			continue
		}
		late := noon.Add(step.at + 30*time.Second) // within the skew that is allowed for
		if _, err := opener.Open(nil, kid, seq, nil, sealer.Seal(nil, seq, nil, nil), late); err != nil {
			t.Errorf("after %v: %v", step.at, err)
		}
	}
	if _, kid, ok := callee.Sealer(Video).Next(1, noon); !ok || kid != 1 {
		t.Errorf("the callee seals with key %d, %v; of equals the first in the file", kid, ok)
	}
}

func TestNoAllocations(t *testing.T) {
	for suite := AES128CTRHMAC80; suite <= AES256GCM; suite++ {
		caller, callee := ends(t, fmt.Sprintf(`[{"kid":1,"suite":%d,"key":"%s"}]`, suite, key16))
		sealer, opener := s(caller), callee.Opener(Audio)
		aad, pkg := make([]byte, 60), make([]byte, 163)
		buf, out := make([]byte, 0, 2048), make([]byte, 0, 2048)
		n := uint64(0)
		if a := testing.AllocsPerRun(1000, func() {
			n++
			seq, kid, ok := sealer.Next(n, noon)
			if !ok {
				t.Fatal("no key")
			}
			buf = sealer.Seal(buf[:0], seq, aad, pkg)
			var err error
			if out, err = opener.Open(out[:0], kid, seq, aad, buf, noon); err != nil || len(out) != len(pkg) {
				t.Fatal(err)
			}
		}); a != 0 {
			t.Errorf("%v: %v allocations", suite, a)
		}
		if len(buf) > len(pkg)+MaxOverhead-5 {
			t.Errorf("%v: %d bytes more", suite, len(buf)-len(pkg))
		}
	}
}

func BenchmarkSealAndOpen(b *testing.B) {
	for suite := AES128CTRHMAC80; suite <= AES256GCM; suite++ {
		b.Run(suite.String(), func(b *testing.B) {
			caller, callee := ends(b, fmt.Sprintf(`[{"kid":1,"suite":%d,"key":"%s"}]`, suite, key16))
			sealer, opener := s(caller), callee.Opener(Audio)
			aad, pkg := make([]byte, 60), make([]byte, 163)
			buf, out := make([]byte, 0, 2048), make([]byte, 0, 2048)
			b.ReportAllocs()
			for n := uint64(1); b.Loop(); n++ {
				seq, kid, _ := sealer.Next(n, noon)
				buf = sealer.Seal(buf[:0], seq, aad, pkg)
				out, _ = opener.Open(out[:0], kid, seq, aad, buf, noon)
			}
		})
	}
}

func FuzzParseRing(f *testing.F) {
	f.Add([]byte(`[{"kid":1,"suite":"AES_128_GCM_SHA256_128","key":"` + key16 + `","direction":"caller-to-callee","kind":"audio","from":"2026-01-01T00:00:00Z","until":"2026-02-01T00:00:00Z"}]`))
	f.Add([]byte(`[{"kid":1,"suite":3,"key":"` + key16 + `"},{"kid":2,"suite":5,"key":"` + key16 + `"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRing(b)
		if err != nil {
			return
		}
		sealer := s(r.Call(call1, true))
		if seq, _, ok := sealer.Next(1, noon); ok {
			sealer.Seal(nil, seq, nil, []byte("x"))
		}
	})
}

func FuzzOpen(f *testing.F) {
	_, callee := ends(f, `[{"kid":1,"suite":1,"key":"`+key16+`"},{"kid":2,"suite":4,"key":"`+key16+`"}]`)
	opener := callee.Opener(Audio)
	f.Add(uint64(1), uint64(7), []byte("aad"), []byte("0123456789ciphertext"))
	f.Add(uint64(2), uint64(1)<<61, []byte{}, []byte("0123456789abcdef"))
	f.Add(uint64(9), uint64(0), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, kid, seq uint64, aad, sealed []byte) {
		if out, err := opener.Open(nil, kid, seq, aad, sealed, noon); err == nil {
			t.Fatalf("%x opened as %x", sealed, out)
		}
	})
}

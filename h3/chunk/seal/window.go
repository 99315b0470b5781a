package seal

// windowSize is how far a number may lie behind the greatest and still be told
// from one seen before.
const windowSize = 1024

// window remembers which of the latest numbers were used. The zero window knows
// none.
type window struct {
	next uint64 // above all that were used
	used [windowSize / 64]uint64
}

// fresh tells whether n was not used before, as far as is known.
func (w *window) fresh(n uint64) bool {
	switch {
	case n >= w.next:
		return true
	case w.next-n > windowSize:
		return false
	}
	return w.used[n%windowSize/64]&(1<<(n%64)) == 0
}

// enter notes that n, which is fresh, is used.
func (w *window) enter(n uint64) {
	if n >= w.next {
		if n-w.next >= windowSize {
			clear(w.used[:])
		} else {
			for i := w.next; i <= n; i++ {
				w.used[i%windowSize/64] &^= 1 << (i % 64)
			}
		}
		w.next = n + 1
	}
	w.used[n%windowSize/64] |= 1 << (n % 64)
}

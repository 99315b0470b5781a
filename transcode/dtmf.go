package transcode

import (
	"math"
	"strings"
)

// The keys of a telephone and the two frequencies of each (ITU-T Q.23): those of
// a row, and those of a column.
const keypad = "123A456B789C*0#D"

var (
	rows    = [4]float64{697, 770, 852, 941}
	columns = [4]float64{1209, 1336, 1477, 1633}
)

// Levels of the tones we make: the higher one 2 dB stronger, as lines weaken it
// more (ITU-T Q.23, ETSI ES 201 235-2).
const (
	rowLevel    = -9.0 // dBm0
	columnLevel = -7.0
)

// Key is the sound of one key.
type Key struct{ low, high *Tone }

// NewKey makes the sound of a key: 0 to 9, *, # or A to D. ok is false for what is
// on no telephone.
func NewKey(key byte) (k Key, ok bool) {
	i := strings.IndexByte(keypad, key)
	if i < 0 {
		return Key{}, false
	}
	return Key{NewTone(rows[i/4], rowLevel), NewTone(columns[i%4], columnLevel)}, true
}

// Append appends the next n samples to dst.
func (k Key) Append(dst []int16, n int) []int16 {
	at := len(dst)
	dst = k.low.Append(dst, n)
	var high [blockSize]int16
	for n > 0 {
		part := k.high.Append(high[:0], min(n, blockSize))
		for i, s := range part {
			dst[at+i] += s // both together are below overload
		}
		at += len(part)
		n -= len(part)
	}
	return dst
}

// What a key must sound like (ITU-T Q.24, ETSI ES 201 235-3). A block is short
// enough that the shortest key to be heard, of 40 ms, fills two.
const (
	blockSize   = 102
	confirm     = 2   // blocks in a row until a key is believed
	release     = 2   // blocks without it until it is believed to be over
	leastPower  = 3e4 // mean square of a sample: about -39 dBm0 of both tones
	normalTwist = 8   // the column at most 9 dB stronger than the row
	backTwist   = 2.5 // the row at most 4 dB stronger than the column
	standOut    = 6.3 // over the next one of the same group: 8 dB
	purity      = 0.7 // of all power, in the two tones: speech has more beside
)

// Keys hears which keys are pressed in a stream of speech (Goertzel's algorithm
// on the eight frequencies). The zero value is ready.
type Keys struct {
	n      int // samples of the block so far
	power  float64
	s1, s2 [8]float64

	current byte // the key that is down, 0 = none
	last    byte // of the block before
	times   int  // how often in a row
	missed  int  // blocks without the current key
}

var coefficients = func() (c [8]float64) {
	for i, hz := range append(rows[:], columns[:]...) {
		c[i] = 2 * math.Cos(2*math.Pi*hz/SampleRate)
	}
	return c
}()

// Take takes the next samples. pressed is the key that went down within them, 0
// if none did; down tells whether one is at their end, or sounds as if one
// would be.
func (k *Keys) Take(samples []int16) (pressed byte, down bool) {
	for _, s := range samples {
		x := float64(s)
		k.power += x * x
		for i, c := range coefficients {
			k.s1[i], k.s2[i] = x+c*k.s1[i]-k.s2[i], k.s1[i]
		}
		if k.n++; k.n == blockSize {
			if p := k.block(); p != 0 {
				pressed = p
			}
		}
	}
	return pressed, k.current != 0 || k.last != 0
}

// block judges a block that is complete.
func (k *Keys) block() (pressed byte) {
	key := k.key()
	k.n, k.power = 0, 0
	k.s1, k.s2 = [8]float64{}, [8]float64{}
	if key == k.last {
		k.times++
	} else {
		k.last, k.times = key, 1
	}
	if key == k.current {
		k.missed = 0
		return 0
	}
	if k.current != 0 {
		if k.missed++; k.missed >= release {
			k.current = 0
		}
	}
	if key == 0 || k.times < confirm {
		return 0
	}
	k.current, k.missed = key, 0
	return key
}

// key is the key that a block sounds like, 0 if it sounds like none.
func (k *Keys) key() byte {
	if k.power < leastPower*blockSize {
		return 0
	}
	var energy [8]float64
	for i, c := range coefficients {
		energy[i] = k.s1[i]*k.s1[i] + k.s2[i]*k.s2[i] - c*k.s1[i]*k.s2[i]
	}
	row, ok1 := loudest(energy[:4])
	column, ok2 := loudest(energy[4:])
	low, high := energy[row], energy[4+column]
	switch {
	case !ok1 || !ok2, high > low*normalTwist, low > high*backTwist,
		low+high < purity*k.power*blockSize/2:
		return 0
	}
	return keypad[4*row+column]
}

// loudest is the one that stands out of a group.
func loudest(group []float64) (at int, ok bool) {
	for i, e := range group {
		if e > group[at] {
			at = i
		}
	}
	for i, e := range group {
		if i != at && e*standOut > group[at] {
			return at, false
		}
	}
	return at, true
}

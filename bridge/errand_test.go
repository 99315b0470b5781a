package bridge

import (
	"bytes"
	"testing"
)

// FuzzErrand: what another node sends is read without harm, and says what it said.
func FuzzErrand(f *testing.F) {
	whole := errand{"telco-1", "a84b4c76e66710@192.0.2.1", []byte("BYE sip:x SIP/2.0")}.append(nil)
	f.Add(whole)
	f.Add(whole[:12])
	f.Add([]byte{errandVersion, 1, 'x', 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseErrand(b)
		if err != nil {
			return
		}
		if again := e.append(nil); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

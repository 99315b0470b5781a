package siptest

import (
	"os"
	"path/filepath"
	"testing"

	"riptide/transcode"
)

// ToneFile writes ten seconds of a tone as raw G.711, the form in which sipp
// plays media (Script.MediaFile), and returns its path. sipp repeats it; whole
// frequencies in Hz repeat without a click.
func ToneFile(t testing.TB, hz float64, payload int) string {
	t.Helper()
	law := transcode.MuLaw
	if payload == 8 {
		law = transcode.ALaw
	}
	samples := transcode.NewTone(hz, -10).Append(nil, 10*transcode.SampleRate)
	path := filepath.Join(t.TempDir(), "tone.raw")
	if err := os.WriteFile(path, law.Encode(nil, samples), 0o644); err != nil {
		t.Fatalf("write a tone: %v", err)
	}
	return path
}

// KeysFile writes the sound of keys as raw G.711 µ-law, each of 100 ms with 200 ms
// of silence behind it, a second of silence before the first, and silence until a
// minute is full: nothing repeats within a test.
func KeysFile(t testing.TB, keys string) string {
	t.Helper()
	const ms = transcode.SampleRate / 1000
	samples := make([]int16, 1000*ms, 60*transcode.SampleRate)
	for _, key := range []byte(keys) {
		k, ok := transcode.NewKey(key)
		if !ok {
			t.Fatalf("%q is no key of a telephone", key)
		}
		samples = append(k.Append(samples, 100*ms), make([]int16, 200*ms)...)
	}
	samples = samples[:cap(samples)]
	path := filepath.Join(t.TempDir(), "keys.raw")
	if err := os.WriteFile(path, transcode.MuLaw.Encode(nil, samples), 0o644); err != nil {
		t.Fatalf("write the sound of keys: %v", err)
	}
	return path
}

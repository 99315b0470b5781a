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

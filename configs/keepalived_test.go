package configs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"riptide/sip/siptest"
)

// TestKeepalivedExample: keepalived itself has nothing to say against the example.
func TestKeepalivedExample(t *testing.T) {
	t.Parallel()
	keepalived := siptest.Need(t, "keepalived")[0]
	text, err := os.ReadFile("examples/keepalived.conf")
	if err != nil {
		t.Fatal(err)
	}
	for name, more := range map[string]string{"as it is": "", "with a mistake": "\nvrrp_instance other {\n	interval often\n}\n"} {
		file := filepath.Join(t.TempDir(), "keepalived.conf")
		if err := os.WriteFile(file, append(text, more...), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(keepalived, "--config-test", "--use-file", file).CombinedOutput()
		if (err == nil) != (more == "") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

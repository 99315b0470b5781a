package siptest

import (
	"errors"
	"fmt"
	"os/exec"
	"testing"
)

// Secsipidx is the secsipidx command: another judge of Identity headers.
type Secsipidx struct{ path string }

// ErrIdentityRefused is wrapped by Check's error when secsipidx looked at the
// header and refused it.
var ErrIdentityRefused = errors.New("secsipidx refuses the Identity")

// NewSecsipidx finds the command, or has it built.
func NewSecsipidx(t testing.TB) Secsipidx {
	t.Helper()
	return Secsipidx{Tool(t, "secsipidx")}
}

// Check verifies the value of an Identity header with the certificate, or public
// key, in a PEM file. Its iat may be maxAge seconds old.
func (s Secsipidx) Check(identity, certificate string, maxAge int) error {
	out, err := exec.Command(s.path, "-check", "-identity", identity, "-fpubkey", certificate,
		"-expire", fmt.Sprint(maxAge)).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		return fmt.Errorf("%w: %s", ErrIdentityRefused, out)
	}
	return fmt.Errorf("run secsipidx: %w", err)
}

package h3

import (
	"fmt"
	"strings"
	"testing"
)

// TestSampleSize: a handler that allows samples of less than eight bits is
// refused, when it is registered and when it is replaced.
func TestSampleSize(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	good := r.handlerOf(token, "good", "opus,ss=8; PCMU;")
	for _, param := range []string{"ss=7", "SS=0", "ss=-8", "br=64000,ss=1"} {
		for _, line := range []string{"in", "out"} {
			h := Handler{HandlerID: "bad", Advertisement: fmt.Sprintf("1 in: PCMU; 1 out: PCMU; 2 %s: opus,%s;", line, param)}
			resp, body := r.do(r.h3, exchange{method: "POST", url: testTG + "/handlers", token: token, body: h})
			expectProblem(t, resp, body, 400, "/problems/bad-request")
			if !strings.Contains(string(body), "ss") {
				t.Errorf("%s: the problem does not say what is wrong: %s", param, body)
			}
			resp, body = r.do(r.h3, exchange{method: "PUT", url: good, token: token, body: h})
			expectProblem(t, resp, body, 400, "/problems/bad-request")
		}
	}
	for i, param := range []string{"ss=8", "ss=16", "ss"} {
		r.handlerOf(token, fmt.Sprint(i), "opus,"+param+"; PCMU;")
	}
}

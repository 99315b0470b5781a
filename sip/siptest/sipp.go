package siptest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Sipp is one sipp to run.
type Sipp struct {
	Scenario Scenario
	Script   Script
	Host     string // local address; default 127.0.0.1
	Port     int    // local SIP port; 0 = a free one
	Media    int    // local RTP port, and those after it; 0 = free ones
	TCP      bool
	Remote   string  // HOST:PORT to call; callers only
	Service  string  // the number called; default +12025550199
	Calls    int     // how many before it ends; default 1
	Rate     float64 // calls per second; default 10
	AtOnce   int     // at most; 0 = sipp's own limit
	Echo     bool    // send received RTP back
	Lost     int     // percent of SIP messages that sipp loses on purpose
	SetUps   bool    // keep how long each call took to be answered, for SippRun.SetUps
	Netns    *Namespace
	Timeout  time.Duration // for all calls; default 60 s
}

// SippRun is a sipp that runs.
type SippRun struct {
	*Process
	Addr  string // HOST:PORT where it speaks SIP
	Port  int
	Media int

	dir, stat, errors, messages, notes string

	netns *Namespace
	calls int
}

// Start runs sipp. A callee listens when Start returns.
func (s Sipp) Start(t testing.TB) *SippRun {
	t.Helper()
	dir := t.TempDir()
	s.defaults(t)
	xml, err := s.Scenario.XML(s.Script)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, string(s.Scenario)+".xml")
	if err := os.WriteFile(file, []byte(xml), 0o644); err != nil {
		t.Fatalf("write sipp scenario: %v", err)
	}
	r := &SippRun{
		Addr: net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), Port: s.Port, Media: s.Media,
		dir:      dir,
		stat:     filepath.Join(dir, "stat.csv"),
		errors:   filepath.Join(dir, "errors.log"),
		messages: filepath.Join(dir, "messages.log"),
		notes:    filepath.Join(dir, "notes.log"),
		netns:    s.Netns,
		calls:    s.Calls,
	}
	r.Process = Start(t, s.Netns, dir, "sipp", s.arguments(file, r)...)
	if !s.Scenario.Caller() {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		network := "udp"
		if s.TCP {
			network = "tcp"
		}
		if strings.Contains(s.Host, ":") {
			network += "6"
		}
		if err := r.awaitPort(ctx, network, s.Port); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (s *Sipp) defaults(t testing.TB) {
	t.Helper()
	if s.Host == "" {
		s.Host = "127.0.0.1"
		if s.Netns != nil {
			s.Host = s.Netns.Addr
		}
	}
	if s.Service == "" {
		s.Service = "+12025550199"
	}
	s.Calls = max(s.Calls, 1)
	if s.Rate == 0 {
		s.Rate = 10
	}
	if s.Timeout == 0 {
		s.Timeout = time.Minute
	}
	if s.Port == 0 {
		s.Port = FreePorts(t, s.Netns, s.Host, 1)
	}
	if s.Media == 0 {
		// RTP and RTCP of each call at once that plays media; rtp_echo takes the
		// first port and the one after next for all calls.
		calls := s.Calls
		if s.AtOnce > 0 {
			calls = min(calls, s.AtOnce)
		}
		s.Media = FreePorts(t, s.Netns, s.Host, max(4, 2*min(calls, 500)))
	}
}

func (s *Sipp) arguments(file string, r *SippRun) []string {
	args := []string{
		"-sf", file, "-i", s.Host, "-p", strconv.Itoa(s.Port), "-mi", s.Host, "-mp", strconv.Itoa(s.Media),
		"-s", s.Service, "-m", strconv.Itoa(s.Calls), "-nostdin", "-skip_rlimit",
		"-trace_stat", "-stf", r.stat, "-fd", "1",
		"-trace_err", "-error_file", r.errors,
		"-timeout", fmt.Sprintf("%ds", int(s.Timeout.Seconds())), "-timeout_error",
		"-t", map[bool]string{false: "u1", true: "t1"}[s.TCP],
	}
	if s.Calls <= 20 {
		args = append(args, "-trace_msg", "-message_file", r.messages)
	}
	if s.Scenario == UACGoesOn || s.Scenario == UASGoesOn {
		args = append(args, "-trace_logs", "-log_file", r.notes)
	}
	if s.SetUps {
		args = append(args, "-trace_rtt", "-rtt_freq", "1")
	}
	if s.Echo {
		args = append(args, "-rtp_echo")
	}
	if s.Lost > 0 {
		args = append(args, "-lost", strconv.Itoa(s.Lost))
	}
	if s.AtOnce > 0 {
		args = append(args, "-l", strconv.Itoa(s.AtOnce))
	}
	if s.Scenario == UACProves {
		args = append(args, "-auth_uri", s.Service+"@"+s.Remote) // it would leave the user out
	}
	if s.Scenario.Caller() {
		args = append(args, "-r", strconv.FormatFloat(s.Rate, 'f', -1, 64), s.Remote)
	}
	return args
}

// Result waits until sipp has made or taken all its calls, and counts them.
func (r *SippRun) Result(ctx context.Context) (SippResult, error) {
	status, err := r.Wait(ctx)
	if err != nil {
		return SippResult{}, fmt.Errorf("sipp: %w\n%s", err, r.Trouble())
	}
	b, err := os.ReadFile(r.stat)
	if err != nil {
		return SippResult{}, fmt.Errorf("sipp ended with status %d and no statistics: %w\n%s%s", status, err, r.Trouble(), r.Log())
	}
	res, err := ParseSippStat(b)
	if err != nil {
		return SippResult{}, fmt.Errorf("sipp ended with status %d: %w", status, err)
	}
	res.Status = status
	return res, nil
}

// SetUps are the times from INVITE to 200 of all calls that were answered, in
// the order in which they were, once sipp has ended; of a run with SetUps.
func (r *SippRun) SetUps() ([]time.Duration, error) {
	files, err := filepath.Glob(filepath.Join(r.dir, "*_rtt.csv"))
	if err != nil || len(files) != 1 {
		return nil, fmt.Errorf("sipp wrote %d files of response times, want one", len(files))
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		return nil, fmt.Errorf("response times of sipp: %w", err)
	}
	return ParseSippTimes(b)
}

// Trouble is the end of what sipp has to complain about.
func (r *SippRun) Trouble() string { return tail(r.errors) }

// Messages is the end of the SIP messages seen, for runs of up to 20 calls.
func (r *SippRun) Messages() string { return tail(r.messages) }

// Check waits for the result and fails the test unless all calls went as the
// scenario says.
func (r *SippRun) Check(t testing.TB, calls int) SippResult {
	t.Helper()
	res, err := r.Result(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if res.Successful != calls || res.Failed != 0 {
		t.Errorf("%d calls went as planned, %d did not, want %d (status %d):\n%s\n%s", res.Successful, res.Failed, calls, res.Status, r.Trouble(), r.Messages())
	}
	return res
}

package siptest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"riptide/bridge/bridgetest"
	"riptide/transcode"
)

// Baresip is one baresip to run: a telephone that plays a tone and records what
// it hears. It needs a Namespace, because it refuses a host with no address but
// loopback's.
type Baresip struct {
	Netns  *Namespace
	User   string  // of its address; default "phone"
	Port   int     // SIP port; 0 = a free one
	Codec  string  // "PCMU", "PCMA", "G722" or "opus"; default the first two
	Hz     float64 // the tone it plays; default 440
	Manual bool    // do not answer by itself
	SRTP   string  // "srtp" (may be refused), "srtp-mand" or "dtls_srtp"; "" = none
	Mux    bool    // reports on the port of the media
	Ptime  int     // milliseconds in a packet; 0 = its own, 20
	Tone   int     // seconds after which it falls silent; default 120
	Video  bool    // it films a still picture, in VP8

	Interface string // of the Namespace, whose address its media have; default the only one

	Registrar string // HOST:PORT where it registers, and sends its calls; "" = nowhere
	Password  string // there
}

// BaresipRun is a baresip that runs.
type BaresipRun struct {
	*Process
	Addr string // HOST:PORT where it speaks SIP
	URI  string // its own
	dir  string
	conn net.Conn

	mu     sync.Mutex
	events []BaresipEvent
	more   chan struct{} // closed and replaced when events grows
	read   chan struct{} // closed when the control connection has ended
}

// BaresipEvent is what baresip reports about itself.
type BaresipEvent struct {
	Type  string `json:"type"`  // "CALL_ESTABLISHED", "CALL_CLOSED", "CALL_DTMF_START", ...
	Param string `json:"param"` // the digit, the reason
	Peer  string `json:"peeruri"`
	OK    *bool  `json:"ok"` // of an answer to a command
	Data  string `json:"data"`
}

const (
	maxReports   = 4096 // events kept
	baresipReady = 15 * time.Second
)

// Start runs baresip. It listens when Start returns.
func (b Baresip) Start(t testing.TB) *BaresipRun {
	t.Helper()
	Need(t, "baresip")
	if b.Netns == nil {
		t.Fatal("baresip needs a Namespace")
	}
	b.defaults(t)
	control := FreePorts(t, b.Netns, "127.0.0.1", 1)
	r := &BaresipRun{
		Addr: net.JoinHostPort(b.Netns.Addr, strconv.Itoa(b.Port)),
		dir:  t.TempDir(),
		more: make(chan struct{}),
		read: make(chan struct{}),
	}
	r.URI = fmt.Sprintf("sip:%s@%s", b.User, r.Addr)
	b.configure(t, r, control)
	r.Process = Start(t, b.Netns, r.dir, "baresip", "-f", r.dir)

	ctx, cancel := context.WithTimeout(t.Context(), baresipReady)
	defer cancel()
	for network, port := range map[string]int{"tcp": control, "udp": b.Port} {
		if err := r.awaitPort(ctx, network, port); err != nil {
			t.Fatal(err)
		}
	}
	// A port that is bound may not be listened on yet.
	err := b.Netns.Do(func() (err error) {
		for ctx.Err() == nil {
			if r.conn, err = net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: control}); err == nil {
				return nil
			}
			time.Sleep(20 * time.Millisecond)
		}
		return err
	})
	if err != nil {
		t.Fatalf("control baresip: %v\n%s", err, r.Log())
	}
	go r.listen()
	t.Cleanup(func() {
		_ = r.conn.Close()
		<-r.read
	})
	return r
}

func (b *Baresip) defaults(t testing.TB) {
	t.Helper()
	if b.User == "" {
		b.User = "phone"
	}
	if b.Hz == 0 {
		b.Hz = 440
	}
	if b.Tone == 0 {
		b.Tone = 120
	}
	if b.Port == 0 {
		b.Port = FreePorts(t, b.Netns, b.Netns.Addr, 2)
	}
}

func (b *Baresip) configure(t testing.TB, r *BaresipRun, control int) {
	t.Helper()
	tone := filepath.Join(r.dir, "tone.wav")
	samples := transcode.NewTone(b.Hz, -10).Append(nil, b.Tone*transcode.SampleRate)
	if err := bridgetest.SaveWAV(tone, samples, transcode.SampleRate); err != nil {
		t.Fatal(err)
	}
	rtp := FreePorts(t, b.Netns, b.Netns.Addr, 20)
	codecs := "PCMU/8000/1,PCMA/8000/1"
	switch b.Codec {
	case "":
	case "opus":
		codecs = "opus/48000/2"
	case "G722":
		codecs = "G722/16000/1" // the clock that is meant, not that of RFC 3551
	default:
		codecs = b.Codec + "/8000/1"
	}
	answer := "auto"
	if b.Manual {
		answer = "manual"
	}
	params, mux := "", "no"
	if b.SRTP != "" {
		params = ";mediaenc=" + b.SRTP
	}
	if b.Ptime > 0 {
		params += fmt.Sprintf(";ptime=%d", b.Ptime)
	}
	if b.Mux {
		mux = "yes"
	}
	account := fmt.Sprintf("<%s>;regint=0", r.URI)
	if b.Registrar != "" {
		account = fmt.Sprintf("<sip:%s@%s>;auth_pass=%s;regint=600", b.User, b.Registrar, b.Password)
	}
	film := ""
	if b.Video {
		account += ";video_codecs=VP8"
		film = "module vp8.so\nmodule fakevideo.so\nvideo_source fakevideo,nil\nvideo_display fakevideo,nil\nvideo_size 176x144\nvideo_bitrate 256000\nvideo_fps 15\n"
	}
	if b.Interface != "" {
		film += "net_interface " + b.Interface + "\n"
	}
	files := map[string]string{
		"accounts": fmt.Sprintf("%s;answermode=%s;audio_codecs=%s%s\n", account, answer, codecs, params),
		"contacts": "",
		// Without a terminal, stdio.so must not be loaded; aufile of this
		// version only plays, so that sndfile records.
		"config": strings.Join([]string{
			"poll_method epoll", "sip_listen " + r.Addr,
			"audio_source aufile," + tone, "audio_player aubridge,nil", "audio_alert aubridge,nil",
			"ausrc_srate 8000", "auplay_srate 8000", "ausrc_channels 1", "auplay_channels 1", "audio_level no", "audio_buffer 20-160",
			"module_path " + baresipModules(), "module g711.so", "module g722.so", "module opus.so", "module aufile.so", "module aubridge.so", "module sndfile.so", "module srtp.so", "module dtls_srtp.so",
			"snd_path " + r.dir, "module_tmp account.so", "module_app menu.so", "module_app ctrl_tcp.so",
			fmt.Sprintf("ctrl_tcp_listen 127.0.0.1:%d", control),
			fmt.Sprintf("rtp_ports %d-%d", rtp, rtp+19), "rtcp_mux " + mux, "jitter_buffer_delay 2-5",
		}, "\n") + "\n" + film,
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
			t.Fatalf("configure baresip: %v", err)
		}
	}
}

// baresipModules is where the package put the modules: by architecture or not.
func baresipModules() string {
	if found, err := filepath.Glob("/usr/lib/*/baresip/modules"); err == nil && len(found) > 0 {
		return found[0]
	}
	return "/usr/lib/baresip/modules"
}

// listen takes reports until the connection ends.
func (r *BaresipRun) listen() {
	defer close(r.read)
	buf := make([]byte, 0, maxNetstring+16)
	for {
		n, err := r.conn.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		for {
			text, used, perr := ParseNetstring(buf)
			if perr != nil {
				return
			}
			if used == 0 {
				break
			}
			r.note(text)
			buf = append(buf[:0], buf[used:]...)
		}
		if err != nil || len(buf) == cap(buf) {
			return
		}
	}
}

func (r *BaresipRun) note(text []byte) {
	var e BaresipEvent
	if json.Unmarshal(text, &e) != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) == maxReports {
		return
	}
	r.events = append(r.events, e)
	close(r.more)
	r.more = make(chan struct{})
}

// Events is what baresip reported so far.
func (r *BaresipRun) Events() []BaresipEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]BaresipEvent(nil), r.events...)
}

// Await waits for an event of a type that is not among the first `after` ones of
// that type; 0 waits for the first.
func (r *BaresipRun) Await(ctx context.Context, kind string, after int) (BaresipEvent, error) {
	for {
		r.mu.Lock()
		more, seen := r.more, 0
		for _, e := range r.events {
			if e.Type != kind {
				continue
			}
			if seen++; seen > after {
				r.mu.Unlock()
				return e, nil
			}
		}
		r.mu.Unlock()
		select {
		case <-more:
		case <-r.read:
			return BaresipEvent{}, fmt.Errorf("baresip ended before %s:\n%s", kind, r.Log())
		case <-ctx.Done():
			return BaresipEvent{}, fmt.Errorf("baresip waits for %s: %w\n%s", kind, context.Cause(ctx), r.Log())
		}
	}
}

// command sends one command of baresip's menu.
func (r *BaresipRun) command(name, params string) error {
	b, err := json.Marshal(map[string]string{"command": name, "params": params, "token": name})
	if err != nil {
		return fmt.Errorf("baresip %s: %w", name, err)
	}
	if _, err := r.conn.Write(AppendNetstring(nil, b)); err != nil {
		return fmt.Errorf("baresip %s: %w", name, err)
	}
	return nil
}

// Dial calls a SIP URI.
func (r *BaresipRun) Dial(uri string) error { return r.command("dial", uri) }

// HangUp ends the call, or refuses it.
func (r *BaresipRun) HangUp() error { return r.command("hangup", "") }

// Accept answers a call, of a Manual baresip.
func (r *BaresipRun) Accept() error { return r.command("accept", "") }

// Hold holds the call, and Resume takes it up again.
func (r *BaresipRun) Hold() error   { return r.command("hold", "") }
func (r *BaresipRun) Resume() error { return r.command("resume", "") }

// Transfer has the other party call a SIP URI (REFER).
func (r *BaresipRun) Transfer(uri string) error { return r.command("transfer", uri) }

// Digit sends one DTMF digit as telephone events.
func (r *BaresipRun) Digit(d rune) error { return r.command("sndcode", string(d)) }

// Heard is the telephone events that came, in order.
func (r *BaresipRun) Heard() string {
	var digits strings.Builder
	for _, e := range r.Events() {
		if e.Type == "CALL_DTMF_START" {
			digits.WriteString(e.Param)
		}
	}
	return digits.String()
}

// Recordings is the files of what was heard, one for each call, oldest first.
// They are complete when the call has ended.
func (r *BaresipRun) Recordings() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(r.dir, "dump-*-dec.wav"))
	if err != nil {
		return nil, fmt.Errorf("find baresip's recordings: %w", err)
	}
	return files, nil
}

// Recording is the last of what was heard.
func (r *BaresipRun) Recording() (samples []int16, rate int, err error) {
	files, err := r.Recordings()
	if err != nil {
		return nil, 0, err
	}
	if len(files) == 0 {
		return nil, 0, fmt.Errorf("baresip recorded nothing in %s:\n%s", r.dir, r.Log())
	}
	return bridgetest.LoadWAV(files[len(files)-1])
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"riptide/bridge"
	"riptide/configs"
	"riptide/ops"
	"riptide/sip"
)

func traceCommand() *cli.Command {
	return &cli.Command{
		Name:  "trace",
		Usage: "write the SIP messages of single calls, and their media, to a pcap file",
		Description: "Follows the calls of one number, of one trunk, or one call that is running, and writes what goes over\n" +
			"the wire for all their SIP legs from now on to a file that sngrep, tshark and Wireshark read. Messages\n" +
			"over TCP, TLS and WebSocket stand in it readable, as one datagram each; media as it was sent, sealed\n" +
			"if it was. Proofs of passwords and keys of SRTP are masked. Who talked to whom, and with --media\n" +
			"what was said, is in the file: keep it accordingly. Ctrl-C ends it.",
		Flags: []cli.Flag{
			configFlag(),
			&cli.StringFlag{Name: "call", Usage: "follow the running call with this `ID` (call= or leg= in the log)"},
			&cli.StringFlag{Name: "number", Usage: "follow calls from or to `NUMBER`, which may be the end of one"},
			&cli.StringFlag{Name: "trunk", Usage: "follow what is said on the SIP trunk `NAME`, and the other side of its calls"},
			&cli.BoolFlag{Name: "media", Usage: "write RTP and RTCP, too"},
			&cli.DurationFlag{Name: "for", Value: time.Minute, Usage: "end after `TIME`"},
			&cli.Int64Flag{Name: "size", Value: 100, Usage: "end after so many `MB`"},
			&cli.StringFlag{Name: "write", Aliases: []string{"w"}, Usage: "write to `FILE`, - for standard output"},
		},
		Before: noArguments,
		Action: runTrace,
	}
}

func runTrace(c *cli.Context) error {
	o := ops.TraceOrder{
		Call: c.String("call"), Number: c.String("number"), Trunk: c.String("trunk"),
		Media: c.Bool("media"), For: c.Duration("for").String(), Size: c.Int64("size") << 20,
	}
	name := c.String("write")
	if err := o.Check(); err != nil {
		return err
	}
	if name == "" {
		return errors.New("where to? Name a file with -w, as in -w call.pcap")
	}
	state, err := stateOf(c)
	if err != nil {
		return err
	}
	file, err := openCapture(name)
	if err != nil {
		return err
	}
	show := progressOn(c.App.ErrWriter)
	done, err := ops.Trace(c.Context, state, o, file.begin, show)
	if err = errors.Join(err, file.close(done.Messages+done.Media > 0)); err != nil {
		return err
	}
	out := c.App.Writer
	if name == "-" {
		out = c.App.ErrWriter
	}
	return concluded(out, o, done)
}

// concluded says what came of a trace.
func concluded(out io.Writer, o ops.TraceOrder, done ops.Traced) error {
	if done.Messages+done.Media == 0 {
		return fmt.Errorf("nothing was seen of %s: there is no file", o.What())
	}
	why := map[string]string{"time": "the time is over", "size": "the file has the size that was wanted", "stop": "stopped"}[done.End]
	fmt.Fprintf(out, "%d SIP messages and %d packets of media; %s\n", done.Messages, done.Media, why)
	if done.Dropped > 0 {
		return fmt.Errorf("%d packets are missing: they came faster than they could be written (ask for less, or without --media)", done.Dropped)
	}
	return nil
}

// captureFile is a file that is not touched before there is something to write.
type captureFile struct {
	name string
	file *os.File
	ours bool // it was not there before
}

// openCapture finds out whether the file can be written before anybody is asked
// for anything. It holds what people said: nobody else may read it.
func openCapture(name string) (*captureFile, error) {
	if name == "-" {
		return &captureFile{name: name, file: os.Stdout}, nil
	}
	_, missing := os.Stat(name)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the capture cannot be written: %w", err)
	}
	return &captureFile{name: name, file: f, ours: errors.Is(missing, os.ErrNotExist)}, nil
}

func (f *captureFile) begin() (io.Writer, error) {
	if f.name == "-" {
		return f.file, nil
	}
	if info, err := f.file.Stat(); err == nil && !info.Mode().IsRegular() {
		return f.file, nil // a pipe, to tshark for instance
	}
	if err := f.file.Truncate(0); err != nil {
		return nil, fmt.Errorf("the capture cannot be written: %w", err)
	}
	return f.file, nil
}

// close leaves no file that was made for nothing.
func (f *captureFile) close(used bool) error {
	if f.name == "-" {
		return nil
	}
	err := f.file.Close()
	if !used && f.ours {
		err = errors.Join(err, os.Remove(f.name))
	}
	if err != nil {
		return fmt.Errorf("the capture is not whole: %w", err)
	}
	return nil
}

// progressOn shows on a terminal how far a trace has come, once in a while.
func progressOn(w io.Writer) func(ops.Traced) {
	begun := false
	var last time.Time
	terminal := false
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return func(t ops.Traced) {
		if !begun {
			begun = true
			fmt.Fprintf(w, "tracing; %d calls that are running are followed\n", t.Running)
		}
		if terminal && time.Since(last) > 200*time.Millisecond {
			last = time.Now()
			fmt.Fprintf(w, "\r%d SIP messages, %d packets of media, %d kB \r", t.Messages, t.Media, t.Bytes>>10)
		}
	}
}

// makeTracer makes what watches the wire.
func (a *appliance) makeTracer(cfg *configs.Config) {
	var to *ops.Collector
	if t := cfg.Trace; t.HEP.Host != "" {
		to = &ops.Collector{Address: t.HEP.String(), Node: uint32(t.ID), Password: t.Secret.Reveal()} //nolint:gosec // checked with the configuration
	}
	a.tracer = ops.NewTracer(to, a.runningCalls, a.logger)
}

// tap is how the SIP side tells the tracer.
func (a *appliance) tap() sip.Tap {
	return sip.Tap{
		Message: func(m sip.Message) {
			if a.tracer.Watching() {
				a.tracer.Message(ops.SIPMessage{Trunk: m.Trunk, Stream: m.Transport != "UDP", Sent: m.Sent, Local: m.Local, Remote: m.Remote, Bytes: m.Bytes})
			}
		},
		Placing: func(l sip.PlacingLeg) {
			a.tracer.Placed(ops.PlacedLeg{Leg: l.CallID, Call: l.Call, From: string(l.From), To: string(l.To), Trunk: l.Trunk})
		},
		Media: func(leg string, sent bool, local, remote netip.AddrPort, b []byte) {
			a.tracer.Media(ops.MediaPacket{Leg: leg, Sent: sent, Local: local, Remote: remote, Bytes: b})
		},
	}
}

// runningCalls are the calls of the bridge, as the tracer wants them.
func (a *appliance) runningCalls() []ops.RunningCall {
	var out []ops.RunningCall
	for _, r := range a.bridge.Running() {
		out = append(out, runningCall(r))
	}
	return out
}

func runningCall(r bridge.Running) ops.RunningCall {
	c := ops.RunningCall{ID: r.ID}
	for i, l := range r.Legs {
		if i == 0 {
			c.From, c.To = string(l.From), string(l.To)
		}
		c.Trunks, c.Legs = append(c.Trunks, l.Trunk), append(c.Legs, l.ID)
	}
	return c
}

// trace follows calls for the command.
func (a *appliance) trace(trunks []configs.Trunk) func(context.Context, ops.TraceOrder, func(int) io.Writer) (uint64, string, error) {
	var names []string
	for _, t := range trunks {
		if t.SIP != nil {
			names = append(names, t.Name)
		}
	}
	return func(ctx context.Context, o ops.TraceOrder, started func(int) io.Writer) (uint64, string, error) {
		a.logger.Info("a trace begins", "of", o.What(), "media", o.Media, "for", o.For)
		return a.tracer.Trace(ctx, o, names, started)
	}
}

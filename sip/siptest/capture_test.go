package siptest

import (
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"
)

func TestCaptureCountsRTP(t *testing.T) {
	t.Parallel()
	ns := NewNamespace(t)
	var from, to net.PacketConn
	err := ns.Do(func() (err error) {
		if from, err = net.ListenPacket("udp", ns.Addr+":0"); err != nil {
			return err
		}
		to, err = net.ListenPacket("udp", ns.Addr+":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	defer func() { _ = to.Close() }()
	capture := Capture{Netns: ns}.Start(t)
	for seq := range 100 {
		if seq%40 == 7 {
			continue // three are lost
		}
		b := append([]byte{0x80, 0}, binary.BigEndian.AppendUint16(nil, uint16(seq))...)
		b = binary.BigEndian.AppendUint32(b, uint32(160*seq))
		b = binary.BigEndian.AppendUint32(b, 0x11223344)
		if _, err := from.WriteTo(append(b, make([]byte, 160)...), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := to.ReadFrom(make([]byte, 2000)); err != nil {
			t.Fatal(err)
		}
	}
	got := capture.Streams(t)
	want := RTPStream{From: from.LocalAddr().String(), To: to.LocalAddr().String(), SSRC: 0x11223344, Packets: 97, Lost: 3}
	if len(got) != 1 || got[0] != want {
		t.Errorf("%+v, want %+v\n%s", got, want, capture.Log())
	}
}

func TestParseRTPStreams(t *testing.T) {
	const line = "0.000000 1.980000 127.0.0.1 26100 127.0.0.1 26000 0x12345678 g711U, RTPType-101 100 2 (2.0%) 0.0 20.0 X\n"
	got, err := ParseRTPStreams("=== RTP Streams ===\n" + line + "===\n")
	if err != nil || len(got) != 1 || got[0] != (RTPStream{"127.0.0.1:26100", "127.0.0.1:26000", 0x12345678, 100, 2}) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, in := range map[string]string{
		"no counts":      strings.ReplaceAll(line, "(2.0%)", "-"),
		"not a number":   strings.ReplaceAll(line, " 100 ", " x "),
		"past the limit": strings.Repeat(line, maxStreams+1),
	} {
		if _, err := ParseRTPStreams(in); !errors.Is(err, ErrRTPStreams) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := ParseRTPStreams(strings.Repeat(line, maxStreams)); err != nil || len(got) != maxStreams {
		t.Errorf("at the limit: %d, %v", len(got), err)
	}
}

func FuzzParseRTPStreams(f *testing.F) {
	f.Add("0.0 1.9 127.0.0.1 26100 127.0.0.1 26000 0x12345678 g711U 100 2 (2.0%) 0.0 20.0 X")
	f.Fuzz(func(_ *testing.T, in string) { _, _ = ParseRTPStreams(in) })
}

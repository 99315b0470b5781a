package advert

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the vectors anew")

const (
	vectorsFile   = "../../testdata/advert/vectors.json"
	negotiateFile = "../../testdata/advert/negotiate.json"
)

// vector is one text of the grammar: its canonical form, or that there is none.
type vector struct {
	Kind      string `json:"kind"` // "advertisement" or "directive"
	Text      string `json:"text"`
	Canonical string `json:"canonical,omitempty"`
	Rejected  bool   `json:"rejected,omitempty"`
}

// texts are those of the vectors file; what is to become of them is found out
// once, looked at, and then kept.
func texts() []vector {
	var long strings.Builder
	for id := range MaxLines {
		fmt.Fprintf(&long, "%d in: PCMU; ", id+1)
	}
	return []vector{
		{Kind: "advertisement", Text: "1 in: PCMU; PCMA; telephone-event; CN;\n1 out: PCMU; PCMA; telephone-event; CN;\n"},
		{Kind: "advertisement", Text: "1 in:pcmu;1 out:pcmu;"},
		{Kind: "advertisement", Text: "  1\tin :\r\n PCMU ;\n\n 1 out : PCMA ; "},
		{Kind: "advertisement", Text: "1 in: opus,ch=2,br=64000; PCMU; 2 in: H264,profile-level-id=4366366,packetization-mode=1; VP8;"},
		{Kind: "advertisement", Text: "1 in: PCMU,sealed; 255 out: x-new.codec_1,max-fps=30;"},
		{Kind: "advertisement", Text: "1 in: opus,gain=-6;"},
		{Kind: "advertisement", Text: "1 in: opus,br=9223372036854775807;"},
		{Kind: "advertisement", Text: long.String()},
		{Kind: "advertisement", Text: long.String() + "65 in: PCMU;"},
		{Kind: "advertisement", Text: ""},
		{Kind: "advertisement", Text: "0 in: PCMU;"},
		{Kind: "advertisement", Text: "256 in: PCMU;"},
		{Kind: "advertisement", Text: "1 in: PCMU"},
		{Kind: "advertisement", Text: "1 in:;"},
		{Kind: "advertisement", Text: "1 both: PCMU;"},
		{Kind: "advertisement", Text: "1 in: 9PCMU;"},
		{Kind: "advertisement", Text: "1 in: opus,br=;"},
		{Kind: "advertisement", Text: "1 in: opus,br=9223372036854775808;"},
		{Kind: "advertisement", Text: "1 in: PC MU;"},
		{Kind: "advertisement", Text: "1 to 1: PCMU;"},
		{Kind: "directive", Text: "1 to 1: PCMU; telephone-event; CN;"},
		{Kind: "directive", Text: "1 TO 2:opus,ch=2;\n2 to 255: h264,packetization-mode=1;"},
		{Kind: "directive", Text: "1 to 1: PCMU,sealed;"},
		{Kind: "directive", Text: "1 to: PCMU;"},
		{Kind: "directive", Text: "1 to 0: PCMU;"},
		{Kind: "directive", Text: "1 in: PCMU;"},
	}
}

func (v vector) parse() (string, error) {
	if v.Kind == "directive" {
		d, err := ParseDirective(v.Text)
		return d.String(), err
	}
	a, err := ParseAdvert(v.Text)
	return a.String(), err
}

func TestVectors(t *testing.T) {
	want := texts()
	for i := range want {
		form, err := want[i].parse()
		want[i].Canonical, want[i].Rejected = form, err != nil
		if err != nil {
			want[i].Canonical = ""
		}
	}
	keep(t, vectorsFile, want)
	for _, v := range want {
		if v.Rejected {
			continue
		}
		again, err := vector{Kind: v.Kind, Text: v.Canonical}.parse()
		if err != nil || again != v.Canonical {
			t.Errorf("%q is canonical, but reads as %q, %v", v.Canonical, again, err)
		}
	}
}

// agreement is a negotiation: what both ends advertise, and what each is to
// send. Both are empty where there is none.
type agreement struct {
	Client           string `json:"client"`
	Server           string `json:"server"`
	ClientDirectives string `json:"clientDirectives"`
	ServerDirectives string `json:"serverDirectives"`
}

func TestNegotiateVectors(t *testing.T) {
	both := func(codecs string) string { return "1 in: " + codecs + " 1 out: " + codecs }
	video := func(audio, video string) string {
		return "1 in: " + audio + " 1 out: " + audio + " 2 in: " + video + " 2 out: " + video
	}
	var want []agreement
	for _, c := range []struct{ client, server string }{
		{both("PCMU; PCMA; telephone-event; CN;"), both("PCMA; PCMU; telephone-event; CN;")},
		{both("PCMA; PCMU;"), both("PCMU; PCMA; telephone-event; CN;")},
		{both("opus,br=64000; PCMU;"), both("opus,br=24000; PCMU;")},
		{both("opus,ch=2;"), both("opus;")},
		{both("x-secret; PCMU;"), both("PCMU; x-secret;")},
		{both("G722;"), both("PCMU;")},
		{both("PCMU,sealed;"), both("PCMU; PCMU,sealed;")},
		{both("PCMU,sealed;"), both("PCMU;")},
		{"1 out: PCMU;", "1 in: PCMU; 1 out: PCMU;"},
		{video("PCMU;", "H264,profile-level-id=4366366,packetization-mode=1;"), video("PCMU;", "H264,profile-level-id=4366349,packetization-mode=1;")},
		{video("PCMU;", "H264,profile-level-id=4366366,packetization-mode=1; VP8;"), video("PCMU;", "H264,profile-level-id=6553631,packetization-mode=1; VP8,max-fps=15;")},
		{video("PCMU;", "VP8;"), both("PCMU;")},
	} {
		client, err := ParseAdvert(c.client)
		if err != nil {
			t.Fatal(err)
		}
		server, err := ParseAdvert(c.server)
		if err != nil {
			t.Fatal(err)
		}
		toServer, toClient, err := Negotiate(client, server)
		a := agreement{Client: c.client, Server: c.server}
		if err == nil {
			a.ClientDirectives, a.ServerDirectives = toServer.String(), toClient.String()
		}
		want = append(want, a)
	}
	keep(t, negotiateFile, want)
}

// keep compares v with what is stored, or stores it.
func keep(t *testing.T, file string, v any) {
	t.Helper()
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, data.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stored, data.Bytes()) {
		t.Errorf("%s is not what this code does; if the protocol was meant to change, run with -update", file)
	}
}

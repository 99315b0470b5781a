package advert

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

func codecs(names ...string) []Codec {
	var out []Codec
	for _, n := range names {
		out = append(out, Codec{Name: n})
	}
	return out
}

func TestParseAdvert(t *testing.T) {
	audio := Advert{
		{ID: 1, In: true, Codecs: codecs("PCMU", "PCMA", "telephone-event", "CN")},
		{ID: 1, Codecs: codecs("PCMU")},
	}
	for name, tc := range map[string]struct {
		in   string
		want Advert
	}{
		"as we write it":       {"1 in: PCMU; PCMA; telephone-event; CN;\n1 out: PCMU;", audio},
		"on one line":          {"1 in: PCMU; PCMA; telephone-event; CN; 1 out: PCMU;", audio},
		"any case":             {"1 IN: pcmu; pCmA; Telephone-Event; cn; 1 Out: Pcmu;", audio},
		"no space":             {"1in:PCMU;PCMA;telephone-event;CN;1out:PCMU;", audio},
		"space everywhere":     {"\r\n 1\tin \n: PCMU ; PCMA ;telephone-event\n; CN ; 1 out : PCMU ; \n", audio},
		"unknown codec":        {"1 in: Wonder9;", Advert{{ID: 1, In: true, Codecs: codecs("wonder9")}}},
		"parameters and flags": {"2 out: opus, ch = 2,Br=64000 , dtx;", Advert{{ID: 2, Codecs: []Codec{{"opus", []Param{{"ch", 2, true}, {"br", 64000, true}, {"dtx", 0, false}}}}}}},
		"greatest integer":     {"1 in: x,a=9223372036854775807,b=-9223372036854775807;", Advert{{ID: 1, In: true, Codecs: []Codec{{"x", []Param{{"a", math.MaxInt64, true}, {"b", -math.MaxInt64, true}}}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseAdvert(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":            "",
		"white space":        " \n",
		"no codec":           "1 in:",
		"empty codec":        "1 in: ;",
		"no semicolon":       "1 in: PCMU",
		"no direction":       "1: PCMU;",
		"other direction":    "1 sideways: PCMU;",
		"codec with a digit": "1 in: 722;",
		"sink 0":             "0 in: PCMU;",
		"sink 256":           "256 in: PCMU;",
		"negative sink":      "-1 in: PCMU;",
		"same sink twice":    "1 in: PCMU; 1 in: PCMA;",
		"parameter twice":    "1 in: opus,ch=1,CH=2;",
		"parameter unnamed":  "1 in: opus,=1;",
		"value missing":      "1 in: opus,ch=;",
		"value too large":    "1 in: opus,ch=9223372036854775808;",
		"value too small":    "1 in: opus,ch=-9223372036854775808;",
		"value no number":    "1 in: opus,ch=x;",
		"zero byte":          "1 in: PCMU;\x00",
		"not ASCII":          "1 in: ÖPUS;",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseAdvert(in); !errors.Is(err, ErrSyntax) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	for name, in := range map[string]string{
		"advertisement":     "1 in: PCMU;",
		"no sink":           "1 to: PCMU;",
		"same stream twice": "1 to 1: PCMU; 1 to 1: PCMA;",
	} {
		t.Run("directive/"+name, func(t *testing.T) {
			if got, err := ParseDirective(in); !errors.Is(err, ErrSyntax) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	lines := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%d in: PCMU;\n", i+1)
		}
		return b.String()
	}
	if _, err := ParseAdvert(lines(MaxLines)); err != nil {
		t.Errorf("%d lines: %v", MaxLines, err)
	}
	if _, err := ParseAdvert(lines(MaxLines + 1)); err == nil {
		t.Errorf("%d lines were accepted", MaxLines+1)
	}
	long := "1 in: PCMU;"
	long += strings.Repeat(" ", MaxBytes-len(long))
	if _, err := ParseAdvert(long); err != nil {
		t.Errorf("%d bytes: %v", len(long), err)
	}
	if _, err := ParseAdvert(long + " "); err == nil {
		t.Errorf("%d bytes were accepted", len(long)+1)
	}
}

func TestNegotiate(t *testing.T) {
	const both = "1 in: %[1]s 1 out: %[1]s"
	for name, tc := range map[string]struct {
		client, server string
		c2s, s2c       string // "" means an error
	}{
		"all in common": {
			fmt.Sprintf(both, "PCMU;PCMA;telephone-event;CN;"), fmt.Sprintf(both, "PCMU;PCMA;telephone-event;CN;"),
			"1 to 1: PCMU; telephone-event; CN;", "1 to 1: PCMU; telephone-event; CN;",
		},
		"the client's order decides, both ways": {
			fmt.Sprintf(both, "PCMA;PCMU;CN;"), fmt.Sprintf(both, "CN;telephone-event;PCMU;PCMA;"),
			"1 to 1: PCMA; CN;", "1 to 1: PCMA; CN;",
		},
		"different per direction": {
			"1 in: PCMU; 1 out: PCMA;", fmt.Sprintf(both, "PCMU;PCMA;"),
			"1 to 1: PCMA;", "1 to 1: PCMU;",
		},
		"numbers of the one space and of the other": {
			"7 in: PCMU; 3 out: PCMU;", "5 in: pcmu; 9 out: pcmu;",
			"3 to 5: PCMU;", "9 to 7: PCMU;",
		},
		"two streams": {
			"1 out: opus; 2 out: H264;", "1 in: H264; 2 in: opus;",
			"1 to 2: opus;\n2 to 1: H264;", "-",
		},
		"a sink is used once": {
			"1 out: PCMU; 2 out: PCMU;", "1 in: PCMU;", "1 to 1: PCMU;", "-",
		},
		"the lower maximum, default left out": {
			"1 out: opus,ch=2,br=64000,wonder=1,dtx;", "1 in: opus,br=32000,max-fps=5;",
			"1 to 1: opus,br=32000,max-fps=5;", "-",
		},
		"a maximum over the default": {
			"1 out: opus,ch=4;", "1 in: opus,ch=2;", "1 to 1: opus,ch=2;", "-",
		},
		"nothing in common":               {fmt.Sprintf(both, "opus;CN;"), fmt.Sprintf(both, "PCMU;CN;"), "", ""},
		"one direction has no codec":      {"1 in: PCMU; 1 out: opus;", fmt.Sprintf(both, "PCMU;"), "", ""},
		"noise alone is no call":          {fmt.Sprintf(both, "CN;"), fmt.Sprintf(both, "CN;"), "", ""},
		"both ends only listen":           {"1 in: PCMU;", "1 in: PCMU;", "", ""},
		"events without speech are alone": {fmt.Sprintf(both, "telephone-event;"), fmt.Sprintf(both, "PCMU;telephone-event;"), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := ParseAdvert(tc.client)
			if err != nil {
				t.Fatal(err)
			}
			server, err := ParseAdvert(tc.server)
			if err != nil {
				t.Fatal(err)
			}
			c2s, s2c, err := Negotiate(client, server)
			if tc.c2s == "" {
				if !errors.Is(err, ErrNoCommonCodec) {
					t.Fatalf("got %q, %q, %v", c2s, s2c, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := c2s.String(); got != tc.c2s {
				t.Errorf("client directive %q, want %q", got, tc.c2s)
			}
			if got := s2c.String(); got != strings.TrimPrefix(tc.s2c, "-") {
				t.Errorf("server directive %q, want %q", got, tc.s2c)
			}
		})
	}
}

func FuzzParseAdvert(f *testing.F) {
	f.Add("1 in: PCMU; PCMA; telephone-event; CN;\n1 out: PCMU;")
	f.Add("2 out: opus, ch = 2,Br=64000 , dtx; 3 in: h264,max-width=-1;")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAdvert(s)
		if err != nil {
			return
		}
		again, err := ParseAdvert(a.String())
		if err != nil && len(a.String()) <= MaxBytes {
			t.Fatalf("%q written as %q: %v", s, a, err)
		}
		if err == nil && !reflect.DeepEqual(a, again) {
			t.Fatalf("%q came back as %q", a, again)
		}
		_, _, _ = Negotiate(a, a)
	})
}

func FuzzParseDirective(f *testing.F) {
	f.Add("1 to 1: PCMU; telephone-event; CN;")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDirective(s)
		if err != nil {
			return
		}
		again, err := ParseDirective(d.String())
		if err != nil && len(d.String()) <= MaxBytes {
			t.Fatalf("%q written as %q: %v", s, d, err)
		}
		if err == nil && !reflect.DeepEqual(d, again) {
			t.Fatalf("%q came back as %q", d, again)
		}
	})
}

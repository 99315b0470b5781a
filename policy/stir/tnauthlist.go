package stir

import (
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"riptide/policy"
)

// TNAuthList says for which telephone numbers a certificate may speak
// (RFC 8226 section 9).
type TNAuthList []TNEntry

// TNEntry is one entry of a TNAuthList: a service provider code, or Count
// numbers from Start on. A single number has Count 1.
type TNEntry struct {
	SPC   string // service provider code, for example "709J"
	Start string // canonical digits, no plus; one number may hold * and # too
	Count uint64
}

// ErrTNAuthList is wrapped by every error about a TNAuthList.
var ErrTNAuthList = errors.New("not a TNAuthList of RFC 8226")

// oidTNAuthList is id-pe-TNAuthList.
var oidTNAuthList = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 26}

// Limits of a TNAuthList. RFC 8226 gives none but the fifteen characters.
const (
	maxTNAuthList = 32 << 10 // bytes of DER
	maxTNEntries  = 1024
	maxTN         = 15
	maxSPC        = 32
)

// The module of RFC 8226 has EXPLICIT TAGS: each choice is wrapped in a
// constructed context tag, with the IA5String or SEQUENCE inside it.
var (
	tagSPC   = cbasn1.Tag(0).ContextSpecific().Constructed()
	tagRange = cbasn1.Tag(1).ContextSpecific().Constructed()
	tagOne   = cbasn1.Tag(2).ContextSpecific().Constructed()
)

// NewTNAuthList lists the numbers of patterns. Only single numbers and blocks
// can be written into a certificate; errors wrap ErrTNAuthList.
func NewTNAuthList(patterns []policy.Pattern) (TNAuthList, error) {
	var list TNAuthList
	for _, p := range patterns {
		start, count, ok := p.Block()
		if !ok {
			return nil, fmt.Errorf("%w: %q says nothing about how long its numbers are; write one number or a block such as +1202555xxxx", ErrTNAuthList, string(p))
		}
		list = append(list, TNEntry{Start: start, Count: uint64(count)})
	}
	if err := list.check(); err != nil {
		return nil, err
	}
	return list, nil
}

// ParseTNAuthList reads the DER value of the extension. It takes no more than
// 1024 entries in 32 KiB. Errors wrap ErrTNAuthList.
func ParseTNAuthList(der []byte) (TNAuthList, error) {
	if len(der) > maxTNAuthList {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTNAuthList, len(der), maxTNAuthList)
	}
	in := cryptobyte.String(der)
	var seq cryptobyte.String
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !in.Empty() {
		return nil, fmt.Errorf("%w: not one DER SEQUENCE", ErrTNAuthList)
	}
	var list TNAuthList
	for !seq.Empty() {
		if len(list) == maxTNEntries {
			return nil, fmt.Errorf("%w: more than %d entries", ErrTNAuthList, maxTNEntries)
		}
		e, ok := readTNEntry(&seq)
		if !ok {
			return nil, fmt.Errorf("%w: entry %d is none of spc [0], range [1], one [2] with explicit tags", ErrTNAuthList, len(list)+1)
		}
		list = append(list, e)
	}
	if err := list.check(); err != nil {
		return nil, err
	}
	return list, nil
}

func readTNEntry(in *cryptobyte.String) (e TNEntry, ok bool) {
	var choice, text cryptobyte.String
	var tag cbasn1.Tag
	if !in.ReadAnyASN1(&choice, &tag) {
		return TNEntry{}, false
	}
	switch tag {
	case tagSPC:
		ok = choice.ReadASN1(&text, cbasn1.IA5String) && len(text) > 0
		e.SPC = string(text)
	case tagRange:
		var pair cryptobyte.String
		// A count of one is an entry of its own kind: INTEGER (2..MAX).
		ok = choice.ReadASN1(&pair, cbasn1.SEQUENCE) &&
			pair.ReadASN1(&text, cbasn1.IA5String) && pair.ReadASN1Integer(&e.Count) &&
			pair.Empty() && e.Count >= 2
		e.Start = string(text)
	case tagOne:
		ok = choice.ReadASN1(&text, cbasn1.IA5String)
		e.Start, e.Count = string(text), 1
	}
	return e, ok && choice.Empty()
}

// Append writes the list as DER, the value of the certificate extension.
// Errors wrap ErrTNAuthList.
func (l TNAuthList) Append(dst []byte) ([]byte, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder(dst)
	ia5 := func(b *cryptobyte.Builder, s string) {
		b.AddASN1(cbasn1.IA5String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
	}
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, e := range l {
			switch {
			case e.SPC != "":
				b.AddASN1(tagSPC, func(b *cryptobyte.Builder) { ia5(b, e.SPC) })
			case e.Count == 1:
				b.AddASN1(tagOne, func(b *cryptobyte.Builder) { ia5(b, e.Start) })
			default:
				b.AddASN1(tagRange, func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						ia5(b, e.Start)
						b.AddASN1Uint64(e.Count)
					})
				})
			}
		}
	})
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("write TNAuthList: %w", err)
	}
	if len(out)-len(dst) > maxTNAuthList {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTNAuthList, len(out)-len(dst), maxTNAuthList)
	}
	return out, nil
}

// check holds the rules that the ASN.1 does not.
func (l TNAuthList) check() error {
	if len(l) == 0 || len(l) > maxTNEntries {
		return fmt.Errorf("%w: %d entries, want 1 to %d", ErrTNAuthList, len(l), maxTNEntries)
	}
	for i, e := range l {
		if err := e.check(); err != nil {
			return fmt.Errorf("%w: entry %d: %w", ErrTNAuthList, i+1, err)
		}
	}
	return nil
}

func (e TNEntry) check() error {
	if e.SPC != "" {
		printable := !strings.ContainsFunc(e.SPC, func(r rune) bool { return r <= ' ' || r > '~' })
		if e.Start != "" || len(e.SPC) > maxSPC || !printable {
			return fmt.Errorf("service provider code is not 1 to %d printable characters", maxSPC)
		}
		return nil
	}
	if len(e.Start) == 0 || len(e.Start) > maxTN || strings.Trim(e.Start, "0123456789#*") != "" {
		return fmt.Errorf("number is not 1 to %d of 0-9 # *", maxTN)
	}
	if e.Count == 1 {
		return nil
	}
	first, err := strconv.ParseUint(e.Start, 10, 64)
	if err != nil {
		return fmt.Errorf("range starts at %q, which has no next number", e.Start)
	}
	// A range keeps its digit count: 9999 + 2 does not reach into 10000.
	if limit := pow10(len(e.Start)); e.Count < 1 || e.Count > limit || first > limit-e.Count {
		return fmt.Errorf("range of %d numbers from %s leaves its digit count", e.Count, e.Start)
	}
	return nil
}

// Covers tells whether the list names the number. Service provider codes name
// none, and addresses are never covered.
func (l TNAuthList) Covers(n policy.Number) bool {
	tn := n.TN()
	return tn != "" && slices.ContainsFunc(l, func(e TNEntry) bool { return e.covers(tn) })
}

func (e TNEntry) covers(tn string) bool {
	if e.SPC != "" || len(e.Start) != len(tn) {
		return false
	}
	if e.Count == 1 {
		return e.Start == tn
	}
	first, err1 := strconv.ParseUint(e.Start, 10, 64)
	n, err2 := strconv.ParseUint(tn, 10, 64)
	return err1 == nil && err2 == nil && n >= first && n-first < e.Count
}

// HasSPC tells whether the list holds the service provider code.
func (l TNAuthList) HasSPC(spc string) bool {
	return slices.ContainsFunc(l, func(e TNEntry) bool { return e.SPC != "" && e.SPC == spc })
}

// String lists the entries for people: "12025550000-12025559999, spc 709J".
func (l TNAuthList) String() string {
	parts := make([]string, len(l))
	for i, e := range l {
		switch {
		case e.SPC != "":
			parts[i] = "spc " + e.SPC
		case e.Count == 1:
			parts[i] = e.Start
		default:
			first, _ := strconv.ParseUint(e.Start, 10, 64)
			parts[i] = fmt.Sprintf("%s-%0*d", e.Start, len(e.Start), first+e.Count-1)
		}
	}
	return strings.Join(parts, ", ")
}

func pow10(n int) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}

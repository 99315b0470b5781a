package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"riptide/h3/conform"
)

const conformanceFile = "docs/spec/conformance.md"

// proofs are the tests that show a requirement from inside, by package
// directory: those that no judge on the wire can show, and those that show more
// than it does.
var proofs = map[string]string{
	"1": "h3 TestOtherOrigin", "2": "h3 TestOtherOrigin",
	"13": "h3 TestBackoff",
	"15": "h3 TestCustomerTG; . TestCustomerCalledWithoutAddress", "16": "h3 TestCustomerTG", "17": "h3 TestCustomerTGRefused", "18": "h3 TestCustomerTG",
	"19": "h3 TestCustomerTG", "20": "h3 TestCustomerTG", "21": ". TestCustomerCalledWithoutAddress", "22": ". TestCustomerCalledWithoutAddress",
	"23": "h3 TestCustomerTGRefused", "24": "h3 TestCustomerTGRefused", "25": "h3 TestCustomerTGRefused",
	"26": "h3 TestHandlersFitCalls", "30": "h3/advert TestVectors", "31": "h3 TestHandlersFitCalls", "32": "h3/advert TestNegotiateVectors",
	"35": ". TestBaresipHearsBaresip; . TestNegotiations", "36": ". TestBaresipHearsBaresip; sip/rtp TestDigitsBesideOpus", "37": "transcode TestConverter",
	"39": "h3 TestEnrolment", "40": "h3 TestEnrolment", "41": "h3 TestEnrolment", "42": "h3 TestEnrolment", "43": "h3 TestEnrolment", "44": "h3 TestEnrolment",
	"50": ". TestRefusedOverRIPT", "53": ". TestRefusedOverRIPT", "54": ". TestRefusedOverRIPT",
	"57": ". TestNegotiations", "58": ". TestNegotiations", "60": "bridge TestFormatCommon; . TestNegotiations",
	"86": "h3 TestCallPull", "89": "h3/media TestNumbersAreTruncatedOnceAcknowledged", "90": "h3/media TestNumbersAreFullOnIntraFrames",
	"91": "h3/media TestNumbersAreTruncatedOnceAcknowledged", "92": "h3/media TestNumbersAreFullOnIntraFrames",
	"98": "h3 TestFollowed", "105": "h3/media TestPanicParksMore", "108": "h3/media TestAnOutage", "119": "h3/media TestAnOutage",
	"A1": "h3 TestCustomerTG", "A4": "h3 TestPlacedCall; . TestSpecExamples", "A5": "h3 TestOtherOrigin", "A12": "h3 TestEarlyData",
	"A13": "policy TestSetVectors; policy TestNumberSetWithin", "A16": "h3 TestCustomerTG", "A17": "h3 TestUnknownEventsAreCounted",
	"A18": "h3 TestEventVectors", "A19": "h3/chunk TestVectors", "A20": "h3/chunk TestVectors", "A21": "h3/chunk TestVectors", "A22": "h3/chunk TestNumberVectors",
	"A23": "h3/media TestNumberingOfSeveralRates; . TestSpecCodecs", "A24": "h3/media TestNumberingOfSeveralRates", "A25": "h3/media TestEachStreamCountsItsLosses",
	"A26": "h3/media TestSealedMediaOverTwoHops", "A27": "h3/chunk TestAuthenticatedIsTheEnds; . TestTransit", "A28": "h3/chunk TestVectors; h3/chunk/seal TestPublishedSFrame",
	"A29": "h3/media TestVideoCrossesUnchanged; . TestVideoCrosses", "A30": "sip/rtp TestDigitsBesideOpus", "A31": "transcode TestConverter",
	"A35": "h3/media TestBehindBalancers", "A38": "h3 TestSixtyCallsPutGet", "A39": "h3/media TestACallClimbsAndFalls; h3/media TestBehindBalancers",
	"A39a": "h3/media TestOneSessionCarries150Calls; h3/media TestLossyPathOf150Calls", "A40": "h3/media TestCarriersByRank", "A43": "h3/media TestSilenceKeepsTheStreamAlive",
	"A44": "h3/media TestAnOutage; h3/media TestTooOld", "A46": "bridge TestCallIsAnsweredAndEnded",
	"A48": "h3 TestReasonBothWays; . TestCausesOverTheWire", "A50": "h3 TestServerChangesDirectives; h3 TestClientChangesHandler; bridge TestAdaptNeverQuarrels",
	"A51": "h3 TestTransferEndToEnd", "A52": "sip TestAnonymousPolicy", "A53": "policy/stir TestVerifyAll", "A54": "h3 TestEnrolment", "A55": "h3 TestCertificateLater",
	"A57": "h3 TestCallPull", "A60": "bridge TestFormatCommon", "A61": "h3/advert TestVectors", "A63": "h3 TestErrorsKeepSecrets",
}

// open says what is missing, or why a requirement is not for this document.
var open = map[string]string{
	"A47": "open: calls do not survive the loss of a node yet, so there is nothing to re-home",
	"A58": "not of the baseline: browser extension",
	"A59": "not of the baseline: browser extension",
}

// TestConformanceTable keeps docs/spec/conformance.md: a row for each
// requirement, who judges it, and the tests that prove it. Every test that it
// names is there, and no row is without one, or without a word why.
func TestConformanceTable(t *testing.T) {
	server, client := conform.CheckedBy(conform.Server), conform.CheckedBy(conform.Client)
	var b bytes.Buffer
	b.WriteString(conformanceHead)
	section := ""
	for _, r := range conform.Requirements() {
		if r.Section != section {
			section = r.Section
			fmt.Fprintf(&b, "\n## %s\n\n| number | level | side | requirement | judged by `riptide conform` as | proved by |\n|--|--|--|--|--|--|\n", section)
		}
		var judged, tests []string
		if server[r.ID] {
			judged, tests = append(judged, "server"), append(tests, "h3 TestServerConforms")
		}
		if client[r.ID] {
			judged, tests = append(judged, "client"), append(tests, "h3 TestClientConforms")
		}
		if p := proofs[r.ID]; p != "" {
			tests = append(tests, strings.Split(p, "; ")...)
		}
		proof := strings.Join(named(t, r.ID, tests), ", ")
		if o := open[r.ID]; o != "" {
			proof = o
		}
		if proof == "" {
			t.Errorf("nothing proves requirement %s: %s", r.ID, r.Text)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.ID, r.Level, r.Side, strings.ReplaceAll(r.Text, "|", "\\|"), strings.Join(judged, ", "), proof)
	}
	for id := range proofs {
		if _, ok := conform.Lookup(id); !ok {
			t.Errorf("there is no requirement %s", id)
		}
	}
	if *updateSpec {
		if err := os.WriteFile(conformanceFile, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(conformanceFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stored, b.Bytes()) {
		t.Error("docs/spec/conformance.md is not what the code says; make vectors writes it")
	}
}

const conformanceHead = `# Conformance

Every requirement of the baseline protocol: 1 to 120 are those of the core draft, A1 to A63 the points that the drafts left open, as
[baseline.md](baseline.md) settles them. ` + "`riptide conform`" + ` judges them from outside, a server as a client sees it and a client as a server sees it;
` + "`make conform`" + ` judges this program's own two ends. The tests are Go tests, by package; . is the root, where the scenarios with real programs are.
That the judge finds faults is shown by TestMutantsAreCaught in h3: servers with one fault each.

This file is written by ` + "`make vectors`" + ` and held against the code by TestConformanceTable.
`

// named checks that tests exist, and writes them as the table shows them.
func named(t *testing.T, id string, tests []string) []string {
	t.Helper()
	var out []string
	for _, test := range tests {
		dir, name, _ := strings.Cut(test, " ")
		if !testsIn(t, dir)[name] {
			t.Errorf("requirement %s: there is no %s in %s", id, name, dir)
		}
		out = append(out, fmt.Sprintf("%s `%s`", dir, name))
	}
	return out
}

var knownTests = map[string]map[string]bool{}

// testsIn are the test functions of a package directory.
func testsIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	if known := knownTests[dir]; known != nil {
		return known
	}
	found := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	isTest := regexp.MustCompile(`^Test[A-Z0-9]`)
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && isTest.MatchString(fn.Name.Name) {
				found[fn.Name.Name] = true
			}
		}
	}
	knownTests[dir] = found
	return found
}

# One command each, the same on a laptop and in CI. Only Go is needed; what
# `make test` uses besides it installs by apt.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X main.version=$(VERSION)
FUZZTIME ?= 20s
BENCH    ?= .
TESTFLAGS ?=

# Network namespaces and pcap playback need root; tests run with it where sudo
# gives it without asking, so that the build cache stays the user's.
SUDO := $(shell [ "$$(id -u)" = 0 ] || ! sudo -n true 2>/dev/null || echo "-exec 'sudo -n -E'")

.PHONY: all build demo test check fmt lint tidy vuln conform soak chaos interop fuzz vectors bench bench-calls peers clean
all: build

build: ## the static binary ./riptide
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o riptide .

demo: build ## two bridges on this machine, one call in each direction, heard
	./riptide demo --call

peers: ## install the real SIP programs that tests place calls with
	scripts/install-peers

test: peers ## every test, with the race detector; one package at a time, because they place calls in real time
	@export RIPTIDE_SECSIPIDX="$$(scripts/tool secsipidx)" RIPTIDE_CADDY="$$(scripts/tool caddy)"; \
	RIPTIDE_PEERS=required \
		go run ./scripts/testsum -o dist/test-counts -again 3 -race -p 1 -timeout 30m $(SUDO) $(TESTFLAGS) ./...
test: | dist
dist:
	@mkdir -p dist

check: fmt lint tidy vuln ## formatting, vet, linters with the import rules, tidiness, vulnerabilities

fmt:
	@bad=$$(git ls-files '*.go' | xargs gofmt -l); \
	[ -z "$$bad" ] || { echo "not formatted (gofmt -w mends it):"; echo "$$bad"; exit 1; }

lint:
	go vet ./...
	"$$(scripts/tool golangci-lint)" run ./...

tidy:
	go mod tidy -diff
	go mod verify
	go -C scripts/tools mod tidy -diff

vuln:
	scripts/vulncheck

conform: build ## judge a fresh server and a fresh client of ours by the protocol's requirements
	./riptide conform --self

soak: peers | dist ## long runs: thousands of calls, held calls with media, nothing left behind
	@export RIPTIDE_CADDY="$$(scripts/tool caddy)" RIPTIDE_TRAEFIK="$$(scripts/tool traefik)"; \
	RIPTIDE_PEERS=required RIPTIDE_SOAK=1 \
		go run ./scripts/testsum -o dist/soak-counts -timeout 2h -run 'Soak' $(SUDO) $(TESTFLAGS) ./...

CHAOS_MINUTES ?= 30
CHAOS_CALLS ?= 50
CHAOS_SEED ?=
chaos: peers | dist ## calls held for CHAOS_MINUTES while something breaks every 20 s; every gap is told, and dist/chaos has a plot. No call may be lost
	@export RIPTIDE_CADDY="$$(scripts/tool caddy)"; \
	CHAOS_MINUTES=$(CHAOS_MINUTES) CHAOS_CALLS=$(CHAOS_CALLS) CHAOS_SEED=$(CHAOS_SEED) CHAOS_DIR="$(CURDIR)/dist/chaos" RIPTIDE_PEERS=required \
		go test -count=1 -v -run '^TestChaos$$' -timeout "$$(($(CHAOS_MINUTES) + 15))m" .

interop: peers | dist ## every test that shows a behaviour with a peer; writes docs/interop.md. INTEROP=TestX for one of them
	@rm -f dist/interop; export RIPTIDE_SECSIPIDX="$$(scripts/tool secsipidx)"; \
	tests="$(INTEROP)"; \
	RIPTIDE_PEERS=required RIPTIDE_INTEROP="$(CURDIR)/dist/interop" \
		go run ./scripts/testsum -p 1 -timeout 60m -run "$${tests:-$$(go run ./scripts/interop -tests)}" $(SUDO) $(TESTFLAGS) . ./sip/...; \
	go run ./scripts/interop -records dist/interop

fuzz: ## every fuzz target, for FUZZTIME each
	scripts/fuzz $(FUZZTIME)

vectors: ## write the test vectors and the generated parts of the specification anew
	go test ./h3 ./h3/chunk ./h3/advert ./policy . -run 'Vectors$$|^TestSpec' -count=1 -update

bench-calls: peers ## what calls cost without media: CPU per call, highest rate, set-up delay, memory
	go test -run '^$$' -bench '^BenchmarkCalls$$' -benchtime 1x -timeout 60m -v .

bench: ## every benchmark
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

clean:
	rm -rf riptide dist

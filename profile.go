//go:build profile

package main

import (
	"log"
	"net"
	"net/http"
	_ "net/http/pprof" // on http.DefaultServeMux, which nothing else serves
	"os"
)

// A binary built with -tags profile, as the benchmark of calls does when it is
// asked for profiles, shows its profiler on the socket that RIPTIDE_PROFILE
// names. No other has one: a profile tells what numbers are called.
func init() {
	path := os.Getenv("RIPTIDE_PROFILE")
	if path == "" {
		return
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		log.Fatalf("profile: %v", err)
	}
	go func() { log.Fatalf("profile: %v", http.Serve(listener, nil)) }() // until the process ends
}

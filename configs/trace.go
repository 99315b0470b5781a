package configs

import "fmt"

// Trace is who is told what goes over the wire.
type Trace struct {
	HEP      HostPort `yaml:"hep"`                             // a collector of SIP messages (HEP3 over UDP); the zero value = none
	ID       int      `yaml:"hep-id" min:"1" max:"4294967295"` // what it calls this box
	Password File     `yaml:"hep-password"`                    // that it wants; "" = none

	Secret Secret[string] // loaded from Password by Load
}

// defaultHEPPort is that of Homer's collectors.
const defaultHEPPort = 9060

func (t *Trace) fill() {
	if t.HEP.Host == "" {
		return
	}
	if t.HEP.Port == 0 {
		t.HEP.Port = defaultHEPPort
	}
	if t.ID == 0 {
		t.ID = 1
	}
}

func (d *decoder) checkTrace(t *Trace) {
	if t.HEP.Host != "" || d.has("trace.hep") {
		return
	}
	if t.ID != 0 || t.Password != "" {
		d.problem("trace", "says how to send SIP messages to a collector, and not to which", fmt.Sprintf("add hep: the host:port of Homer's collector, as in 192.0.2.9:%d", defaultHEPPort))
	}
}

func (d *decoder) loadTrace(t *Trace) {
	if t.Password != "" {
		t.Secret = d.loadPassword("trace.hep-password", t.Password)
	}
}

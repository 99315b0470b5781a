package h3

import (
	"time"

	"riptide/bridge"
	"riptide/h3/media"
	"riptide/policy"
)

// example is what an operation's bodies may look like.
type example struct{ request, response any }

const (
	exampleBase     = "https://telco.example"
	exampleTG       = exampleBase + pathTGPrefix + "office"
	exampleHandler  = exampleTG + "/handlers/5f1c9a52-7a0e-4f5b-9d0c-3a4f6f1f2b77"
	exampleCall     = exampleTG + "/calls/0c2b1f0e-6d5c-4b51-8a3e-2f8f0c5a9b10"
	exampleAdvert   = "1 in: PCMU; PCMA; telephone-event; CN; 1 out: PCMU; PCMA; telephone-event; CN;"
	examplePassport = "eyJhbGciOiJFUzI1NiIsInBwdCI6InNoYWtlbiIsInR5cCI6InBhc3Nwb3J0IiwieDV1IjoiaHR0cHM6Ly8uLi4ifQ.eyJhdHRlc3QiOiJBIn0.c2lnbmF0dXJl"
)

var exampleTime = time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)

var (
	exampleNumbers = &policy.NumberSet{Allow: []policy.Pattern{"+*"}, Except: []policy.Pattern{"+1900*"}}
	exampleReason  = reasonOf(bridge.CauseDestination.With("the TG does not take calls to +19005550100"))
	exampleProblem = problemOf(bridge.CauseDestination.With("the TG does not take calls to +19005550100"))
)

var exampleDescription = CallDescription{
	URI: exampleCall, Handler: exampleHandler, Direction: "outbound", From: "+12025550100", To: "+13035550199",
	State: eventProceeding, ClientDirectives: "1 to 1: PCMU; telephone-event; CN;", ServerDirectives: "1 to 1: PCMU; telephone-event; CN;",
	Created: exampleTime,
}

var (
	exampleHandlerDoc = Handler{URI: exampleHandler, HandlerID: "office-1", Advertisement: exampleAdvert}
	exampleDone       = CallDescription{
		URI: exampleCall, Handler: exampleHandler, Direction: "outbound", From: "+12025550100", To: "+13035550199", State: eventAnswered,
		ClientDirectives: "1 to 1: PCMA; telephone-event; CN;", ServerDirectives: "1 to 1: PCMA; telephone-event; CN;", Created: exampleTime,
	}
	exampleOwnNumbers = &policy.NumberSet{Allow: []policy.Pattern{"+1202555xxxx"}}
	exampleCustomer   = CustomerTG{
		URI: "https://office.example/ript/v1/tgs/telco", Name: "telco", Outbound: Outbound{Destinations: exampleOwnNumbers},
		ProviderTG: exampleTG, TokenExpires: exampleTime.Add(maxTokenLife),
	}
	exampleRegistration = CustomerTG{
		URI: exampleCustomer.URI, Name: exampleCustomer.Name, Outbound: exampleCustomer.Outbound, ProviderTG: exampleTG,
		Token: "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg", TokenExpires: exampleCustomer.TokenExpires,
	}
	exampleRegister = example{request: exampleRegistration, response: exampleCustomer}
	exampleShown    = example{response: exampleCustomer}
	exampleList     = example{response: CustomerTGList{TGs: []CustomerTG{exampleCustomer}}}
)

// examples are told by operation.
var examples = map[string]example{
	"get-root": {response: Root{TGs: exampleBase + wellKnownRIPT + pathTGs, OAuth: exampleBase, Profile: Profile}},
	"list-tgs": {response: TGList{TGs: []TGEntry{{URI: exampleTG, Name: "office"}}}},
	"get-tg": {response: TG{
		URI: exampleTG, Name: "office", Outbound: Outbound{OriginNumbers: []string{"+1202555xxxx"}, Destinations: exampleNumbers},
		RetryBackoff: 2000, MediaTimeout: 5000, Keepalive: 5000, ParkedGets: 20, Media: media.RungNames(), Profile: Profile,
	}},
	"register-handler": {
		request:  Handler{HandlerID: "office-1", Advertisement: exampleAdvert},
		response: exampleHandlerDoc,
	},
	"get-handler":     {response: exampleHandlerDoc},
	"replace-handler": {request: Handler{HandlerID: "office-1", Advertisement: exampleAdvert}, response: exampleHandlerDoc},

	"register-customer-tg": exampleRegister, "put-customer-tg": exampleRegister, "replace-customer-tg": exampleRegister,
	"get-customer-tg": exampleShown, "list-customer-tgs": exampleList,
	"register-customer-tg-alias": exampleRegister, "put-customer-tg-alias": exampleRegister, "replace-customer-tg-alias": exampleRegister,
	"get-customer-tg-alias": exampleShown, "list-customer-tgs-alias": exampleList,

	"place-call": {
		request:  CallRequest{Handler: exampleHandler, Destination: "+13035550199", Passport: examplePassport},
		response: exampleDescription,
	},
	"get-call":    {response: exampleDescription},
	"update-call": {request: CallUpdate{Handler: exampleHandler}, response: exampleDone},
	"get-events": {response: []Event{
		{Type: eventProceeding, Direction: serverToClient, Timestamp: exampleTime, Call: exampleCall, Seq: 1},
		{Type: eventFailed, Direction: serverToClient, Timestamp: exampleTime, Call: exampleCall, Seq: 2, Reason: exampleReason},
	}},
	"put-events": {request: []Event{{Type: eventPing, Direction: clientToServer, Timestamp: exampleTime, Call: exampleCall, Seq: 1, Nonce: "7"}}},
}

package h3

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// addEvents enters the event byways of a call.
func (s *Server) addEvents(t *routes) {
	const path = pathTGPrefix + "{tg}/calls/{call}/events"
	t.add(s.serveEvents, huma.Operation{
		OperationID: "get-events", Method: http.MethodGet, Path: path,
		Summary: "What the server has to say about a call: a JSON array that ends with the call",
		Description: "The response never ends before the call does. White space crosses it at least every 5 seconds. " +
			"A body that ends without its closing bracket is a byway that was lost: open another.",
		Parameters: callParams(headerParam(headerIncremental, "?1: hold nothing back (RFC 10036)")),
		Responses:  t.replyWith(http.StatusOK, []Event{}, "The events, from the current state of the call on."),
	}, huma.Operation{
		OperationID: "put-events", Method: http.MethodPut, Path: path,
		Summary:     "What the client has to say about a call: a JSON array, never-ending or of one event",
		Description: "Where something on the way holds bodies back, one request carries one event: an array of one.",
		Parameters:  callParams(headerParam(headerIncremental, "?1: hold nothing back (RFC 10036)")),
		RequestBody: t.bodyOf([]Event{}), Responses: replies(http.StatusNoContent, "", "The array has ended."),
	})
}

// serveEvents judges the method. HEAD is none of a byway's: it would have to
// say what GET says, which is what happens next.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		s.serveGetEvents(w, r)
	case http.MethodPut:
		s.servePutEvents(w, r)
	default:
		p := refuseHTTP(http.StatusMethodNotAllowed, "%s is not a method of this resource", clipMethod(r.Method))
		p.header.Set("Allow", "GET, PUT")
		p.write(w)
	}
}

package h3

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"riptide/bridge"
	"riptide/h3/media"
)

// addMedia enters the media byways of a call: a request per chunk, striped
// streams, and those of a TG: trunk sessions.
func (s *Server) addMedia(t *routes) {
	const path = pathTGPrefix + "{tg}/calls/{call}/media"
	epoch := headerParam(media.EpochHeader, "Counts the client's changes of carrier; the server uses the highest")
	chunks := &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{mediaBinary: binary()}}
	t.add(s.serveMedia, huma.Operation{
		OperationID: "get-media", Method: http.MethodGet, Path: path,
		Summary:     "Parks a request for the server's next chunks",
		Description: "Extended CONNECT (WebTransport, sub-protocol ript-1) to the same URI carries chunks as datagrams; OpenAPI has no word for that.",
		Parameters:  callParams(epoch), Responses: replies(http.StatusOK, mediaBinary, "Chunks, each preceded by its length (a QUIC varint)."),
	}, huma.Operation{
		OperationID: "put-media", Method: http.MethodPut, Path: path,
		Summary: "Chunks of the client", Parameters: callParams(epoch),
		RequestBody: chunks, Responses: replies(http.StatusNoContent, "", "Taken."),
	})
	stripe := callParams(epoch,
		headerParam(media.StripesHeader, "How many stripes there are, 1 to 8"),
		&huma.Param{Name: "stripe", In: "path", Required: true, Description: "From 0 on", Schema: &huma.Schema{Type: huma.TypeInteger}})
	t.add(s.serveStripe, huma.Operation{
		OperationID: "get-stripe", Method: http.MethodGet, Path: path + "/stripes/{stripe}",
		Summary:     "One of the streams of chunks from the server",
		Description: "Never-ending. It begins when the stripe of the same number has brought a hello, which it echoes.",
		Parameters:  stripe, Responses: replies(http.StatusOK, mediaBinary, "Chunks, each preceded by its length (a QUIC varint)."),
	}, huma.Operation{
		OperationID: "put-stripe", Method: http.MethodPut, Path: path + "/stripes/{stripe}",
		Summary:     "One of the streams of chunks from the client",
		Description: "Never-ending. A hello is first, and again every 5 seconds; chunk s goes on stripe s modulo their number.",
		Parameters:  stripe, RequestBody: chunks, Responses: replies(http.StatusOK, mediaBinary, "Empty; it ends when the body has."),
	})
	t.mux.HandleFunc(http.MethodConnect+" "+pathTGPrefix+"{tg}/media", s.serveTrunk) // no operation of OpenAPI
}

// serveMedia hands a request of the media byway to the call's port.
func (s *Server) serveMedia(w http.ResponseWriter, r *http.Request) {
	c := s.callAt(w, r)
	if c == nil || r.Method == http.MethodConnect && !s.carries(w, c, media.WebTransport) {
		return
	}
	s.media.Serve(w, r, c.media.port)
}

// serveStripe does the same with one of the striped streams.
func (s *Server) serveStripe(w http.ResponseWriter, r *http.Request) {
	c := s.callAt(w, r)
	if c == nil || !s.carries(w, c, media.Striped) {
		return
	}
	s.media.ServeStripe(w, r, c.media.port, r.PathValue("stripe"))
}

// serveTrunk opens a session that the calls of a TG share.
func (s *Server) serveTrunk(w http.ResponseWriter, r *http.Request) {
	tg := r.PathValue("tg")
	if s.offers(w, tg, media.Trunk) {
		s.media.ServeTrunk(w, r, trunkOwner(clientOf(r.Context()), tg))
	}
}

// offers tells whether a TG has a rung of the media ladder, and refuses it if not.
func (s *Server) offers(w http.ResponseWriter, tg string, r media.Rung) bool {
	if g := s.tgs[tg]; g != nil && slices.Contains(g.cfg.Media, r.String()) {
		return true
	}
	refuseHTTP(http.StatusNotImplemented, "this TG has no %s; its document says what it has", r).write(w)
	return false
}

// carries tells whether a call may ride on a rung: its TG has it, and its handler
// does not leave it out. It refuses it if not.
func (s *Server) carries(w http.ResponseWriter, c *serverCall, r media.Rung) bool {
	if !s.offers(w, c.tg, r) {
		return false
	}
	if !c.takes(r) {
		refuseHTTP(http.StatusNotImplemented, "the call's handler has no %s among its media", r).write(w)
		return false
	}
	return true
}

// trunkOwner is who may put calls on a trunk session: the client that opened
// it, and calls of the same TG.
func trunkOwner(client, tg string) string { return client + "\n" + tg }

// joinSession puts a call on a trunk session. epoch orders it among the call's
// carriers.
func (s *Server) joinSession(c *serverCall, session, epoch string) (tag uint64, err error) {
	n := uint64(0)
	if epoch != "" {
		if n, err = strconv.ParseUint(epoch, 10, 62); err != nil {
			return 0, bridge.CauseBadRequest.With("%s: want a number", media.EpochHeader)
		}
	}
	if tag, err = s.media.Join(trunkOwner(c.client, c.tg), session, c.media.port, n); err != nil {
		return 0, sessionUnknown()
	}
	return tag, nil
}

func sessionUnknown() bridge.Cause {
	return bridge.Cause{Code: "session-unknown"}.With("there is no trunk session of that name; the call goes on as it was")
}

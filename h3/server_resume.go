package h3

import (
	"context"

	"riptide/bridge"
)

// Resume will continue a leg of another process; taking calls over is not part
// of this release. Its records hold what that needs.
func (s *Server) Resume(_ context.Context, r bridge.Resumption) (bridge.Leg, error) {
	return nil, bridge.CauseNotImplemented.With("trunk %q: call %s cannot be continued from its record in this release", r.Trunk, r.ID)
}

var _ bridge.Resumer = (*Server)(nil)

package main

import (
	_ "github.com/coreos/go-oidc/v3/oidc"
	_ "github.com/coreos/go-systemd/v22/daemon"
	_ "github.com/danielgtaylor/huma/v2/adapters/humago"
	_ "github.com/emiago/sipgo/sip"
	_ "github.com/go-jose/go-jose/v4/jwt"
	_ "github.com/goccy/go-yaml"
	_ "github.com/google/uuid"
	_ "github.com/luikyv/go-oidc/pkg/provider"
	_ "github.com/nats-io/nats-server/v2/server"
	_ "github.com/nats-io/nats.go/jetstream"
	_ "github.com/pion/rtcp"
	_ "github.com/pion/rtp"
	_ "github.com/pion/sdp/v3"
	_ "github.com/prometheus/client_golang/prometheus/promhttp"
	_ "github.com/quic-go/quic-go/http3"
	_ "github.com/quic-go/webtransport-go"
	_ "github.com/urfave/cli/v2"
	_ "github.com/zaf/g711"
	_ "golang.org/x/crypto/cryptobyte"
	_ "golang.org/x/oauth2"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/time/rate"
)

func main() {}

package agree

import (
	"fmt"
	"slices"

	"riptide/bridge"
	"riptide/h3/advert"
)

// Directives are what the two ends of a call are told to send.
type Directives struct {
	ToServer advert.Directive // the client directive
	ToClient advert.Directive // the server directive
}

// Decide makes the directives of a call: of the client's handler, under our
// policy (best first; empty: no restriction), against what our end can do. No
// speech in common is an error that carries CauseMediaIncompatible; no video in
// common is none.
func Decide(client, server advert.Advert, codecs []bridge.Codec) (Directives, error) {
	var d Directives
	var err error
	d.ToServer, d.ToClient, err = advert.Negotiate(Ordered(client, codecs), server)
	if err != nil {
		return Directives{}, bridge.CauseMediaIncompatible.With("%v", err)
	}
	up, down := StreamsOf(d.ToServer), StreamsOf(d.ToClient)
	if up.Audio.none() && down.Audio.none() {
		return Directives{}, bridge.CauseMediaIncompatible.With("no speech codec in common")
	}
	sealed := up.Audio.Sealed || down.Audio.Sealed
	d.ToServer, d.ToClient = withSeal(d.ToServer, sealed), withSeal(d.ToClient, sealed)
	return d, nil
}

// withSeal leaves out the streams that are sealed where speech is clear, or the
// reverse: who encrypts end to end does so with all of a call.
func withSeal(d advert.Directive, sealed bool) advert.Directive {
	return slices.DeleteFunc(d, func(s advert.Stream) bool { return s.Codecs[0].Sealed() != sealed })
}

// Read reads the directives of a call's description as its client has to. What
// the server tells itself to send is for the client's information: one that
// cannot be read counts as none.
func Read(client, server string) (Directives, error) {
	var d Directives
	var err error
	if d.ToServer, err = advert.ParseDirective(client); err != nil {
		return Directives{}, fmt.Errorf("client directive: %w", err)
	}
	d.ToClient, _ = advert.ParseDirective(server)
	return d, nil
}

// Equal tells whether both say the same.
func (d Directives) Equal(e Directives) bool {
	return d.ToServer.String() == e.ToServer.String() && d.ToClient.String() == e.ToClient.String()
}

// Follow checks that a handler that advertises mine can send what the client
// directive says.
func (d Directives) Follow(mine advert.Advert) error {
	fed := map[uint8]bool{}
	for _, s := range d.ToServer {
		if fed[s.Source] {
			return fmt.Errorf("client directive has source %d feed several sinks", s.Source)
		}
		fed[s.Source] = true
		at := slices.IndexFunc(mine, func(l advert.Line) bool { return !l.In && l.ID == s.Source })
		if at < 0 {
			return fmt.Errorf("client directive is for source %d, which our handler does not have", s.Source)
		}
		for _, c := range s.Codecs {
			if _, ok := advert.Match(c, mine[at].Codecs); !ok {
				return fmt.Errorf("client directive asks for %q of source %d, which our handler does not advertise", c, s.Source)
			}
		}
	}
	return nil
}

// Stream is one stream of a directive in the bridge's words; the zero value is
// none.
type Stream struct {
	Source, Sink uint8
	Codecs       []bridge.Codec // the chosen one first
	Sealed       bool

	main bridge.Format
}

func (s Stream) none() bool { return len(s.Codecs) == 0 }

// Streams are the streams of a directive: one of each kind at most, since a
// bridge's end has no more.
type Streams struct{ Audio, Video Stream }

// StreamsOf finds the first stream of speech and the first of video that begin
// with a codec of ours.
func StreamsOf(d advert.Directive) Streams {
	var out Streams
	for _, s := range d {
		stream := Stream{Source: s.Source, Sink: s.Sink}
		for _, c := range s.Codecs {
			f, ok := formatOf(c)
			switch {
			case !ok:
			case len(stream.Codecs) > 0:
				// Of what follows only that is taken which goes with speech: a peer
				// that lists more chose the first.
				if f.Codec.Aside() && c.Sealed() == stream.Sealed {
					stream.Codecs = append(stream.Codecs, f.Codec)
				}
			case !f.Codec.Aside():
				stream.Codecs, stream.Sealed, stream.main = []bridge.Codec{f.Codec}, c.Sealed(), f
			}
		}
		switch kind := stream.main.Codec.Kind(); {
		case stream.none():
		case kind == bridge.Video && out.Video.none():
			out.Video = stream
		case kind == bridge.Audio && out.Audio.none():
			out.Audio = stream
		}
	}
	return out
}

// Plan is the plan of the client's leg, or of the server's. What that end is
// told to send counts; where it sends nothing, what it receives.
func (d Directives) Plan(server bool) (bridge.MediaPlan, error) {
	send, receive := StreamsOf(d.ToServer), StreamsOf(d.ToClient)
	if server {
		send, receive = receive, send
	}
	audio, video := send.Audio, send.Video
	if audio.none() {
		audio = receive.Audio
	}
	if video.none() {
		video = receive.Video
	}
	if audio.none() {
		return bridge.MediaPlan{}, bridge.CauseMediaIncompatible.With("the directives %q and %q name no speech codec that we have", d.ToServer, d.ToClient)
	}
	if !video.none() && video.Sealed != audio.Sealed {
		return bridge.MediaPlan{}, bridge.CauseMediaIncompatible.With("the directives seal one stream and not the other")
	}
	plan := bridge.MediaPlan{
		Speech: audio.main.Codec, Sealed: audio.Sealed,
		Digits:       slices.Contains(audio.Codecs, bridge.TelephoneEvent),
		ComfortNoise: slices.Contains(audio.Codecs, bridge.ComfortNoise),
	}
	plan.Limits, plan.Ptime = split(audio.main.Params)
	if plan.Ptime == 0 {
		plan.Ptime = bridge.DefaultPtime
	}
	if !video.none() {
		plan.Video = &video.main
	}
	return plan, nil
}

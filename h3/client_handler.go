package h3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"riptide/bridge"
	"riptide/h3/advert"
)

// A handler says what we can send and receive, and the peer chooses by its
// order. Transcoding is the last resort, so there is one handler per order of
// preference, and a call names the one that fits its other leg.
var handlerOrders = []struct {
	suffix string
	first  bridge.Codec
	speech []bridge.Codec
}{
	{"-pcmu", bridge.PCMU, []bridge.Codec{bridge.PCMU, bridge.PCMA}},
	{"-pcma", bridge.PCMA, []bridge.Codec{bridge.PCMA, bridge.PCMU}},
}

// codecName is a codec as advertisements write it.
var codecName = map[bridge.Codec]string{
	bridge.PCMU: advert.PCMU, bridge.PCMA: advert.PCMA,
	bridge.ComfortNoise: advert.ComfortNoise, bridge.TelephoneEvent: advert.TelephoneEvent,
}

// advertisement is one source and one sink of speech, digits and comfort noise
// (all four are mandatory, core draft "Handler Description").
func advertisement(speech []bridge.Codec) string {
	var codecs []advert.Codec
	for _, c := range append(append([]bridge.Codec{}, speech...), bridge.TelephoneEvent, bridge.ComfortNoise) {
		codecs = append(codecs, advert.Codec{Name: codecName[c]})
	}
	return advert.Advert{{ID: 1, In: true, Codecs: codecs}, {ID: 1, Codecs: codecs}}.String()
}

// handlers are the URIs of our handlers at a TG, by the codec they prefer.
type handlers map[bridge.Codec]string

// For chooses the handler for what the other leg can do, best first.
func (h handlers) For(offer bridge.MediaOffer) (string, bool) {
	for _, c := range offer.Speech {
		if uri, ok := h[c]; ok {
			return uri, true
		}
	}
	return "", false
}

// register registers all handlers.
func (t *trunk) register(ctx context.Context, tg *url.URL, jar *cookieJar) (handlers, error) {
	out := handlers{}
	for _, o := range handlerOrders {
		uri, err := t.registerOne(ctx, tg, jar, t.client.cfg.HandlerID+o.suffix, advertisement(o.speech))
		if err != nil {
			return nil, fmt.Errorf("register handler: %w", err)
		}
		out[o.first] = uri
	}
	return out, nil
}

func (t *trunk) registerOne(ctx context.Context, tg *url.URL, jar *cookieJar, id, adv string) (string, error) {
	body, err := json.Marshal(Handler{HandlerID: id, Advertisement: adv})
	if err != nil {
		return "", err
	}
	at := tg.JoinPath("handlers")
	rep, err := t.Do(ctx, request{
		Method: http.MethodPost, URL: at.String(), Resource: tg.String(),
		Body: body, ContentType: "application/json", Jar: jar,
	})
	if err != nil {
		return "", err
	}
	uri, err := location(at, rep)
	if err == nil {
		_, err = sameSite(uri, tg)
	}
	if err != nil {
		return "", bridge.CausePeerError.With("trunk %q: POST %s: %v", t.trunk, at, err)
	}
	return uri, nil
}

// location reads the URI of what a 201 says was made.
func location(at *url.URL, rep reply) (string, error) {
	if rep.Status != http.StatusCreated {
		return "", fmt.Errorf("answered %d, want 201", rep.Status)
	}
	loc := rep.Header.Get("Location")
	if loc == "" {
		return "", errors.New("201 without Location")
	}
	u, err := at.Parse(loc)
	if err != nil {
		return "", fmt.Errorf("Location %q: %w", clip(loc, 200), err)
	}
	return u.String(), nil
}

// handlerLost tells the refusal that a new registration mends (core draft:
// 500 for an unknown handler; the problem type tells it from other 500s).
func handlerLost(err error) bool {
	var e *requestError
	return errors.As(err, &e) && e.Cause.Code == "handler-not-registered"
}

// planOf reads what we are told to send. The peer's directive is told for
// diagnosis only, but a call whose directions differ in codec is none that
// the bridge could plan.
func planOf(d CallDescription, offer bridge.MediaOffer) (bridge.MediaPlan, error) {
	dir, err := advert.ParseDirective(d.ClientDirectives)
	if err != nil {
		return bridge.MediaPlan{}, fmt.Errorf("client directive: %w", err)
	}
	if len(dir) != 1 || dir[0].Source != 1 {
		return bridge.MediaPlan{}, fmt.Errorf("client directive has %d streams, our handler has one source", len(dir))
	}
	plan := bridge.MediaPlan{Ptime: offer.Ptime}
	if plan.Ptime == 0 {
		plan.Ptime = bridge.DefaultPtime
	}
	speech := false
	for _, c := range dir[0].Codecs {
		switch advert.Name(c.Name) {
		case advert.TelephoneEvent:
			plan.Digits = true
		case advert.ComfortNoise:
			plan.ComfortNoise = true
		case advert.PCMU:
			plan.Speech, speech = firstOf(speech, plan.Speech, bridge.PCMU), true
		case advert.PCMA:
			plan.Speech, speech = firstOf(speech, plan.Speech, bridge.PCMA), true
		default:
			return bridge.MediaPlan{}, fmt.Errorf("client directive asks for %q, which our handler does not advertise", c.Name)
		}
	}
	if !speech {
		return bridge.MediaPlan{}, fmt.Errorf("client directive %q names no speech codec", clip(strings.TrimSpace(d.ClientDirectives), 200))
	}
	return plan, nil
}

func firstOf(have bool, old, c bridge.Codec) bridge.Codec {
	if have {
		return old
	}
	return c
}

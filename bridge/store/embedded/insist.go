package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"riptide/bridge/store"
)

// A node that is stopped hands over what it leads, and what was on its way to it is
// gone then: nobody answers. So what gets no answer is asked again for as long as
// its caller can wait. A write has an id, by which the servers know one that they
// have done already: it is done once, and answered as it was.

const (
	// writeTimeout bounds one write, and one read. Without a majority, and where the
	// disks took nothing, there is no answer at all; without a bound every call would
	// be held until its own patience ends, and nobody would say why.
	writeTimeout = 3 * time.Second
	// firstAnswer is how long a leader has to answer until it is asked again; the
	// second time it has twice that, and so on: one that is slow is not asked more.
	firstAnswer = 500 * time.Millisecond
	// leaderless is how long to wait where nobody leads.
	leaderless = 50 * time.Millisecond
	// knownWrites is how long the servers know a write.
	knownWrites = 4 * writeTimeout
	// longestElection is how long it takes to elect a leader, at most, where there is
	// a majority: raft.go of the server, maxElectionTimeout and a vote.
	longestElection = 10 * time.Second
)

// insist does something until it is answered, or ctx ends, or its time is up.
func (s *Store) insist(ctx context.Context, do func(ctx context.Context) error) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var err error
	for patience := firstAnswer; ; {
		trying, stop := context.WithTimeout(ctx, patience)
		err = do(trying)
		late := trying.Err() != nil
		stop()
		switch {
		case !unanswered(err):
			s.away.over(err)
			return err
		case ctx.Err() != nil:
			return s.away.lasts(began, err)
		case late:
			patience *= 2
			continue
		}
		select {
		case <-time.After(leaderless):
		case <-ctx.Done():
			return s.away.lasts(began, err)
		case <-s.life.Done():
			return store.ErrClosed
		}
	}
}

// unanswered tells whether nobody has said what became of it.
func unanswered(err error) bool {
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) {
		return true
	}
	var said *jetstream.APIError
	if !errors.As(err, &said) {
		return false
	}
	// "JetStream system temporarily unavailable", and a write that is being done.
	return said.Code == http.StatusServiceUnavailable || said.ErrorCode == jetstream.ErrorCode(server.JSStreamDuplicateMessageConflict)
}

// outage is since when nobody answers.
type outage struct {
	mu    sync.Mutex
	since time.Time
}

func (o *outage) over(err error) {
	if errors.Is(err, context.Canceled) {
		return // that says nothing
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.since = time.Time{}
}

// lasts says since when nobody has answered, one who was asked first at began among
// them, and how long that may last.
func (o *outage) lasts(began time.Time, err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() || began.Before(o.since) {
		o.since = began
	}
	return &store.Electing{Since: o.since, Until: o.since.Add(longestElection), Now: time.Now(), Why: err}
}

// write puts a value into a bucket, once. expect is the revision that it is to
// replace, nil: whatever there is.
func (s *Store) write(ctx context.Context, b store.Bucket, key string, value []byte, expect *uint64, ttl time.Duration) (revision uint64, err error) {
	id, sent := rand.Text(), 0
	header := nats.Header{jetstream.MsgIDHeader: {id}}
	if expect != nil {
		header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(*expect, 10))
	}
	if ttl > 0 { // the server knows whole seconds
		header.Set(jetstream.MsgTTLHeader, ((ttl + time.Second - 1).Truncate(time.Second)).String())
	}
	err = s.insist(ctx, func(ctx context.Context) error {
		sent++
		ack, err := s.streams.PublishMsg(ctx, &nats.Msg{Subject: subject(b, key), Header: header, Data: value}, jetstream.WithRetryAttempts(0))
		if err == nil {
			revision = ack.Sequence
		}
		return err
	})
	if !wrongRevision(err) {
		return revision, err
	}
	if sent > 1 { // a server by itself looks at the revision before the id
		if found, err := s.last(ctx, b, key); err == nil && found.Header.Get(jetstream.MsgIDHeader) == id {
			return found.Sequence, nil
		}
	}
	return 0, jetstream.ErrKeyRevisionMismatch
}

// last is the latest message of a key, be it a marker.
func (s *Store) last(ctx context.Context, b store.Bucket, key string) (found *jetstream.RawStreamMsg, err error) {
	err = s.insist(ctx, func(ctx context.Context) (err error) {
		found, err = s.kept[b].GetLastMsgForSubject(ctx, subject(b, key))
		return err
	})
	return found, err
}

// wrongRevision tells whether a write expected another revision than there is.
func wrongRevision(err error) bool {
	var said *jetstream.APIError
	return errors.As(err, &said) && (said.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || said.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// create writes a key that does not exist, or of which only the marker is left.
func (s *Store) create(ctx context.Context, b store.Bucket, key string, value []byte, ttl time.Duration) (revision uint64, err error) {
	var marker uint64
	for range createTries {
		revision, err = s.write(ctx, b, key, value, &marker, ttl)
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return revision, err
		}
		found, err := s.last(ctx, b, key)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound): // its marker has gone meanwhile
			marker = 0
		case err != nil:
			return 0, err
		case found.Header.Get(operationHeader) == "" && found.Header.Get(jetstream.MarkerReasonHeader) == "":
			return 0, jetstream.ErrKeyExists
		default:
			marker = found.Sequence
		}
	}
	return 0, jetstream.ErrKeyExists
}

// createTries is how often a key is created, of which a marker is left that goes
// away meanwhile (markerTTL), or is made anew.
const createTries = 4

// operationHeader is what the markers of removed keys have.
const operationHeader = "KV-Operation"

// subject is what the messages of a key are sent to.
func subject(b store.Bucket, key string) string { return "$KV." + string(b) + "." + key }

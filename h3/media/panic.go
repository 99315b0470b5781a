package media

// Panic tells the client that the server had media to send and no GET to send it
// on (core draft, "Server media": the event media-panic). It may be called at any
// time, and does nothing where no GETs are needed.
func (c *Client) Panic() {
	select {
	case c.panics <- struct{}{}:
	default: // one is being seen to
	}
}

// panicked parks twice as many GETs from now on, as far as the server wants
// them, and sends those at once that were waiting to go.
func (q *requests) panicked() {
	q.mu.Lock()
	q.least = min(max(2*q.want, q.least), q.most)
	close(q.hurry)
	q.hurry = make(chan struct{})
	q.mu.Unlock()
	q.resize(0)
}

// hurried is closed when GETs that wait are wanted at once.
func (q *requests) hurried() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.hurry
}

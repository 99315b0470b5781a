package transcode

// A Decoder turns the payloads of one stream into samples, in their order.
type Decoder interface {
	// Decode appends the samples of a payload to dst. After an error dst is as
	// it was, and the next payload may do better.
	Decode(dst []int16, payload []byte) ([]int16, error)

	// Conceal appends n samples in place of those that were lost. next is the
	// payload behind the gap, which may hold a copy of what was lost, or nil.
	Conceal(dst []int16, n int, next []byte) []int16
}

// An Encoder turns the samples of one stream into payloads, in their order.
type Encoder interface {
	// Encode appends the payload of one packet to dst.
	Encode(dst []byte, samples []int16) ([]byte, error)
}

// pcm is G.711 as a Decoder and Encoder.
type pcm struct {
	law  Law
	last [lastSamples]int16 // for concealment
	n    int
}

// lastSamples is 10 ms: the pitch of a low voice.
const lastSamples = 80

// NewDecoder makes a decoder of a law.
func (l Law) NewDecoder() Decoder { return &pcm{law: l} }

// NewEncoder makes an encoder of a law.
func (l Law) NewEncoder() Encoder { return &pcm{law: l} }

func (p *pcm) Decode(dst []int16, payload []byte) ([]int16, error) {
	dst = p.law.Decode(dst, payload)
	p.n = copy(p.last[:], dst[max(len(dst)-min(len(payload), lastSamples), 0):])
	return dst, nil
}

// Conceal repeats what was heard last, fading away within 60 ms, as ITU-T G.711
// Appendix I does, but without its search for the pitch.
func (p *pcm) Conceal(dst []int16, n int, _ []byte) []int16 {
	const fade = 60 * SampleRate / 1000
	for i := range n {
		var s int16
		if p.n > 0 && i < fade {
			s = int16(int(p.last[i%p.n]) * (fade - i) / fade)
		}
		dst = append(dst, s)
	}
	return dst
}

func (p *pcm) Encode(dst []byte, samples []int16) ([]byte, error) {
	return p.law.Encode(dst, samples), nil
}

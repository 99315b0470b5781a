// Package transcode turns samples into payloads and back: G.711 in both laws,
// Opus, comfort noise, tones, and the keys of a telephone, made and heard. Samples are signed 16 bit linear at 8000 Hz,
// mono: what a telephone hears. G.722 is not among them; it passes through, or
// not at all.
//
// It is pure: values in, values out, no goroutine, no clock, and no allocation
// per frame save one inside the Opus encoder. It knows no call and no codec
// number.
//
//	payload --Law.Decode--> samples --Law.Encode--> payload
//	payload ------------- Convert --------------> payload of the other law
//	Tone, Noise ----------------------> samples
//
//	packets --Converter--> packets of the other codec, in order, without the
//	          Decoder, Encoder     gaps that a decoder can fill
//
// Functions append to dst and return it, like append: give them a slice with
// room and they allocate nothing.
package transcode

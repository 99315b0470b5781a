// Package transcode turns samples into payloads and back: G.711 in both laws,
// comfort noise and tones. Samples are signed 16 bit linear at 8000 Hz, mono.
//
// It is pure: values in, values out, no goroutine, no clock, no allocation per
// frame. It knows no call, no packet and no codec number.
//
//	payload --Law.Decode--> samples --Law.Encode--> payload
//	payload ------------- Convert --------------> payload of the other law
//	Tone, Noise ----------------------> samples
//
// Functions append to dst and return it, like append: give them a slice with
// room and they allocate nothing.
package transcode

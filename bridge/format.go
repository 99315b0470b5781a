package bridge

import "riptide/bridge/format"

// Format is a codec with the parameters that both ends must know.
type Format struct {
	Codec  Codec   `json:"codec"`
	Params []Param `json:"params,omitempty"`
}

// Param is one parameter of a format, by its name in the RIPT registry.
type Param = format.Param

// Param is the value of a parameter; ok says whether it is there, or has a
// default.
func (f Format) Param(name string) (value int64, ok bool) { return format.Value(f.Params, name) }

// Common is what two ends that advertise f and g can exchange: the same codec
// within the limits of both. Not ok: the formats do not fit.
func (f Format) Common(g Format) (common Format, ok bool) {
	if f.Codec != g.Codec {
		return Format{}, false
	}
	params, ok := format.Common(f.Codec.String(), f.Params, g.Params)
	if !ok {
		return Format{}, false
	}
	return Format{Codec: f.Codec, Params: params}, true
}

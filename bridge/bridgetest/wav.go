package bridgetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// MaxWAVSamples is the longest recording read: half an hour at 8000 Hz.
const MaxWAVSamples = 30 * 60 * 8000

// ErrWAV is wrapped by errors of ReadWAV about the content.
var ErrWAV = errors.New("not a WAV recording we can judge")

const (
	wavHeader    = 44
	wavPCM       = 1
	maxWAVChunk  = 64 << 10 // bytes of a chunk that we skip
	maxWAVChunks = 16       // chunks before the samples
)

// WriteWAV writes samples as mono 16 bit PCM of the given rate in Hz.
func WriteWAV(w io.Writer, samples []int16, rate int) error {
	b := make([]byte, 0, wavHeader+2*len(samples))
	le := binary.LittleEndian
	b = append(b, "RIFF"...)
	b = le.AppendUint32(b, uint32(wavHeader-8+2*len(samples)))
	b = append(b, "WAVEfmt "...)
	b = le.AppendUint32(b, 16)
	b = le.AppendUint16(b, wavPCM)
	b = le.AppendUint16(b, 1) // channels
	b = le.AppendUint32(b, uint32(rate))
	b = le.AppendUint32(b, uint32(2*rate)) // bytes per second
	b = le.AppendUint16(b, 2)              // bytes per sample
	b = le.AppendUint16(b, 16)             // bits per sample
	b = append(b, "data"...)
	b = le.AppendUint32(b, uint32(2*len(samples)))
	for _, s := range samples {
		b = le.AppendUint16(b, uint16(s))
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("write %d samples as WAV: %w", len(samples), err)
	}
	return nil
}

// ReadWAV reads 16 bit PCM of 8000 to 48000 Hz, of stereo the left channel. A data
// chunk that says 0 or
// the largest length is read to the end of the file: recorders that were killed
// leave it so.
func ReadWAV(r io.Reader) (samples []int16, rate int, err error) {
	var riff [12]byte
	if _, err := io.ReadFull(r, riff[:]); err != nil {
		return nil, 0, fmt.Errorf("%w: no header: %w", ErrWAV, err)
	}
	if string(riff[:4]) != "RIFF" || string(riff[8:]) != "WAVE" {
		return nil, 0, fmt.Errorf("%w: not RIFF/WAVE", ErrWAV)
	}
	channels := 0
	for range maxWAVChunks {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, 0, fmt.Errorf("%w: no data chunk: %w", ErrWAV, err)
		}
		size := binary.LittleEndian.Uint32(head[4:])
		switch id := string(head[:4]); {
		case id == "data" && rate == 0:
			return nil, 0, fmt.Errorf("%w: data before its format", ErrWAV)
		case id == "data":
			samples, err = readSamples(r, size, channels)
			return samples, rate, err
		case size > maxWAVChunk:
			return nil, 0, fmt.Errorf("%w: chunk %q of %d bytes, at most %d", ErrWAV, id, size, maxWAVChunk)
		}
		body := make([]byte, size+size&1) // chunks are padded to even lengths
		if _, err := io.ReadFull(r, body); err != nil {
			return nil, 0, fmt.Errorf("%w: chunk %q is cut off: %w", ErrWAV, head[:4], err)
		}
		if string(head[:4]) == "fmt " {
			if rate, channels, err = parseFormat(body); err != nil {
				return nil, 0, err
			}
		}
	}
	return nil, 0, fmt.Errorf("%w: no data within %d chunks", ErrWAV, maxWAVChunks)
}

func parseFormat(b []byte) (rate, channels int, err error) {
	if len(b) < 16 {
		return 0, 0, fmt.Errorf("%w: format chunk of %d bytes", ErrWAV, len(b))
	}
	le := binary.LittleEndian
	f, ch, bits := le.Uint16(b), le.Uint16(b[2:]), le.Uint16(b[14:])
	if f != wavPCM || ch != 1 && ch != 2 || bits != 16 {
		return 0, 0, fmt.Errorf("%w: format %d, %d channels, %d bits; want PCM, mono or stereo, 16 bit", ErrWAV, f, ch, bits)
	}
	r := le.Uint32(b[4:])
	if r < 8000 || r > 48000 {
		return 0, 0, fmt.Errorf("%w: rate %d Hz, want 8000 to 48000", ErrWAV, r)
	}
	return int(r), int(ch), nil
}

func readSamples(r io.Reader, size uint32, channels int) ([]int16, error) {
	const open = ^uint32(0)
	if size == 0 || size >= open-wavHeader {
		size = open
	}
	if size != open && size > 2*MaxWAVSamples {
		return nil, fmt.Errorf("%w: %d samples, at most %d", ErrWAV, size/2, MaxWAVSamples)
	}
	data, err := io.ReadAll(io.LimitReader(r, min(int64(size), 2*MaxWAVSamples+1)))
	if err != nil {
		return nil, fmt.Errorf("read WAV samples: %w", err)
	}
	if len(data) > 2*MaxWAVSamples {
		return nil, fmt.Errorf("%w: more than %d samples", ErrWAV, MaxWAVSamples)
	}
	if size != open && len(data) < int(size) {
		return nil, fmt.Errorf("%w: %d of %d bytes of samples", ErrWAV, len(data), size)
	}
	samples := make([]int16, len(data)/2/channels)
	for i := range samples {
		samples[i] = int16(binary.LittleEndian.Uint16(data[2*channels*i:]))
	}
	return samples, nil
}

// SaveWAV writes a recording to a file.
func SaveWAV(path string, samples []int16, rate int) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("save recording: %w", err)
	}
	if err := WriteWAV(f, samples, rate); err != nil {
		_ = f.Close()
		return fmt.Errorf("save recording %s: %w", path, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("save recording %s: %w", path, err)
	}
	return nil
}

// LoadWAV reads a recording from a file.
func LoadWAV(path string) (samples []int16, rate int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("load recording: %w", err)
	}
	defer func() { _ = f.Close() }()
	if samples, rate, err = ReadWAV(f); err != nil {
		return nil, 0, fmt.Errorf("load recording %s: %w", path, err)
	}
	return samples, rate, nil
}

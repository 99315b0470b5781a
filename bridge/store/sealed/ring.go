package sealed

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// Ring is the keys that open sealed values. The first one seals, so that keys
// can be changed while calls run: write the new one below the old, later above
// it, and later still without it.
type Ring struct{ keys []key }

type key struct {
	id     [idLen]byte // says which key it is, and nothing about it
	secret [secretLen]byte
}

const (
	idLen     = 4
	secretLen = 32
	maxKeys   = 16
	maxFile   = 64 << 10
)

// File is the name of the key file in the state directory.
const File = "store.key"

func newKey(secret []byte) key {
	sum := sha256.Sum256(append([]byte("riptide store key id "), secret...))
	k := key{id: [idLen]byte(sum[:])}
	copy(k.secret[:], secret)
	return k
}

// LoadOrCreate reads a key file, or makes one with a new key where there is
// none. Only one process may do so at a time: whoever holds the store.
func LoadOrCreate(path string) (Ring, error) {
	ring, err := Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return ring, err
	}
	if err := create(path); err != nil {
		return Ring{}, fmt.Errorf("make the key of call records %s: %w (the user that riptide runs as must be able to write there)", path, err)
	}
	return Load(path)
}

// Load reads a key file.
func Load(path string) (Ring, error) {
	f, err := os.Open(path)
	if err != nil {
		return Ring{}, fmt.Errorf("read the key of call records: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Ring{}, fmt.Errorf("read the key of call records: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return Ring{}, fmt.Errorf("the key of call records %s may be read by others than its owner (mode %04o): chmod 600 %s", path, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Ring{}, fmt.Errorf("read the key of call records %s: %w", path, err)
	}
	ring, err := ParseRing(text)
	if err != nil {
		return Ring{}, fmt.Errorf("the key of call records %s: %w", path, err)
	}
	return ring, nil
}

// ParseRing reads the text of a key file: one key a line, 32 bytes in base64,
// the sealing one first. Empty lines and those that begin with # are for people.
func ParseRing(text []byte) (Ring, error) {
	if len(text) > maxFile {
		return Ring{}, fmt.Errorf("is longer than %d bytes", maxFile)
	}
	var ring Ring
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxFile+1)
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		secret, err := base64.StdEncoding.Strict().DecodeString(string(line))
		if err != nil || len(secret) != secretLen {
			return Ring{}, fmt.Errorf("line %d is not a key of %d bytes in base64 (openssl rand -base64 %d makes one)", n, secretLen, secretLen)
		}
		k := newKey(secret)
		if _, twice := ring.find(k.id); twice {
			return Ring{}, fmt.Errorf("line %d is a key that stands there before", n)
		}
		if ring.keys = append(ring.keys, k); len(ring.keys) > maxKeys {
			return Ring{}, fmt.Errorf("holds more than %d keys", maxKeys)
		}
	}
	if err := lines.Err(); err != nil {
		return Ring{}, err
	}
	if len(ring.keys) == 0 {
		return Ring{}, fmt.Errorf("holds no key (openssl rand -base64 %d makes one)", secretLen)
	}
	return ring, nil
}

func (r Ring) find(id [idLen]byte) (key, bool) {
	for _, k := range r.keys {
		if k.id == id {
			return k, true
		}
	}
	return key{}, false
}

// IDs say which keys the ring has, and not what they are: the sealing one first.
func (r Ring) IDs() []string {
	ids := make([]string, 0, len(r.keys))
	for _, k := range r.keys {
		ids = append(ids, fmt.Sprintf("%x", k.id))
	}
	return ids
}

// String is IDs.
func (r Ring) String() string { return fmt.Sprint(r.IDs()) }

// GoString, Format and LogValue are String: no way of printing shows a key.
func (r Ring) GoString() string           { return r.String() }
func (r Ring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }
func (r Ring) LogValue() slog.Value       { return slog.StringValue(r.String()) }

// create writes a key file so that it is whole or not there, also after a loss
// of power: what it seals will be.
func create(path string) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, File+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // nothing is left of it once it has its name
	secret := make([]byte, secretLen)
	_, _ = rand.Read(secret) // never fails
	_, err = fmt.Fprintf(f, "# Seals the call records of riptide. Keep it secret, and keep it: without it the\n"+
		"# calls of a process that is gone cannot be continued.\n%s\n", base64.StdEncoding.EncodeToString(secret))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

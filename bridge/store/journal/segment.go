package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A segment begins with the name of the format and the highest revision there
// was when it was made, so that none is given twice although records go.
const (
	segmentMagic = "riptide1"
	segmentHead  = len(segmentMagic) + 8
	segmentEnd   = ".log"
)

// segment is one file of the log.
type segment struct {
	number uint64
	file   *os.File
	size   int64 // what is durable; the file may be longer after a failure
	live   int64 // bytes of records that still count
}

func segmentName(number uint64) string { return fmt.Sprintf("%016x%s", number, segmentEnd) }

// listSegments gives the numbers of the segments in a directory, in order.
func listSegments(dir string) ([]uint64, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, f := range files {
		hex, ok := strings.CutSuffix(f.Name(), segmentEnd)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(hex, 16, 64)
		if err != nil || segmentName(n) != f.Name() {
			return nil, fmt.Errorf("%s is not a name of ours", f.Name())
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers, nil
}

// createSegment makes an empty segment that survives a crash. A file of that
// name can only be one that could not be made before.
func createSegment(dir string, number, revision uint64) (*segment, error) {
	f, err := os.OpenFile(filepath.Join(dir, segmentName(number)), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	head := binary.LittleEndian.AppendUint64([]byte(segmentMagic), revision)
	_, err = f.WriteAt(head, 0)
	if err = errors.Join(err, f.Sync(), syncDir(dir)); err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return nil, err
	}
	return &segment{number: number, file: f, size: int64(segmentHead)}, nil
}

// openSegment opens one that was written before, and returns what it holds.
func openSegment(dir string, number uint64) (*segment, []byte, error) {
	f, err := os.OpenFile(filepath.Join(dir, segmentName(number)), os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	data, err := os.ReadFile(f.Name())
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return &segment{number: number, file: f, size: int64(len(data))}, data, nil
}

// parseHead reads the head of a segment.
func parseHead(b []byte) (revision uint64, err error) {
	if len(b) < segmentHead {
		return 0, errTorn
	}
	if string(b[:len(segmentMagic)]) != segmentMagic {
		return 0, errDamaged
	}
	return binary.LittleEndian.Uint64(b[len(segmentMagic):]), nil
}

// write puts what was gathered behind what is durable, and makes it so.
func (s *segment) write(b []byte) error {
	if _, err := s.file.WriteAt(b, s.size); err != nil {
		return err
	}
	if err := syncData(s.file); err != nil {
		return err
	}
	s.size += int64(len(b))
	return nil
}

// cut removes what lies behind what is durable.
func (s *segment) cut() error {
	return errors.Join(s.file.Truncate(s.size), s.file.Sync())
}

// remove lets go of the file. Whoever reads from it at the time may finish.
func (s *segment) remove() error {
	return errors.Join(os.Remove(s.file.Name()), s.file.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

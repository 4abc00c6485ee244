package state

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/zeebo/xxh3"
)

// A state file is a sequence of frames: one header, blocks of entries ordered by table and key group, one
// index. Then come 8 bytes with the offset of the index and 8 bytes of magic. All numbers are little endian.
//
//	frame:  magic "TMSF" | kind | table | group | count | length | XXH3 of the payload (8) | check (4) | payload
//
// Fields without a size have 4 bytes; check is the lower half of the XXH3 of the fields before it. The payload
// of the header is JSON, that of a block count times key and value in their codecs' encoding, that of the
// index JSON: where the blocks of each group begin.
const (
	frameMagic   = "TMSF"
	frameSize    = 36
	trailerMagic = "TMSFEND1"
	trailerSize  = 16
	// formatVersion is that of what this code writes, and the newest that it reads.
	formatVersion = 1
	// blockSize is how large the payload of a block grows, not counting its last entry.
	blockSize = 64 << 10

	headerFrame = 1
	blockFrame  = 2
	indexFrame  = 3
)

// ErrCorrupt: a state file is damaged or cut off. Another checkpoint has to be used.
var ErrCorrupt = errors.New("state: file is damaged")

type header struct {
	Version     int
	Max         int
	First, Last int
	Tables      []description
}

// indexEntry says where the blocks of one group of one table are.
type indexEntry struct {
	Table   int   `json:"t"`
	Group   int   `json:"g"`
	Offset  int64 `json:"o"`
	Size    int64 `json:"s"`
	Entries int64 `json:"n"`
}

// frame is the head of a frame.
type frame struct {
	kind, table, group, count, length uint32
	sum                               uint64
}

func (f frame) put(b []byte) {
	copy(b, frameMagic)
	for i, x := range []uint32{f.kind, f.table, f.group, f.count, f.length} {
		binary.LittleEndian.PutUint32(b[4+4*i:], x)
	}
	binary.LittleEndian.PutUint64(b[24:], f.sum)
	binary.LittleEndian.PutUint32(b[32:], uint32(xxh3.Hash(b[:32])))
}

func parseFrame(b []byte) (frame, bool) {
	at := func(i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }
	f := frame{at(4), at(8), at(12), at(16), at(20), binary.LittleEndian.Uint64(b[24:])}
	return f, string(b[:4]) == frameMagic && at(32) == uint32(xxh3.Hash(b[:32]))
}

// writer writes the frames of one file.
type writer struct {
	w      io.Writer
	groups KeyGroups
	offset int64
	index  []indexEntry
	// table and group are those of the block in buf, whose first frameSize bytes are for its head.
	table, group int
	buf          []byte
	count        int
}

func newWriter(w io.Writer, groups KeyGroups) *writer {
	return &writer{w: w, groups: groups, group: -1, buf: make([]byte, frameSize, blockSize+blockSize/8)}
}

func (w *writer) header(h header) error {
	h.Version = formatVersion
	return w.json(headerFrame, h)
}

func (w *writer) json(kind uint32, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.buf = append(w.buf, data...)
	return w.frame(frame{kind: kind})
}

// frame writes what is in buf.
func (w *writer) frame(f frame) error {
	payload := w.buf[frameSize:]
	if uint64(len(payload)) > math.MaxUint32 {
		return fmt.Errorf("state: an entry of key group %d has %d bytes, more than 4 GiB", w.group, len(payload))
	}
	f.length, f.sum = uint32(len(payload)), xxh3.Hash(payload)
	f.put(w.buf)
	n, err := w.w.Write(w.buf)
	w.offset += int64(n)
	w.buf, w.count = w.buf[:frameSize], 0
	return err
}

// begin makes buf a block of a group that has room for an entry. Groups come in order.
func (w *writer) begin(group int) error {
	if group == w.group && len(w.buf) < blockSize {
		return nil
	}
	if !w.groups.Contains(group) {
		return fmt.Errorf("state: a key of group %d is in a backend of groups %s", group, w.groups)
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.group = group
	return nil
}

// entries writes entries that are encoded already.
func (w *writer) entries(g encodedGroup) error {
	if err := w.begin(g.group); err != nil {
		return err
	}
	w.buf = append(w.buf, g.data...)
	w.count += g.count
	return nil
}

// flush writes the block in buf, if there is one.
func (w *writer) flush() error {
	if w.count == 0 {
		w.group = -1
		return nil
	}
	start, count, group := w.offset, w.count, w.group
	err := w.frame(frame{kind: blockFrame, table: uint32(w.table), group: uint32(group), count: uint32(count)})
	if n := len(w.index); n == 0 || w.index[n-1].Table != w.table || w.index[n-1].Group != group {
		w.index = append(w.index, indexEntry{Table: w.table, Group: group, Offset: start})
	}
	last := &w.index[len(w.index)-1]
	last.Size = w.offset - last.Offset
	last.Entries += int64(count)
	w.group = -1
	return err
}

// finish writes the index and the trailer.
func (w *writer) finish() error {
	at := w.offset
	if err := w.json(indexFrame, w.index); err != nil {
		return err
	}
	trailer := append(binary.LittleEndian.AppendUint64(nil, uint64(at)), trailerMagic...)
	n, err := w.w.Write(trailer)
	w.offset += int64(n)
	return err
}

package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/zeebo/xxh3"
)

// block is entries of one key group of one table, as read from a file.
type block struct {
	group, count int
	data         []byte
	// file and offset say where it was read.
	file   string
	offset int64
}

// restoredTable is a table that was restored but not registered yet.
type restoredTable struct {
	about  description
	file   string // the first it was seen in
	blocks []block
}

// Restore reads a file that Snapshot.Write wrote, and keeps the groups that are wanted and belong to the
// backend. It may be called for several files. Tables that are registered already take their entries at
// once, which saves memory; others wait for their registration and are meanwhile written with each snapshot.
// Damage is reported as ErrCorrupt, with file, group and offset; the backend must then not be used. If r
// is an io.Seeker it seeks to the groups wanted; otherwise it reads all. r's Name, if it has one, is used
// in errors.
func (b *Backend) Restore(r io.Reader, want KeyGroups) error {
	in := &reader{r: r, name: "state file"}
	if named, ok := r.(interface{ Name() string }); ok {
		in.name = named.Name()
	}
	if err := in.readHeader(); err != nil {
		return err
	}
	if in.header.Max != b.max {
		return fmt.Errorf("state: %s was written with %d key groups (pipeline.max-parallelism), this job has %d; that number cannot be changed", in.name, in.header.Max, b.max)
	}
	for _, about := range in.header.Tables {
		if err := b.meet(about, in.name); err != nil {
			return err
		}
	}
	take := func(table int, bl block) error { return b.take(in.header.Tables[table], bl) }
	return in.readBlocks(want.Intersect(b.groups), take)
}

// meet checks the schema of a table in a file against what is known of it.
func (b *Backend) meet(about description, file string) error {
	for _, t := range b.tables {
		if t.describe().Name == about.Name {
			return mustMatch(about, t.describe(), file)
		}
	}
	if known := b.restored[about.Name]; known != nil {
		return mustMatch(about, known.about, file)
	}
	b.restored[about.Name] = &restoredTable{about: about, file: file}
	return nil
}

func mustMatch(written, wanted description, file string) error {
	if written == wanted {
		return nil
	}
	return fmt.Errorf("state: %q in %s holds %s of %s by %s, the job wants %s of %s by %s; give the state another name, or the types their old fields", wanted.Name, file,
		written.Kind, written.Value, written.Key, wanted.Kind, wanted.Value, wanted.Key)
}

func (b *Backend) take(about description, bl block) error {
	for _, t := range b.tables {
		if t.describe().Name == about.Name {
			return t.restore(bl)
		}
	}
	known := b.restored[about.Name]
	known.blocks = append(known.blocks, bl)
	return nil
}

// claim hands a new table what was restored under its name.
func (b *Backend) claim(t table) error {
	about := t.describe()
	known := b.restored[about.Name]
	if known == nil {
		return nil
	}
	if err := mustMatch(known.about, about, known.file); err != nil {
		return err
	}
	for i, bl := range known.blocks {
		known.blocks[i].data = nil
		if err := t.restore(bl); err != nil {
			return err
		}
	}
	delete(b.restored, about.Name)
	return nil
}

// unclaimed lists the names of restored tables that nobody registered.
func (b *Backend) unclaimed() []string {
	var names []string
	for name := range b.restored {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// restore takes over a block.
func (t *ValueTable[K, V]) restore(bl block) error {
	data := bl.data
	for range bl.count {
		var key K
		n, err := t.keys.DecodeView(data, &key) // insert makes the key own its memory
		if err != nil {
			return bl.corrupt(t.name, err)
		}
		data = data[n:]
		hash := t.keys.Hash(&key)
		if group := GroupOf(hash, t.backend.max); group != bl.group {
			return bl.corrupt(t.name, fmt.Errorf("a key belongs to group %d", group))
		}
		v, _ := t.Ref(hash, key)
		if n, err = t.values.Decode(data, v); err != nil {
			return bl.corrupt(t.name, err)
		}
		data = data[n:]
	}
	if len(data) > 0 {
		return bl.corrupt(t.name, fmt.Errorf("%d bytes too many", len(data)))
	}
	return nil
}

func (bl block) corrupt(table string, err error) error {
	return fmt.Errorf("%w: %s: block at %d, key group %d of %q: %w", ErrCorrupt, bl.file, bl.offset, bl.group, table, err)
}

// snapshot of a table that nobody registered: it must not be lost.
func (r *restoredTable) snapshot() part {
	blocks := slices.Clone(r.blocks)
	slices.SortStableFunc(blocks, func(a, b block) int { return a.group - b.group })
	return &restoredTable{about: r.about, blocks: blocks}
}

func (r *restoredTable) describe() description { return r.about }

func (r *restoredTable) write(w *writer, _ uint32) error {
	for _, bl := range r.blocks {
		if err := w.entries(encodedGroup{bl.group, bl.count, bl.data}); err != nil {
			return err
		}
	}
	return w.flush()
}

// reader reads the frames of one file.
type reader struct {
	r      io.Reader
	name   string
	offset int64
	header header
}

func (in *reader) corrupt(offset int64, format string, args ...any) error {
	return fmt.Errorf("%w: %s: offset %d: %s", ErrCorrupt, in.name, offset, fmt.Sprintf(format, args...))
}

// failed tells a file that is cut off from one that cannot be read.
func (in *reader) failed(offset int64, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return in.corrupt(offset, "the file is cut off")
	}
	return fmt.Errorf("state: read %s at %d: %w", in.name, offset, err)
}

func (in *reader) readHeader() error {
	f, payload, err := in.readFrame()
	if err != nil {
		return err
	}
	if f.kind != headerFrame {
		return in.corrupt(0, "no header")
	}
	if err := json.Unmarshal(payload, &in.header); err != nil {
		return in.corrupt(0, "header: %v", err)
	}
	if in.header.Version > formatVersion {
		return fmt.Errorf("state: %s has format version %d, this program reads up to %d", in.name, in.header.Version, formatVersion)
	}
	return nil
}

// readHead reads the head of a frame.
func (in *reader) readHead() (frame, error) {
	var head [frameSize]byte
	if _, err := io.ReadFull(in.r, head[:]); err != nil {
		return frame{}, in.failed(in.offset, err)
	}
	f, ok := parseFrame(head[:])
	if !ok {
		return frame{}, in.corrupt(in.offset, "checksum of a block's head does not match")
	}
	in.offset += frameSize
	return f, nil
}

// readPayload reads what follows a head. Memory grows with what is really there.
func (in *reader) readPayload(f frame) ([]byte, error) {
	start := in.offset - frameSize
	var payload bytes.Buffer
	payload.Grow(int(min(f.length, 4*blockSize)))
	n, err := io.CopyN(&payload, in.r, int64(f.length))
	in.offset += n
	if err != nil {
		return nil, in.failed(start, err)
	}
	if xxh3.Hash(payload.Bytes()) != f.sum {
		if f.kind == blockFrame && int(f.table) < len(in.header.Tables) {
			return nil, in.corrupt(start, "key group %d of %q: checksum does not match", f.group, in.header.Tables[f.table].Name)
		}
		return nil, in.corrupt(start, "checksum does not match")
	}
	return payload.Bytes(), nil
}

func (in *reader) readFrame() (frame, []byte, error) {
	f, err := in.readHead()
	if err != nil {
		return f, nil, err
	}
	payload, err := in.readPayload(f)
	return f, payload, err
}

// readBlocks hands over the blocks of the groups wanted.
func (in *reader) readBlocks(want KeyGroups, take func(table int, b block) error) error {
	if s, ok := in.r.(io.Seeker); ok {
		return in.seekBlocks(s, want, take)
	}
	for {
		f, payload, err := in.readFrame()
		if err != nil {
			return err
		}
		if f.kind == indexFrame {
			return nil
		}
		if err := in.handOver(f, payload, want, take); err != nil {
			return err
		}
	}
}

func (in *reader) handOver(f frame, payload []byte, want KeyGroups, take func(table int, b block) error) error {
	at := in.offset - int64(len(payload)) - frameSize
	if f.kind != blockFrame || int(f.table) >= len(in.header.Tables) {
		return in.corrupt(at, "a frame of kind %d, table %d", f.kind, f.table)
	}
	if !want.Contains(int(f.group)) {
		return nil
	}
	return take(int(f.table), block{group: int(f.group), count: int(f.count), data: payload, file: in.name, offset: at})
}

// seekBlocks does it by the index.
func (in *reader) seekBlocks(s io.Seeker, want KeyGroups, take func(table int, b block) error) error {
	index, err := in.readIndex(s)
	if err != nil {
		return err
	}
	for _, e := range index {
		if !want.Contains(e.Group) {
			continue
		}
		if in.offset != e.Offset {
			if in.offset, err = s.Seek(e.Offset, io.SeekStart); err != nil {
				return in.failed(e.Offset, err)
			}
		}
		for in.offset < e.Offset+e.Size {
			f, payload, err := in.readFrame()
			if err != nil {
				return err
			}
			if err := in.handOver(f, payload, want, take); err != nil {
				return err
			}
		}
	}
	return nil
}

func (in *reader) readIndex(s io.Seeker) ([]indexEntry, error) {
	end, err := s.Seek(-trailerSize, io.SeekEnd)
	if err != nil {
		return nil, in.failed(0, err)
	}
	var trailer [trailerSize]byte
	if _, err := io.ReadFull(in.r, trailer[:]); err != nil {
		return nil, in.failed(end, err)
	}
	if string(trailer[8:]) != trailerMagic {
		return nil, in.corrupt(end, "the file is cut off")
	}
	at := int64(binary.LittleEndian.Uint64(trailer[:]))
	if at < 0 || at > end {
		return nil, in.corrupt(end, "the index cannot be at %d", at)
	}
	if in.offset, err = s.Seek(at, io.SeekStart); err != nil {
		return nil, in.failed(at, err)
	}
	f, payload, err := in.readFrame()
	if err != nil {
		return nil, err
	}
	var index []indexEntry
	if err := json.Unmarshal(payload, &index); err != nil || f.kind != indexFrame {
		return nil, in.corrupt(at, "no index (%v)", err)
	}
	return index, nil
}

package state

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/tamias-project/tamias/pkg/state/codec"
)

// Snapshot is the state of a Backend at one moment. Write may run on another goroutine while the task goes on.
type Snapshot struct {
	groups  KeyGroups
	max     int
	id      uint32
	live    *liveSnapshots
	parts   []part
	written bool
}

// part is one table of a snapshot.
type part interface {
	describe() description
	// write writes all entries in the order of their key groups.
	write(w *writer, snapshot uint32) error
}

// Write writes the state file. It is called once: what has been written may no longer be there for a second
// call. The error is that of w, or a key that does not belong to the backend.
func (s *Snapshot) Write(w io.Writer) (size int64, err error) {
	if s.written {
		return 0, errors.New("state: a snapshot can be written only once")
	}
	s.written = true
	tables := make([]description, len(s.parts))
	for i, p := range s.parts {
		tables[i] = p.describe()
	}
	out := newWriter(w, s.groups)
	if err := out.header(header{Max: s.max, First: s.groups.First, Last: s.groups.Last, Tables: tables}); err != nil {
		return out.offset, err
	}
	for i, p := range s.parts {
		out.table = i
		if err := p.write(out, s.id); err != nil {
			return out.offset, err
		}
	}
	err = out.finish()
	return out.offset, err
}

// Release lets the task change the pages again without copying them. It may be called on any goroutine,
// when Write has returned or without it, and more than once.
func (s *Snapshot) Release() { s.live.remove(s.id) }

// tableSnapshot is the pages of a table at one moment.
type tableSnapshot[K comparable, V any] struct {
	about description
	pages []*page[K, V]
	deep  bool
	max   int
	// shift, norm and base are those of the ValueTable.
	shift, norm uint
	base        uint64
	keys        *codec.Codec[K]
	values      *codec.Codec[V]
}

func (t *ValueTable[K, V]) describe() description {
	return description{Name: t.name, Kind: "value", Key: t.keys.Schema(), Value: t.values.Schema()}
}

func (t *ValueTable[K, V]) snapshot() part {
	t.cow = t.backend.snapshots
	return &tableSnapshot[K, V]{
		about: t.describe(), pages: slices.Clone(t.pages), deep: t.deep, max: t.backend.max,
		shift: t.shift, norm: t.norm, base: t.base, keys: t.keys, values: t.values,
	}
}

func (s *tableSnapshot[K, V]) describe() description { return s.about }

func (s *tableSnapshot[K, V]) write(w *writer, snapshot uint32) error {
	for i, p := range s.pages {
		if i > 0 && p == s.pages[i-1] {
			continue // it covers several places
		}
		if err := s.writePage(w, p, s.onlyGroup(uint64(i)<<s.shift, p)); err != nil {
			return fmt.Errorf("table %q: %w", s.about.Name, err)
		}
		p.written.Store(snapshot)
	}
	return w.flush()
}

// onlyGroup is the group that all hashes of a page at this position have, or -1. Most pages lie in one
// group; those of small tables in many.
func (s *tableSnapshot[K, V]) onlyGroup(position uint64, p *page[K, V]) int {
	first := GroupOf(s.base+position>>s.norm, s.max)
	last := position + ^uint64(0)>>p.depth
	if GroupOf(s.base+last>>s.norm, s.max) != first || p.depth == 0 {
		return -1
	}
	return first
}

func (s *tableSnapshot[K, V]) writePage(w *writer, p *page[K, V], onlyGroup int) error {
	if !s.deep {
		return s.writeEntries(w, p, onlyGroup)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.slots != nil {
		return s.writeEntries(w, p, onlyGroup)
	}
	for _, g := range p.image {
		if err := w.entries(g); err != nil {
			return err
		}
	}
	return nil
}

func (s *tableSnapshot[K, V]) writeEntries(w *writer, p *page[K, V], onlyGroup int) error {
	if onlyGroup >= 0 {
		for i := p.nextUsed(0); i >= 0; i = p.nextUsed(i + 1) {
			if err := s.writeSlot(w, &p.slots[i], onlyGroup); err != nil {
				return err
			}
		}
		return nil
	}
	for _, e := range groupOrder(p, s.keys, s.max) {
		if err := s.writeSlot(w, &p.slots[e.slot], e.group); err != nil {
			return err
		}
	}
	return nil
}

func (s *tableSnapshot[K, V]) writeSlot(w *writer, at *slot[K, V], group int) error {
	if err := w.begin(group); err != nil {
		return err
	}
	w.buf = s.keys.Append(w.buf, &at.key)
	w.buf = s.values.Append(w.buf, &at.value)
	w.count++
	return nil
}

type groupedSlot struct{ group, slot int }

// groupOrder lists the used slots by group.
func groupOrder[K comparable, V any](p *page[K, V], keys *codec.Codec[K], max int) []groupedSlot {
	order := make([]groupedSlot, 0, mostSlots)
	sorted := true
	for i := p.nextUsed(0); i >= 0; i = p.nextUsed(i + 1) {
		group := GroupOf(keys.Hash(&p.slots[i].key), max)
		sorted = sorted && (len(order) == 0 || order[len(order)-1].group <= group)
		order = append(order, groupedSlot{group, i})
	}
	if !sorted {
		slices.SortStableFunc(order, func(a, b groupedSlot) int { return cmp.Compare(a.group, b.group) })
	}
	return order
}

// detach gives the task the slots of a shared page of a deep table. What snapshots will need of it is encoded
// first, because the task is about to change what the values point to.
func (t *ValueTable[K, V]) detach(p *page[K, V]) *page[K, V] {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range groupOrder(p, t.keys, t.backend.max) {
		if n := len(p.image); n == 0 || p.image[n-1].group != e.group {
			p.image = append(p.image, encodedGroup{group: e.group})
		}
		g := &p.image[len(p.image)-1]
		at := &p.slots[e.slot]
		g.data = t.keys.Append(g.data, &at.key)
		g.data = t.values.Append(g.data, &at.value)
		g.count++
	}
	q := &page[K, V]{slots: p.slots, count: p.count, depth: p.depth}
	q.makeUsed()
	copy(q.used, p.used)
	p.slots = nil
	return q
}

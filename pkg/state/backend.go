package state

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/tamias-project/tamias/pkg/state/codec"
)

// Backend is the keyed state of one operator in one subtask. Flink's HeapKeyedStateBackend ("hashmap").
// It belongs to the task's goroutine.
type Backend struct {
	groups KeyGroups
	max    int
	// snapshots counts those taken.
	snapshots uint32
	live      *liveSnapshots
	tables    []table // in the order of registration
	restored  map[string]*restoredTable
}

// table is a ValueTable of any type.
type table interface {
	describe() description
	snapshot() part
	// restore takes over entries of one key group.
	restore(b block) error
}

// description is what a state file says about a table.
type description struct{ Name, Kind, Key, Value string }

// NewBackend returns an empty backend for some of max key groups.
func NewBackend(g KeyGroups, max int) *Backend {
	return &Backend{groups: g, max: max, live: new(liveSnapshots), restored: map[string]*restoredTable{}}
}

// KeyGroups is the range that this backend owns.
func (b *Backend) KeyGroups() KeyGroups { return b.groups }

// Values registers a table under a name that no other table of the backend has. It takes over what was
// restored under that name; if that has another schema, or damaged entries, it fails and the backend must
// not be used.
func Values[K comparable, V any](b *Backend, name string, k *codec.Codec[K], v *codec.Codec[V]) (*ValueTable[K, V], error) {
	if slices.ContainsFunc(b.tables, func(t table) bool { return t.describe().Name == name }) {
		return nil, fmt.Errorf("state: %q is registered twice", name)
	}
	own, err := owner(k)
	if err != nil {
		return nil, fmt.Errorf("state: %q: %w", name, err)
	}
	t := &ValueTable[K, V]{
		dir: make([]place, 2), pages: make([]*page[K, V], 2), shift: 63, distinct: 1,
		deep: !v.Independent(), full: slotsFor[K, V](),
		name: name, backend: b, keys: k, values: v, own: own,
	}
	t.base, t.norm = b.groups.hashRange(b.max)
	t.down = t.shift - t.norm
	t.place(0, newPage[K, V](firstSlots, 0))
	if err := b.claim(t); err != nil {
		return nil, err
	}
	b.tables = append(b.tables, t)
	return t, nil
}

// owner returns the function that makes a key own its memory, or says why K cannot be a key.
func owner[K comparable](k *codec.Codec[K]) (func(K) K, error) {
	if t := reflect.TypeFor[K](); !k.Comparable() {
		return nil, fmt.Errorf("%s cannot be a key: equal values would differ after they were written and read; use a string or number made of it", t)
	}
	if k.PointerFree() {
		return nil, nil
	}
	if own, ok := any(stringOwner()).(func(K) K); ok {
		return own, nil
	}
	var buf []byte
	return func(key K) K {
		var owned K
		buf = k.Append(buf[:0], &key)
		if _, err := k.Decode(buf, &owned); err != nil {
			panic(fmt.Errorf("state: a key cannot read its own encoding: %w", err))
		}
		return owned
	}, nil
}

// stringOwner returns a function that copies strings into blocks of their own, many to a block.
func stringOwner() func(string) string {
	const size = 2 << 10
	var free []byte
	return func(s string) string {
		if len(s) > size/8 {
			return strings.Clone(s)
		}
		if len(s) > cap(free)-len(free) {
			free = make([]byte, 0, size)
		}
		start := len(free)
		free = append(free, s...)
		return unsafe.String(unsafe.SliceData(free[start:]), len(s))
	}
}

// Snapshot is the state of all tables as it is now. It copies page addresses only; pages are copied when the
// task changes them before the snapshot is released. The caller must call Release.
func (b *Backend) Snapshot() *Snapshot {
	b.snapshots++
	b.live.add(b.snapshots)
	s := &Snapshot{groups: b.groups, max: b.max, id: b.snapshots, live: b.live}
	for _, t := range b.tables {
		s.parts = append(s.parts, t.snapshot())
	}
	for _, name := range b.unclaimed() {
		s.parts = append(s.parts, b.restored[name].snapshot())
	}
	return s
}

// liveSnapshots are those not released. The task and the goroutines that write snapshots share it.
type liveSnapshots struct {
	mu  sync.Mutex // guards ids
	ids []uint32   // ascending
	// span is the newest ID, and in the upper half the oldest; 0 if there is none.
	span atomic.Uint64
}

func (l *liveSnapshots) add(id uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = append(l.ids, id)
	l.publish()
}

func (l *liveSnapshots) remove(id uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = slices.DeleteFunc(l.ids, func(x uint32) bool { return x == id })
	l.publish()
}

func (l *liveSnapshots) publish() {
	var span uint64
	if n := len(l.ids); n > 0 {
		span = uint64(l.ids[0])<<32 | uint64(l.ids[n-1])
	}
	l.span.Store(span)
}

func (l *liveSnapshots) newest() uint32 { return uint32(l.span.Load()) }

// only is the snapshot that is alive alone; 0 if there are several, or none.
func (l *liveSnapshots) only() uint32 {
	span := l.span.Load() // once: several reads could tell of different moments
	if uint32(span>>32) != uint32(span) {
		return 0
	}
	return uint32(span)
}

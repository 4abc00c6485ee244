package state

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/tamias-project/tamias/pkg/state/codec"
)

// Bounds of the size of pages: small ones are copied quickly after a snapshot, large ones keep the directory
// small.
const (
	firstSlots = 8
	mostSlots  = 256
	leastSlots = 16
	pageBytes  = 16 << 10
)

// slot is an entry of a page. A free slot is zero.
type slot[K comparable, V any] struct {
	key   K
	value V
}

// page is a hash table of fixed size with linear probing. Its keys share the upper depth bits of their
// position in the backend's range of hashes. While a snapshot shares it, it does not change.
type page[K comparable, V any] struct {
	slots []slot[K, V] // a power of two
	used  []uint64     // a bit for each slot
	few   [mostSlots / 64]uint64
	count int
	depth uint8
	// written is the snapshot that was last written past this page.
	written atomic.Uint32
	// mu guards slots and image of a shared page in a deep table: between the task, which takes the slots
	// away, and the writing of snapshots.
	mu sync.Mutex
	// image holds the entries in encoded form since the task took the slots.
	image []encodedGroup
}

// encodedGroup is entries of one key group.
type encodedGroup struct {
	group, count int
	data         []byte
}

func newPage[K comparable, V any](slots int, depth uint8) *page[K, V] {
	p := &page[K, V]{slots: make([]slot[K, V], slots), depth: depth}
	p.makeUsed()
	return p
}

func (p *page[K, V]) makeUsed() {
	if words := (len(p.slots) + 63) / 64; words <= len(p.few) {
		p.used = p.few[:words]
	} else {
		p.used = make([]uint64, words)
	}
}

// slotsFor is the number of slots of a full page.
func slotsFor[K comparable, V any]() int {
	size := max(1, int(unsafe.Sizeof(slot[K, V]{})))
	n := min(max(pageBytes/size, leastSlots), mostSlots)
	return 1 << (bits.Len(uint(n)) - 1)
}

func (p *page[K, V]) isUsed(i uint64) bool { return p.used[i/64]>>(i%64)&1 != 0 }

// find returns the slot of key, or the free one where it belongs.
func (p *page[K, V]) find(hash uint64, key K) (uint64, bool) {
	mask := uint64(len(p.slots) - 1)
	i := hash & mask
	for ; p.isUsed(i); i = (i + 1) & mask {
		if p.slots[i].key == key {
			return i, true
		}
	}
	return i, false
}

// hasRoom keeps a fifth of the slots free: searches end there.
func (p *page[K, V]) hasRoom() bool { return p.count*5 < len(p.slots)*4 }

func (p *page[K, V]) put(i uint64, key K) {
	p.used[i/64] |= 1 << (i % 64)
	p.slots[i].key = key
	p.count++
}

// remove frees slot i and closes the gap, so that no search ends too early.
func (p *page[K, V]) remove(i uint64, keys *codec.Codec[K]) {
	mask := uint64(len(p.slots) - 1)
	for j := (i + 1) & mask; p.isUsed(j); j = (j + 1) & mask {
		home := keys.Hash(&p.slots[j].key) & mask
		if (j-home)&mask >= (j-i)&mask { // not between the gap and its home
			p.slots[i] = p.slots[j]
			i = j
		}
	}
	p.slots[i] = slot[K, V]{}
	p.used[i/64] &^= 1 << (i % 64)
	p.count--
}

// moveTo puts all entries into the pages that to chooses by their hashes.
func (p *page[K, V]) moveTo(keys *codec.Codec[K], to func(hash uint64) *page[K, V]) {
	for i := p.nextUsed(0); i >= 0; i = p.nextUsed(i + 1) {
		s := &p.slots[i]
		hash := keys.Hash(&s.key)
		q := to(hash)
		at, _ := q.find(hash, s.key)
		q.put(at, s.key)
		q.slots[at].value = s.value
	}
}

// nextUsed is the first used slot from i on, or -1.
func (p *page[K, V]) nextUsed(i int) int {
	if i >= len(p.slots) {
		return -1
	}
	word := p.used[i/64] >> (i % 64) << (i % 64)
	for w := i / 64; ; word = p.used[w] {
		if word != 0 {
			return w*64 + bits.TrailingZeros64(word)
		}
		if w++; w == len(p.used) {
			return -1
		}
	}
}

func (p *page[K, V]) appendKeys(keys []K) []K {
	for i := p.nextUsed(0); i >= 0; i = p.nextUsed(i + 1) {
		keys = append(keys, p.slots[i].key)
	}
	return keys
}

// next is the first position behind this page, which position lies in, and whether there is one.
func (p *page[K, V]) next(position uint64) (uint64, bool) {
	if p.depth == 0 {
		return 0, false
	}
	up := 64 - p.depth
	after := (position>>up + 1) << up
	return after, after != 0
}

// clone copies a page whose values are independent of each other's memory.
func (p *page[K, V]) clone() *page[K, V] {
	q := &page[K, V]{slots: append([]slot[K, V](nil), p.slots...), count: p.count, depth: p.depth}
	q.makeUsed()
	copy(q.used, p.used)
	return q
}

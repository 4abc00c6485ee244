package state

import (
	"fmt"
	"unsafe"

	"github.com/tamias-project/tamias/pkg/state/codec"
)

// ValueTable maps keys to values. It is an extendible hash table: a directory, indexed by the upper bits of
// the hash, of pages of a few kilobytes that are hash tables with linear probing. It grows by splitting one
// page at a time, so no call takes long. Where K and V hold no pointers the garbage collector sees a few
// large blocks only, and no entry is allocated for itself.
//
// Keys are compared by ==. Every hash handed in must be codec.Hash of its key and fall into the backend's key
// groups; keys of foreign groups panic.
type ValueTable[K comparable, V any] struct {
	// The fields of the fast path first. dir[i] belongs to pages[i].
	dir  []place
	base uint64 // lowest hash of the backend's key groups
	down uint   // hash less base, shifted down by this, is the place in dir: shift - norm
	cow  uint32 // pages of an epoch below this are shared with a snapshot

	norm  uint // see KeyGroups.hashRange
	shift uint // 64 - log2(len(dir)); always above norm

	fetched byte // keeps the compiler from leaving the loads of Prefetch out

	// deep: values cannot be copied by assignment, see codec.Codec.Independent.
	deep  bool
	pages []*page[K, V]
	// distinct counts the pages; several places of the directory may hold the same.
	distinct int
	len      int
	// changes counts whatever moves entries or pages.
	changes uint64
	// spare is the page of takeOut.
	spare *page[K, V]
	// full is the number of slots that a page grows to before it is split.
	full    int
	name    string
	backend *Backend
	keys    *codec.Codec[K]
	values  *codec.Codec[V]
	// own makes a key independent of the memory it was decoded from; nil if K has no pointers.
	own func(K) K
}

// place is what the fast path needs to know of a page.
type place struct {
	slots unsafe.Pointer // to page.slots[0]
	mask  uint32         // len(page.slots)-1
	epoch uint32         // the number of snapshots taken when the page was made or copied
}

// Ref returns the value of key, which it inserts as a zero V if it is not there; found tells which. The caller
// may read and change the value through v until the next call of any method of this table or a snapshot of
// its backend.
func (t *ValueTable[K, V]) Ref(hash uint64, key K) (v *V, found bool) {
	at := &t.dir[(hash-t.base)>>(t.down&63)]
	if at.epoch >= t.cow {
		// Free slots have a zero key. A zero key therefore ends the search: only the page's bitmap, in another
		// cache line, tells whether the slot is free.
		var zero K
		mask := uint64(at.mask)
		for i := hash & mask; ; i = (i + 1) & mask {
			s := (*slot[K, V])(unsafe.Add(at.slots, uintptr(i)*unsafe.Sizeof(slot[K, V]{})))
			if s.key == key && key != zero {
				return &s.value, true
			}
			if s.key == zero {
				break
			}
		}
	}
	return t.insert(hash, key)
}

// Prefetch loads the entries where the searches for these hashes will begin, into the processor's cache: all
// at a time, where one Ref after the other would wait for memory. It pays for large tables and batches of 8
// hashes or more, a few hundred at most.
func (t *ValueTable[K, V]) Prefetch(hashes []uint64) {
	var sum byte
	for _, hash := range hashes {
		at := &t.dir[(hash-t.base)>>(t.down&63)]
		sum += *(*byte)(unsafe.Add(at.slots, uintptr(hash&uint64(at.mask))*unsafe.Sizeof(slot[K, V]{})))
	}
	t.fetched = sum
}

// Lookup returns the value of key, if it is there. It is valid as long as that of Ref, and for reading only.
func (t *ValueTable[K, V]) Lookup(hash uint64, key K) (*V, bool) {
	i := t.index(hash)
	if t.deep && t.shared(i) {
		t.unshare(i) // the caller may follow pointers in the value and change what is there
	}
	p := t.pages[i]
	if at, found := p.find(hash, key); found {
		return &p.slots[at].value, true
	}
	return nil, false
}

// Delete removes a key. What is not there is deleted already.
func (t *ValueTable[K, V]) Delete(hash uint64, key K) {
	i := t.index(hash)
	at, found := t.pages[i].find(hash, key)
	if !found {
		return
	}
	if t.shared(i) {
		t.unshare(i)
	}
	t.pages[i].remove(at, t.keys)
	t.len--
	t.changes++
}

// Len is the number of keys.
func (t *ValueTable[K, V]) Len() int { return t.len }

// All calls yield for each entry, in no particular order, until it returns false. yield may change the value
// through the pointer, and may use the table in any way: an entry that it deletes before it was reached is not
// reached, one that it inserts may or may not be.
func (t *ValueTable[K, V]) All(yield func(K, *V) bool) {
	var keys []K
	for position, more := uint64(0), true; more; {
		i := position >> t.shift
		if t.shared(i) {
			t.unshare(i)
		}
		p := t.pages[i]
		position, more = p.next(position)
		keys = p.appendKeys(keys[:0])
		if !t.yieldPage(p, keys, yield) {
			return
		}
	}
}

// yieldPage yields the entries of a page. Once yield has changed the table it looks each key up.
func (t *ValueTable[K, V]) yieldPage(p *page[K, V], keys []K, yield func(K, *V) bool) bool {
	changes, at := t.changes, -1
	for _, key := range keys {
		var v *V
		if changes == t.changes {
			at = p.nextUsed(at + 1)
			v = &p.slots[at].value
		} else {
			i := t.index(t.keys.Hash(&key))
			if t.shared(i) {
				t.unshare(i)
			}
			q := t.pages[i]
			found, ok := q.find(t.keys.Hash(&key), key)
			if !ok {
				continue
			}
			v = &q.slots[found].value
		}
		if !yield(key, v) {
			return false
		}
	}
	return true
}

func (t *ValueTable[K, V]) index(hash uint64) uint64 {
	return (hash - t.base) >> (t.down & 63)
}

// insert is Ref for what the fast path does not do: zero keys, new keys and shared pages.
func (t *ValueTable[K, V]) insert(hash uint64, key K) (*V, bool) {
	for {
		i := t.index(hash)
		p := t.pages[i]
		at, found := p.find(hash, key)
		if !found && !p.hasRoom() {
			if t.deep && t.shared(i) {
				t.unshare(i)
			}
			t.grow(i)
			continue
		}
		if t.shared(i) {
			t.unshare(i)
			p = t.pages[i] // a copy, with everything in the same slots
		}
		if !found {
			t.put(p, at, hash, key)
		}
		return &p.slots[at].value, found
	}
}

// put takes a new key into a free slot.
func (t *ValueTable[K, V]) put(p *page[K, V], at, hash uint64, key K) {
	if group := GroupOf(hash, t.backend.max); !t.backend.groups.Contains(group) {
		panic(fmt.Sprintf("state: a key of group %d came to a table of groups %s", group, t.backend.groups))
	}
	if key != key {
		panic(fmt.Sprintf("state: %v cannot be a key: it is not equal to itself (NaN), so its state would never be found again", key))
	}
	if t.own != nil {
		key = t.own(key)
	}
	p.put(at, key)
	t.len++
	t.changes++
}

// shared reports whether a snapshot may still read the page at directory place i.
func (t *ValueTable[K, V]) shared(i uint64) bool {
	if t.dir[i].epoch >= t.cow {
		return false
	}
	t.cow = t.backend.live.newest() // snapshots may have been released
	return t.dir[i].epoch < t.cow
}

// unshare gives the task a page that no snapshot reads.
func (t *ValueTable[K, V]) unshare(i uint64) {
	p := t.pages[i]
	switch only := t.backend.live.only(); {
	case only != 0 && p.written.Load() == only:
		// The one snapshot there is has been written past this page. A higher number would not do: the newer
		// snapshot may have been written and released while an older one still waits for the page.
	case t.deep:
		p = t.detach(p)
	default:
		p = p.clone()
	}
	t.changes++
	t.place(i, p)
}

// place puts a page into all places of the directory that it covers, i being one of them.
func (t *ValueTable[K, V]) place(i uint64, p *page[K, V]) {
	n := uint64(len(t.dir)) >> p.depth
	first := i &^ (n - 1)
	at := place{unsafe.Pointer(unsafe.SliceData(p.slots)), uint32(len(p.slots) - 1), t.backend.snapshots}
	for j := first; j < first+n; j++ {
		t.dir[j], t.pages[j] = at, p
	}
}

// grow makes room in the page at directory place i. A snapshot may share the page, except in a deep table:
// it is only read.
func (t *ValueTable[K, V]) grow(i uint64) {
	p := t.pages[i]
	t.changes++
	// With good hashes there are a few places for each page. A directory much larger than that means keys
	// whose hashes begin alike: splitting would only double the directory again and again.
	crowded := int(p.depth)+int(t.shift) == 64 && len(t.dir) > 16*t.distinct+64
	if len(p.slots) < t.full || crowded {
		larger := newPage[K, V](2*len(p.slots), p.depth)
		p.moveTo(t.keys, func(uint64) *page[K, V] { return larger })
		t.place(i, larger)
		return
	}
	if int(p.depth)+int(t.shift) == 64 {
		t.doubleDirectory()
		i *= 2
	}
	var source *page[K, V]
	var halves [2]*page[K, V]
	if t.shared(i) {
		source, halves[0] = p, newPage[K, V](len(p.slots), p.depth+1)
	} else {
		source, halves[0] = t.takeOut(p), p // one half stays where it is: nothing to allocate, no garbage
		p.depth++
	}
	halves[1] = newPage[K, V](len(p.slots), halves[0].depth)
	source.moveTo(t.keys, func(hash uint64) *page[K, V] {
		return halves[(hash-t.base)<<t.norm>>(64-halves[0].depth)&1]
	})
	n := uint64(len(t.dir)) >> source.depth
	first := i &^ (n - 1)
	t.place(first, halves[0])
	t.place(first+n/2, halves[1])
	t.distinct++
}

// takeOut moves the entries of a page to one that is used for nothing else, and valid until the next call.
func (t *ValueTable[K, V]) takeOut(p *page[K, V]) *page[K, V] {
	if t.spare == nil || len(t.spare.slots) != len(p.slots) {
		t.spare = newPage[K, V](len(p.slots), 0)
	}
	s := t.spare
	copy(s.slots, p.slots)
	copy(s.used, p.used)
	s.depth, s.count = p.depth, p.count
	clear(p.slots)
	clear(p.used)
	p.count = 0
	return s
}

func (t *ValueTable[K, V]) doubleDirectory() {
	dir, pages := make([]place, 2*len(t.dir)), make([]*page[K, V], 2*len(t.dir))
	for i := range dir {
		dir[i], pages[i] = t.dir[i/2], t.pages[i/2]
	}
	t.dir, t.pages = dir, pages
	t.shift--
	t.down--
}

package codec

import (
	"reflect"
	"sync"
	"unsafe"

	"github.com/zeebo/xxh3"
)

type hashKind uint8

const (
	hashEncoding hashKind = iota // XXH3 of the canonical encoding
	hashWord                     // mix of an aligned word
	hashSmall                    // mix of other values of up to 8 bytes, extended by zeros
	hashString                   // XXH3 of a string's bytes
	hashMemory                   // XXH3 of the memory, which is the encoding
)

type hasher struct {
	kind hashKind
	size uintptr
	// plan encodes so that equal values give equal bytes.
	plan *plan
}

func newHasher(t reflect.Type, p *plan) (hasher, error) {
	exact, err := compileBelow(t, t.String(), nil, true)
	h := hasher{plan: exact, size: t.Size()}
	switch {
	case err != nil:
		return h, err
	case t.Kind() == reflect.String && p.local:
		h.kind = hashString
	case !exact.flat || !hostIsLittle: // floats, padding, strings inside
		h.kind = hashEncoding
	case h.size == 8 && t.Align() == 8:
		h.kind = hashWord
	case h.size <= 8:
		h.kind = hashSmall
	default:
		h.kind = hashMemory
	}
	return h, nil
}

// mix is the finalizer of SplitMix64. It is a bijection.
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

func hashOfString(s string) uint64 { return xxh3.HashString(s) }

// hashBytes is what all kinds amount to.
func hashBytes(b []byte) uint64 {
	if len(b) > 8 {
		return xxh3.Hash(b)
	}
	var word [8]byte
	copy(word[:], b)
	return mix(uint64At(word[:]))
}

var scratch = sync.Pool{New: func() any { return new([]byte) }}

// slow is for all but words and strings. The value is at v, which must not be handed out; onHeap makes a
// copy that may.
func (h *hasher) slow(v unsafe.Pointer, onHeap func() unsafe.Pointer) uint64 {
	if h.kind == hashSmall || h.kind == hashMemory {
		return hashBytes(unsafe.Slice((*byte)(v), h.size))
	}
	if !h.plan.local {
		v = onHeap()
	}
	buf := scratch.Get().(*[]byte)
	*buf = h.plan.append((*buf)[:0], v)
	sum := hashBytes(*buf)
	scratch.Put(buf)
	return sum
}

// Package codec turns Go values into bytes and back. It is used for records between tasks, for keys and
// values of keyed state, and for the hash that decides which subtask a key belongs to. A codec is compiled
// once for a type, by reflection; after that a record costs a few copies and no reflection, except for maps
// and for types that encode themselves. Codecs are immutable: any goroutine may use them.
//
// # Encoding
//
// The encoding is the same on every machine, and part of the format of state files:
//   - bool, integers, floats and complex numbers: fixed width, little endian; int and uint as 8 bytes.
//   - string: uvarint length, bytes. Slice: uvarint of length+1, or 0 for nil; elements.
//   - array and struct: elements or fields in order, without padding. Unexported fields are included; blank
//     fields and fields tagged `tamias:"-"` are not, and are zero after decoding.
//   - pointer: 0 for nil, or 1 and what it points to; shared pointers become separate values.
//   - map: like a slice of key and element, ordered by the bytes of the encoded key.
//   - time.Time: seconds since 1970 as 8 bytes, nanoseconds as 4. Location and monotonic clock are dropped;
//     decoding gives UTC.
//   - other types that contain pointers and have both MarshalBinary (or AppendBinary) and UnmarshalBinary:
//     4 bytes of length, then what the method returns.
//
// Interfaces, channels, functions, locks and recursive types are refused.
package codec

import (
	"errors"
	"reflect"
	"unsafe"
)

// ErrCorrupt: the input is not the encoding of a value of this type: it is cut off or damaged, or was
// written for another type. Trying again does not help.
var ErrCorrupt = errors.New("codec: corrupt input")

// Codec encodes and decodes values of T.
type Codec[T any] struct {
	plan *plan
	// flat is the size of a T that is copied whole, 0 for other types.
	flat int
	// text: T is a string type.
	text bool
	hash hasher
}

// For compiles a codec. The error names the field that cannot be encoded and says what to do; it is
// always a mistake in the program.
func For[T any]() (*Codec[T], error) {
	t := reflect.TypeFor[T]()
	p, err := compile(t)
	if err != nil {
		return nil, err
	}
	c := &Codec[T]{plan: p}
	if p.flat && len(p.ops) == 1 && len(p.ops[0].bools) == 0 {
		c.flat = int(t.Size())
	}
	c.text = len(p.ops) == 1 && p.ops[0].kind == opString && t.Kind() == reflect.String
	c.hash, err = newHasher(t, p)
	return c, err
}

// Append appends the encoding of *v to dst. It panics if a MarshalBinary or AppendBinary of the user's
// returns an error.
func (c *Codec[T]) Append(dst []byte, v *T) []byte {
	if c.flat != 0 {
		if c.flat == 8 {
			return append(dst, (*[8]byte)(unsafe.Pointer(v))[:]...)
		}
		return append(dst, unsafe.Slice((*byte)(unsafe.Pointer(v)), c.flat)...)
	}
	if c.text {
		s := *(*string)(unsafe.Pointer(v))
		return append(appendUvarint(dst, uint64(len(s))), s...)
	}
	if c.plan.local {
		return c.plan.append(dst, noEscape(unsafe.Pointer(v)))
	}
	onHeap := new(T)
	*onHeap = *v
	return c.plan.append(dst, unsafe.Pointer(onHeap))
}

// Decode reads one value from the front of src into *v and returns how many bytes it took. Nothing in *v
// shares memory with src. Any input is safe; what is not a value fails with ErrCorrupt, and *v is then
// undefined.
func (c *Codec[T]) Decode(src []byte, v *T) (int, error) {
	if c.text {
		n, rest, ok := length(src)
		if !ok {
			return 0, c.plan.short(src, n)
		}
		*(*string)(unsafe.Pointer(v)) = string(rest[:n])
		return len(src) - len(rest) + n, nil
	}
	return c.decode(src, v, false)
}

// DecodeView is Decode without copying: strings and byte slices in *v point into src and are valid only
// until src changes. It is for callers that are done with the value by then.
func (c *Codec[T]) DecodeView(src []byte, v *T) (int, error) { return c.decode(src, v, true) }

func (c *Codec[T]) decode(src []byte, v *T, view bool) (int, error) {
	if c.flat != 0 {
		if len(src) < c.flat {
			return 0, c.plan.short(src, c.flat)
		}
		if c.flat == 8 {
			*(*[8]byte)(unsafe.Pointer(v)) = [8]byte(src)
		} else {
			copy(unsafe.Slice((*byte)(unsafe.Pointer(v)), c.flat), src)
		}
		return c.flat, nil
	}
	var rest []byte
	var err error
	if c.plan.local {
		rest, err = c.plan.decode(src, noEscape(unsafe.Pointer(v)), view)
	} else {
		onHeap := new(T)
		rest, err = c.plan.decode(src, unsafe.Pointer(onHeap), view)
		*v = *onHeap
	}
	return len(src) - len(rest), err
}

// Hash is the same for equal values in every process and every version: key groups come from it. Integers
// and other values of up to 8 bytes go through the finalizer of SplitMix64, strings and everything else
// through XXH3 (64 bits) of the bytes, or of the encoding. All 64 bits are good.
func (c *Codec[T]) Hash(v *T) uint64 {
	switch c.hash.kind {
	case hashWord:
		return c.HashWord(v)
	case hashString:
		return hashOfString(*(*string)(unsafe.Pointer(v)))
	}
	return c.hash.slow(noEscape(unsafe.Pointer(v)), func() unsafe.Pointer {
		onHeap := new(T)
		*onHeap = *v
		return unsafe.Pointer(onHeap)
	})
}

// IsWord reports whether T is hashed as one word, as integers of 64 bits are. Where every nanosecond counts,
// HashWord can then stand for Hash.
func (c *Codec[T]) IsWord() bool { return c.hash.kind == hashWord }

// HashWord is Hash for types of which IsWord is true, and short enough to be inlined. It must not be used for
// others.
func (c *Codec[T]) HashWord(v *T) uint64 { return mix(*(*uint64)(unsafe.Pointer(v))) }

// Schema describes the encoding in Go's notation, as "struct{Key uint64; Name string}". Two types with the
// same schema can read each other's encoding.
func (c *Codec[T]) Schema() string { return c.plan.schema }

// Independent reports whether assigning a T makes a copy that no later change of the original can reach: there
// are no slices, maps, pointers or types with their own encoding in it. Strings and times are fine.
func (c *Codec[T]) Independent() bool { return c.plan.independent }

// Comparable reports whether values can be compared by ==, and a value that was encoded and decoded is equal
// to what it was: so T can be a key. Pointers, times and fields that are left out prevent it.
func (c *Codec[T]) Comparable() bool { return c.plan.comparable }

// Empty reports whether the encoding of every T has no bytes: nothing tells how many there are.
func (c *Codec[T]) Empty() bool { return c.plan.least == 0 }

// PointerFree reports whether the garbage collector has nothing to look for in a T.
func (c *Codec[T]) PointerFree() bool { return !hasPointers(c.plan.typ) }

// noEscape hides a pointer from escape analysis, so that records can stay on the stack. It is for plans
// that are local: these do not keep the pointer, nor hand it to code that could.
func noEscape(p unsafe.Pointer) unsafe.Pointer {
	x := uintptr(p)
	return *(*unsafe.Pointer)(unsafe.Pointer(&x))
}

package codec

import (
	"reflect"
	"unsafe"
)

type opKind uint8

const (
	opCopy    opKind = iota // size bytes as they are in memory
	opCopy8                 // the same for 8 bytes
	opCopy16                // the same for 16 bytes
	opString                // string
	opBytes                 // slice of bytes, or of other single bytes
	opFlats                 // slice of elements that are copied whole
	opSlice                 // slice of anything else
	opArray                 // array of elements that cannot be copied whole
	opPointer               // pointer
	opMap                   // map
	opTime                  // time.Time
	opBinary                // type with its own encoding
	opWide                  // int or uint of 4 bytes, signed or not
	opSwap                  // number of size bytes on a big-endian machine
	opFloat32               // float32 in hashes: one zero, one NaN
	opFloat64               // the same for float64
)

// op encodes and decodes one part of a value, at an offset from the start of the value.
type op struct {
	kind   opKind
	signed bool // opWide
	offset uintptr
	size   uintptr   // of the part, or of an element
	count  int       // opArray: elements
	sub    *plan     // of elements
	value  *plan     // opMap: of values, sub being that of keys
	bools  []uintptr // opCopy: offsets of bytes that must be 0 or 1
	// typ is the part's type where making or calling it needs it; name is for errors.
	typ  reflect.Type
	name string
}

// plan is how values of one type are encoded.
type plan struct {
	typ    reflect.Type
	ops    []op
	schema string
	// least is the least number of bytes that a value takes.
	least int
	// flat: the encoding is the memory as it is, all of it.
	flat bool
	// local: append and decode neither keep the pointer to the value nor hand it out.
	local bool
	// independent: see Codec.Independent.
	independent bool
	// comparable: see Codec.Comparable.
	comparable bool
}

// hostIsLittle says whether numbers can be copied as they are in memory.
var hostIsLittle = func() bool {
	x := uint16(1)
	return *(*byte)(unsafe.Pointer(&x)) == 1
}()

// sliceHeader is a slice in memory.
type sliceHeader struct {
	data     unsafe.Pointer
	len, cap int
}

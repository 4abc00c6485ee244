package codec

import (
	"encoding"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"time"
	"unsafe"
)

// decode reads a value from the front of src into the memory at base, and returns the rest of src. With
// view, strings and bytes point into src.
func (p *plan) decode(src []byte, base unsafe.Pointer, view bool) ([]byte, error) {
	for i := range p.ops {
		o := &p.ops[i]
		at := unsafe.Add(base, o.offset)
		switch o.kind {
		case opCopy8:
			if len(src) < 8 {
				return src, o.short(src, 8)
			}
			*(*[8]byte)(at) = [8]byte(src)
			src = src[8:]
		case opCopy16:
			if len(src) < 16 {
				return src, o.short(src, 16)
			}
			*(*[16]byte)(at) = [16]byte(src)
			src = src[16:]
		case opCopy:
			if uintptr(len(src)) < o.size {
				return src, o.short(src, int(o.size))
			}
			copy(unsafe.Slice((*byte)(at), o.size), src)
			src = src[o.size:]
		case opString:
			n, rest, ok := length(src)
			if !ok {
				return src, o.short(src, n)
			}
			if view {
				*(*string)(at) = unsafe.String(unsafe.SliceData(rest), n)
			} else {
				*(*string)(at) = string(rest[:n])
			}
			src = rest[n:]
		default:
			var err error
			if src, err = o.decode(src, at, view); err != nil {
				return src, err
			}
		}
		if len(o.bools) > 0 {
			if err := o.checkBools(base); err != nil {
				return src, err
			}
		}
	}
	return src, nil
}

// length reads the length of a string and checks that so many bytes follow.
func length(src []byte) (n int, rest []byte, ok bool) {
	if len(src) > 0 && src[0] < 0x80 {
		n, rest = int(src[0]), src[1:]
		return n, rest, n <= len(rest)
	}
	x, taken := binary.Uvarint(src)
	if taken <= 0 {
		return 1, nil, false
	}
	rest = src[taken:]
	return int(min(x, 1<<62)), rest, x <= uint64(len(rest))
}

// decode is for the less frequent kinds.
func (o *op) decode(src []byte, at unsafe.Pointer, view bool) ([]byte, error) {
	switch o.kind {
	case opBytes, opFlats, opSlice:
		return o.decodeSlice(src, at, view)
	case opArray:
		return o.decodeElements(src, at, o.count, view)
	case opPointer:
		return o.decodePointer(src, at, view)
	case opMap:
		return o.decodeMap(src, at, view)
	case opTime:
		if len(src) < 12 {
			return src, o.short(src, 12)
		}
		nanos := binary.LittleEndian.Uint32(src[8:])
		if nanos >= 1e9 {
			return src, o.corrupt("%d nanoseconds", nanos)
		}
		*(*time.Time)(at) = time.Unix(int64(uint64At(src)), int64(nanos)).UTC()
		return src[12:], nil
	case opBinary:
		return o.decodeBinary(src, at)
	case opWide:
		return o.decodeWide(src, at)
	case opSwap:
		if uintptr(len(src)) < o.size {
			return src, o.short(src, int(o.size))
		}
		to := unsafe.Slice((*byte)(at), o.size)
		copy(to, src)
		slices.Reverse(to)
		return src[o.size:], nil
	}
	panic("codec: op cannot decode")
}

// elements reads the number of elements of a slice or map and checks that so many can follow.
func (o *op) elements(src []byte, least int) (n int, isNil bool, rest []byte, err error) {
	x, taken := binary.Uvarint(src)
	switch {
	case taken <= 0:
		return 0, false, src, o.short(src, 1)
	case x == 0:
		return 0, true, src[taken:], nil
	}
	rest = src[taken:]
	if x-1 > uint64(len(rest)/least) {
		return 0, false, src, o.corrupt("%d elements cannot be in %d bytes", x-1, len(rest))
	}
	return int(x - 1), false, rest, nil
}

func (o *op) decodeSlice(src []byte, at unsafe.Pointer, view bool) ([]byte, error) {
	to := (*sliceHeader)(at)
	n, isNil, src, err := o.elements(src, o.sub.least)
	if err != nil {
		return src, err
	}
	if isNil {
		*to = sliceHeader{}
		return src, nil
	}
	switch {
	case o.kind == opBytes && view && n > 0:
		*to = sliceHeader{unsafe.Pointer(unsafe.SliceData(src)), n, n}
		return src[n:], nil
	case o.kind == opSlice:
		*to = sliceHeader{reflect.MakeSlice(o.typ, n, n).UnsafePointer(), n, n}
		return o.decodeElements(src, to.data, n, view)
	}
	size := n * int(o.size)
	data := newArray(n, o.size)
	copy(unsafe.Slice((*byte)(data), size), src)
	*to = sliceHeader{data, n, n}
	return src[size:], nil
}

func (o *op) decodeElements(src []byte, at unsafe.Pointer, n int, view bool) ([]byte, error) {
	var err error
	for i := range n {
		if src, err = o.sub.decode(src, unsafe.Add(at, uintptr(i)*o.size), view); err != nil {
			return src, err
		}
	}
	return src, nil
}

func (o *op) decodePointer(src []byte, at unsafe.Pointer, view bool) ([]byte, error) {
	if len(src) == 0 {
		return src, o.short(src, 1)
	}
	switch src[0] {
	case 0:
		*(*unsafe.Pointer)(at) = nil
		return src[1:], nil
	case 1:
		to := reflect.New(o.typ).UnsafePointer()
		*(*unsafe.Pointer)(at) = to
		return o.sub.decode(src[1:], to, view)
	}
	return src, o.corrupt("pointer is %d, want 0 or 1", src[0])
}

func (o *op) decodeMap(src []byte, at unsafe.Pointer, view bool) ([]byte, error) {
	to := reflect.NewAt(o.typ, at).Elem()
	n, isNil, src, err := o.elements(src, o.sub.least+o.value.least)
	if err != nil {
		return src, err
	}
	if isNil {
		to.SetZero()
		return src, nil
	}
	m := reflect.MakeMapWithSize(o.typ, min(n, 1024))
	for range n {
		key, value := reflect.New(o.typ.Key()), reflect.New(o.typ.Elem())
		if src, err = o.sub.decode(src, key.UnsafePointer(), view); err != nil {
			return src, err
		}
		if src, err = o.value.decode(src, value.UnsafePointer(), view); err != nil {
			return src, err
		}
		m.SetMapIndex(key.Elem(), value.Elem())
	}
	to.Set(m)
	return src, nil
}

func (o *op) decodeBinary(src []byte, at unsafe.Pointer) ([]byte, error) {
	if len(src) < 4 {
		return src, o.short(src, 4)
	}
	size := binary.LittleEndian.Uint32(src)
	if uint64(size) > uint64(len(src)-4) {
		return src, o.short(src, int(size)+4)
	}
	data := src[4 : 4+size : 4+size]
	v := reflect.New(o.typ) // fresh: what is there now must not shine through
	if err := v.Interface().(encoding.BinaryUnmarshaler).UnmarshalBinary(slices.Clone(data)); err != nil {
		return src, o.corrupt("%v", err)
	}
	reflect.NewAt(o.typ, at).Elem().Set(v.Elem())
	return src[4+size:], nil
}

func (o *op) decodeWide(src []byte, at unsafe.Pointer) ([]byte, error) {
	if len(src) < 8 {
		return src, o.short(src, 8)
	}
	x := uint64At(src)
	if o.signed && int64(x) != int64(int32(x)) || !o.signed && x>>32 != 0 {
		return src, o.corrupt("%d does not fit this machine's integers", int64(x))
	}
	*(*uint32)(at) = uint32(x)
	return src[8:], nil
}

// checkBools refuses bytes that are no bool: the compiler relies on 0 and 1.
func (o *op) checkBools(base unsafe.Pointer) error {
	for _, offset := range o.bools {
		if b := (*byte)(unsafe.Add(base, offset)); *b > 1 {
			bad := *b
			*b = 0
			return o.corrupt("bool is %d", bad)
		}
	}
	return nil
}

func (o *op) corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrCorrupt, o.name, fmt.Sprintf(format, args...))
}

func (o *op) short(src []byte, need int) error {
	return o.corrupt("%d bytes needed, %d left", need, len(src))
}

func (p *plan) short(src []byte, need int) error { return p.ops[0].short(src, need) }

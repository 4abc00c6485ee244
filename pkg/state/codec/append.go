package codec

import (
	"bytes"
	"encoding"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"
	"unsafe"
)

func appendUint64(dst []byte, x uint64) []byte { return binary.LittleEndian.AppendUint64(dst, x) }

func uint64At(src []byte) uint64 { return binary.LittleEndian.Uint64(src) }

func appendUvarint(dst []byte, x uint64) []byte {
	if x < 0x80 {
		return append(dst, byte(x))
	}
	return binary.AppendUvarint(dst, x)
}

// append encodes the value at base.
func (p *plan) append(dst []byte, base unsafe.Pointer) []byte {
	for i := range p.ops {
		o := &p.ops[i]
		at := unsafe.Add(base, o.offset)
		switch o.kind {
		case opCopy8:
			dst = append(dst, (*[8]byte)(at)[:]...)
		case opCopy16:
			dst = append(dst, (*[16]byte)(at)[:]...)
		case opCopy:
			dst = append(dst, unsafe.Slice((*byte)(at), o.size)...)
		case opString:
			s := *(*string)(at)
			dst = append(appendUvarint(dst, uint64(len(s))), s...)
		default:
			dst = o.append(dst, at)
		}
	}
	return dst
}

// append is for the less frequent kinds.
func (o *op) append(dst []byte, at unsafe.Pointer) []byte {
	switch o.kind {
	case opBytes, opFlats:
		s := (*sliceHeader)(at)
		if s.data == nil {
			return append(dst, 0)
		}
		dst = appendUvarint(dst, uint64(s.len)+1)
		return append(dst, unsafe.Slice((*byte)(s.data), uintptr(s.len)*o.size)...)
	case opSlice:
		s := (*sliceHeader)(at)
		if s.data == nil {
			return append(dst, 0)
		}
		return o.appendElements(appendUvarint(dst, uint64(s.len)+1), s.data, s.len)
	case opArray:
		return o.appendElements(dst, at, o.count)
	case opPointer:
		to := *(*unsafe.Pointer)(at)
		if to == nil {
			return append(dst, 0)
		}
		return o.sub.append(append(dst, 1), to)
	case opMap:
		return o.appendMap(dst, reflect.NewAt(o.typ, at).Elem())
	case opTime:
		t := (*time.Time)(at)
		dst = appendUint64(dst, uint64(t.Unix()))
		return binary.LittleEndian.AppendUint32(dst, uint32(t.Nanosecond()))
	case opBinary:
		return o.appendBinary(dst, reflect.NewAt(o.typ, at).Interface())
	case opWide:
		if o.signed {
			return appendUint64(dst, uint64(int64(*(*int32)(at))))
		}
		return appendUint64(dst, uint64(*(*uint32)(at)))
	case opSwap:
		dst = append(dst, unsafe.Slice((*byte)(at), o.size)...)
		slices.Reverse(dst[len(dst)-int(o.size):])
		return dst
	case opFloat32:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(canonical(float64(*(*float32)(at))))))
	case opFloat64:
		return appendUint64(dst, math.Float64bits(canonical(*(*float64)(at))))
	}
	panic("codec: unknown op")
}

// canonical gives equal floats, and all that are not numbers, one form.
func canonical(f float64) float64 {
	switch {
	case f == 0:
		return 0
	case f != f:
		return math.NaN()
	}
	return f
}

func (o *op) appendElements(dst []byte, at unsafe.Pointer, n int) []byte {
	for i := range n {
		dst = o.sub.append(dst, unsafe.Add(at, uintptr(i)*o.size))
	}
	return dst
}

func (o *op) appendBinary(dst []byte, v any) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	var err error
	if a, ok := v.(encoding.BinaryAppender); ok {
		dst, err = a.AppendBinary(dst)
	} else {
		var data []byte
		data, err = v.(encoding.BinaryMarshaler).MarshalBinary()
		dst = append(dst, data...)
	}
	size := len(dst) - start - 4
	if err == nil && (size < 0 || int64(size) > math.MaxUint32) {
		err = fmt.Errorf("encoding has %d bytes", size)
	}
	if err != nil {
		panic(fmt.Errorf("codec: encode %s (%s): %w", o.name, o.typ, err))
	}
	binary.LittleEndian.PutUint32(dst[start:], uint32(size))
	return dst
}

// appendMap writes the entries in the order of their encoded keys: equal maps have equal encodings.
func (o *op) appendMap(dst []byte, m reflect.Value) []byte {
	if m.IsNil() {
		return append(dst, 0)
	}
	dst = appendUvarint(dst, uint64(m.Len())+1)
	type entry struct{ from, key, to int }
	entries := make([]entry, 0, m.Len())
	start := len(dst)
	key, value := reflect.New(o.typ.Key()), reflect.New(o.typ.Elem())
	for it := m.MapRange(); it.Next(); {
		key.Elem().SetIterKey(it)
		value.Elem().SetIterValue(it)
		e := entry{from: len(dst) - start}
		dst = o.sub.append(dst, key.UnsafePointer())
		e.key = len(dst) - start
		dst = o.value.append(dst, value.UnsafePointer())
		e.to = len(dst) - start
		entries = append(entries, e)
	}
	if len(entries) < 2 {
		return dst
	}
	unordered := bytes.Clone(dst[start:])
	slices.SortFunc(entries, func(a, b entry) int {
		return bytes.Compare(unordered[a.from:a.key], unordered[b.from:b.key])
	})
	dst = dst[:start]
	for _, e := range entries {
		dst = append(dst, unordered[e.from:e.to]...)
	}
	return dst
}

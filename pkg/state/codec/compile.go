package codec

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unsafe"
)

var (
	timeType        = reflect.TypeFor[time.Time]()
	marshalerType   = reflect.TypeFor[encoding.BinaryMarshaler]()
	appenderType    = reflect.TypeFor[encoding.BinaryAppender]()
	unmarshalerType = reflect.TypeFor[encoding.BinaryUnmarshaler]()
)

// compiler makes one plan, and by recursion those of its elements.
type compiler struct {
	plan *plan
	// canonical: make equal values have equal encodings; for hashes.
	canonical bool
	// above holds the types that contain this one.
	above []reflect.Type
}

func compile(t reflect.Type) (*plan, error) { return compileBelow(t, t.String(), nil, false) }

func compileBelow(t reflect.Type, name string, above []reflect.Type, canonical bool) (*plan, error) {
	c := compiler{plan: &plan{typ: t, local: true, independent: true, comparable: t.Comparable()}, canonical: canonical, above: above}
	schema, err := c.add(t, 0, name)
	if err != nil {
		return nil, err
	}
	p := c.plan
	p.schema = schema
	p.flat = len(p.ops) == 1 && isCopy(p.ops[0].kind) && p.ops[0].size == t.Size()
	return p, nil
}

func isCopy(k opKind) bool { return k == opCopy || k == opCopy8 || k == opCopy16 }

// add appends the ops for a part of type t at an offset, and returns its schema. name says where in the
// user's type the part is.
func (c *compiler) add(t reflect.Type, offset uintptr, name string) (string, error) {
	if slices.Contains(c.above, t) {
		return "", fmt.Errorf("codec: %s: type %s contains itself; replace the inner one by a slice of indexes, or give %s MarshalBinary and UnmarshalBinary", name, t, t)
	}
	c.above = append(c.above, t)
	defer func() { c.above = c.above[:len(c.above)-1] }()

	switch {
	case t == timeType:
		c.plan.comparable = false
		c.emit(op{kind: opTime, offset: offset, name: name}, 12)
		return "time", nil
	case t.PkgPath() == "sync" || t.PkgPath() == "sync/atomic":
		return "", fmt.Errorf("codec: %s: a %s cannot be encoded; leave it out with the tag `tamias:\"-\"`", name, t)
	case hasPointers(t) && encodesItself(t):
		c.plan.local, c.plan.independent = false, false
		c.emit(op{kind: opBinary, offset: offset, typ: t, name: name}, 4)
		return "binary(" + t.String() + ")", nil
	}
	switch t.Kind() {
	case reflect.Bool:
		c.copy(offset, 1, name)
		last := &c.plan.ops[len(c.plan.ops)-1]
		last.bools = append(last.bools, offset)
		return "bool", nil
	case reflect.Int, reflect.Uint:
		if t.Size() == 4 {
			c.emit(op{kind: opWide, offset: offset, signed: t.Kind() == reflect.Int, name: name}, 8)
		} else {
			c.number(offset, 8, name)
		}
		return t.Kind().String(), nil
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		c.number(offset, t.Size(), name)
		return t.Kind().String(), nil
	case reflect.Float32, reflect.Float64:
		c.float(offset, t.Size(), name)
		return t.Kind().String(), nil
	case reflect.Complex64, reflect.Complex128:
		c.float(offset, t.Size()/2, name)
		c.float(offset+t.Size()/2, t.Size()/2, name)
		return t.Kind().String(), nil
	case reflect.String:
		c.emit(op{kind: opString, offset: offset, name: name}, 1)
		return "string", nil
	case reflect.Struct:
		return c.addStruct(t, offset, name)
	case reflect.Array:
		return c.addArray(t, offset, name)
	case reflect.Slice:
		return c.addSlice(t, offset, name)
	case reflect.Pointer:
		sub, err := c.below(t.Elem(), name)
		if err != nil {
			return "", err
		}
		c.plan.independent, c.plan.comparable = false, false
		c.emit(op{kind: opPointer, offset: offset, sub: sub, typ: t.Elem(), name: name}, 1)
		return "*" + sub.schema, nil
	case reflect.Map:
		return c.addMap(t, offset, name)
	}
	return "", fmt.Errorf("codec: %s: a %s (%s) cannot be encoded; use a concrete type, give its type MarshalBinary and UnmarshalBinary, or leave the field out with the tag `tamias:\"-\"`", name, t, t.Kind())
}

func (c *compiler) below(t reflect.Type, name string) (*plan, error) {
	sub, err := compileBelow(t, name, slices.Clone(c.above), c.canonical)
	if err == nil {
		c.plan.local = c.plan.local && sub.local
	}
	return sub, err
}

func (c *compiler) addStruct(t reflect.Type, offset uintptr, name string) (string, error) {
	var fields []string
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name == "_" || f.Tag.Get("tamias") == "-" {
			c.plan.comparable = c.plan.comparable && f.Name == "_"
			continue
		}
		schema, err := c.add(f.Type, offset+f.Offset, name+"."+f.Name)
		if err != nil {
			return "", err
		}
		fields = append(fields, f.Name+" "+schema)
	}
	return "struct{" + strings.Join(fields, "; ") + "}", nil
}

func (c *compiler) addArray(t reflect.Type, offset uintptr, name string) (string, error) {
	sub, err := c.below(t.Elem(), name+"[]")
	if err != nil {
		return "", err
	}
	c.plan.independent = c.plan.independent && sub.independent
	c.plan.comparable = c.plan.comparable && sub.comparable
	schema := fmt.Sprintf("[%d]%s", t.Len(), sub.schema)
	switch {
	case t.Len() == 0:
	case sub.flat && len(sub.ops[0].bools) == 0:
		c.copy(offset, t.Size(), name)
	default:
		c.emit(op{kind: opArray, offset: offset, size: t.Elem().Size(), count: t.Len(), sub: sub, name: name}, t.Len()*sub.least)
	}
	return schema, nil
}

func (c *compiler) addSlice(t reflect.Type, offset uintptr, name string) (string, error) {
	sub, err := c.below(t.Elem(), name+"[]")
	if err != nil {
		return "", err
	}
	if sub.least == 0 {
		return "", fmt.Errorf("codec: %s: elements of %s hold nothing; use a number instead of the slice", name, t)
	}
	c.plan.independent = false
	o := op{kind: opSlice, offset: offset, size: t.Elem().Size(), sub: sub, typ: t, name: name}
	if sub.flat && len(sub.ops[0].bools) == 0 {
		o.kind = opFlats
		if o.size == 1 {
			o.kind = opBytes
		}
	}
	c.emit(o, 1)
	return "[]" + sub.schema, nil
}

func (c *compiler) addMap(t reflect.Type, offset uintptr, name string) (string, error) {
	key, err := c.below(t.Key(), name+"[key]")
	if err != nil {
		return "", err
	}
	value, err := c.below(t.Elem(), name+"[]")
	if err != nil {
		return "", err
	}
	if key.least+value.least == 0 {
		return "", fmt.Errorf("codec: %s: entries of %s hold nothing; use a bool instead of the map", name, t)
	}
	c.plan.local, c.plan.independent = false, false
	c.emit(op{kind: opMap, offset: offset, sub: key, value: value, typ: t, name: name}, 1)
	return "map[" + key.schema + "]" + value.schema, nil
}

// number adds an integer of 1, 2, 4 or 8 bytes, or a float that is copied like one.
func (c *compiler) number(offset, size uintptr, name string) {
	if hostIsLittle || size == 1 {
		c.copy(offset, size, name)
		return
	}
	c.emit(op{kind: opSwap, offset: offset, size: size, name: name}, int(size))
}

func (c *compiler) float(offset, size uintptr, name string) {
	switch {
	case !c.canonical:
		c.number(offset, size, name)
	case size == 4:
		c.emit(op{kind: opFloat32, offset: offset, name: name}, 4)
	default:
		c.emit(op{kind: opFloat64, offset: offset, name: name}, 8)
	}
}

// copy adds size bytes of memory, to the copy before them if that ends here: there is no padding between.
func (c *compiler) copy(offset, size uintptr, name string) {
	if n := len(c.plan.ops); n > 0 {
		if last := &c.plan.ops[n-1]; isCopy(last.kind) && last.offset+last.size == offset {
			last.size += size
			last.kind = copyKind(last.size)
			c.plan.least += int(size)
			return
		}
	}
	c.emit(op{kind: copyKind(size), offset: offset, size: size, name: name}, int(size))
}

func copyKind(size uintptr) opKind {
	switch size {
	case 8:
		return opCopy8
	case 16:
		return opCopy16
	}
	return opCopy
}

func (c *compiler) emit(o op, least int) {
	c.plan.ops = append(c.plan.ops, o)
	c.plan.least += least
}

// encodesItself reports whether t has an encoding of its own. A struct that has it from an embedded field
// is encoded by its fields: the promoted methods know nothing of the others.
func encodesItself(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return false
	}
	if t.Kind() == reflect.Struct {
		for i := range t.NumField() {
			if f := t.Field(i); f.Anonymous && hasEncoding(f.Type) {
				return false
			}
		}
	}
	return hasEncoding(t)
}

func hasEncoding(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	if t.Kind() == reflect.Pointer {
		p = t
	}
	return (p.Implements(marshalerType) || p.Implements(appenderType)) && p.Implements(unmarshalerType)
}

// hasPointers reports whether the garbage collector looks into values of t.
func hasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return false
	case reflect.Array:
		return t.Len() > 0 && hasPointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if hasPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	}
	return true
}

// newArray is memory for n elements of a type without pointers that are aligned to 8 bytes at most.
func newArray(n int, size uintptr) unsafe.Pointer {
	words := make([]uint64, (uintptr(n)*size+7)/8)
	return unsafe.Pointer(unsafe.SliceData(words))
}

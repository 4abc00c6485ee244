package config

import (
	_ "embed"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// A Description says what an option is, for documentation and for messages.
type Description struct {
	Key     string
	Default string   // as it would be written in the file; "" for none
	Older   []string // deprecated spellings, the newest first
	// Fallback are other options whose values are taken when this one is not set; they come before Older.
	Fallback []string
	Doc      string // one sentence or more: what it does
	Unit     string // unit of a plain number, else ""
	Type     string // what is accepted: int, bool, duration, ...
	Group    string // heading in the documentation
	// Reserved: the value is checked, and no program reads it yet. Who sets it is told.
	Reserved bool
}

// An Option is one setting of type T. Options are the variables of this package; their values for a process
// are read with In.
type Option[T any] struct {
	Description
	kind         kind[T]
	defaultValue T
}

// A kind is a type of values: its name, what is expected in words, and how to read one.
type kind[T any] struct {
	name     string
	expected string
	parse    func(string) (T, error)
	gather   func(map[string]string) T // for maps: from the settings below KEY.
}

// In returns the option's value in c: what was set under its key, one it falls back to or an old spelling,
// else the default; the zero value when there is no default either. A nil c has nothing set.
func (o *Option[T]) In(c *Configuration) T {
	if c != nil {
		if v, ok := c.parsed[o.Key]; ok {
			return v.(T)
		}
	}
	return o.defaultValue
}

// IsSet reports whether c has a value for the option, under any of its spellings, that is not its default.
func (o *Option[T]) IsSet(c *Configuration) bool {
	if c == nil {
		return false
	}
	_, ok := c.parsed[o.Key]
	return ok
}

// Options describes every option, sorted by key.
func Options() []Description {
	all := make([]Description, len(registry))
	for i, o := range registry {
		all[i] = *o.description()
	}
	slices.SortFunc(all, func(a, b Description) int { return strings.Compare(a.Key, b.Key) })
	return all
}

// noEffect is what is told of an option that is reserved.
const noEffect = "has no effect yet"

type option interface {
	description() *Description
	// read finds and parses the option's value in c. Nothing set: nil, nil, nil. An error is a *wrongValue.
	read(c *Configuration) (value any, warnings []Warning, err error)
}

// registry holds every option. It is filled while the variables of this package are initialized and not
// changed afterwards.
var registry []option

// reservedKeys lists the options that no program reads yet. A test keeps it right.
//
//go:embed reserved_keys.txt
var reservedKeys string

var reserved = sync.OnceValue(func() map[string]bool {
	keys := map[string]bool{}
	for key := range strings.FieldsSeq(reservedKeys) {
		keys[key] = true
	}
	return keys
})

// define makes an option. A default that cannot be parsed is a mistake in this package.
func define[T any](group string, k kind[T], d Description) *Option[T] {
	d.Type, d.Group, d.Reserved = k.name, group, reserved()[d.Key]
	o := &Option[T]{Description: d, kind: k}
	if d.Default != "" {
		v, err := k.parse(d.Default)
		if err != nil {
			panic(fmt.Sprintf("config: default of %s: %v", d.Key, err))
		}
		o.defaultValue = v
	}
	registry = append(registry, o)
	return o
}

func (o *Option[T]) description() *Description { return &o.Description }

func (o *Option[T]) read(c *Configuration) (any, []Warning, error) {
	set, warnings, ok := c.find(&o.Description)
	if !ok {
		if o.kind.gather != nil {
			if below := c.below(o.Key + "."); len(below) > 0 {
				return o.kind.gather(below), nil, nil
			}
		}
		return nil, nil, nil
	}
	v, err := o.kind.parse(set.Value)
	if err != nil {
		return nil, warnings, &wrongValue{set, o.kind.expected, err}
	}
	if o.Reserved && !reflect.DeepEqual(v, o.defaultValue) {
		warnings = append(warnings, Warning{Place: set.Place, Key: set.Key, Text: noEffect})
	}
	return v, warnings, nil
}

// wrongValue is the error of a setting whose value does not parse.
type wrongValue struct {
	Setting
	expected string
	reason   error
}

func (w *wrongValue) Error() string {
	reason := ""
	if !errors.Is(w.reason, errUnexpected) {
		reason = " (" + w.reason.Error() + ")"
	}
	return fmt.Sprintf("%s: %s: value %q%s: expected %s", w.Place, w.Key, Mask(w.Key, w.Value), reason, w.expected)
}

// find looks for a setting of the option: its own key, then those it falls back to, then the old ones.
func (c *Configuration) find(d *Description) (found Setting, warnings []Warning, ok bool) {
	for _, key := range slices.Concat([]string{d.Key}, d.Fallback, d.Older) {
		s, set := c.Lookup(key)
		if !set {
			continue
		}
		old := slices.Contains(d.Older, key)
		switch {
		case ok && old && s.Value != found.Value:
			warnings = append(warnings, Warning{Place: s.Place, Key: key,
				Text: fmt.Sprintf("has no effect on %s, which is set by %s in %s", d.Key, found.Key, found.Place)})
		case !ok && old:
			warnings = append(warnings, Warning{Place: s.Place, Key: key,
				Text: fmt.Sprintf("is a deprecated key; the proper key is %s", d.Key)})
		}
		if !ok {
			found, ok = s, true
		}
	}
	return found, warnings, ok
}

func (c *Configuration) below(prefix string) map[string]string {
	m := map[string]string{}
	for _, s := range c.settings {
		if name, ok := strings.CutPrefix(s.Key, prefix); ok {
			m[name] = s.Value
		}
	}
	return m
}

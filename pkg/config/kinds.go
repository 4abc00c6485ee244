package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

var (
	text     = kind[string]{name: "string", expected: "a text", parse: func(s string) (string, error) { return s, nil }}
	integer  = kind[int]{name: "int", expected: "a whole number", parse: parseInteger}
	boolean  = kind[bool]{name: "bool", expected: "true or false", parse: parseBool}
	number   = kind[float64]{name: "float", expected: "a number", parse: parseFloat}
	duration = kind[time.Duration]{
		name: "duration", parse: parseDuration,
		expected: `a duration like "500 ms", "10 s", "5 min" or "PT10S" (no unit: milliseconds)`,
	}
	memory = kind[MemorySize]{name: "memory", expected: `a size like "64mb" or "1 g" (no unit: bytes)`, parse: parseMemory}
	list   = kind[[]string]{name: "list", expected: `a list like [a, b] or "a;b"`, parse: parseList}
	port   = kind[int]{name: "port", expected: "a port, 0 to 65535", parse: parsePort}
	ports  = kind[Ports]{name: "port range", expected: `a port or ports like "8081" or "50100,50105-50110"`, parse: parsePorts}

	dictionary = kind[map[string]string]{
		name: "map", expected: `a map like "k1:v1,k2:v2"`, parse: parseMap,
		gather: func(m map[string]string) map[string]string { return m },
	}
	// directories are separated by a comma, a bar or a colon, as io.tmp.dirs is in Flink.
	directories = kind[[]string]{name: "list of directories", expected: "directories", parse: parseDirectories}
)

// errUnexpected is the reason when there is nothing to say but what is expected.
var errUnexpected = errors.New("not what was expected")

// limited is k with one more rule.
func limited[T any](k kind[T], rule string, holds func(T) bool) kind[T] {
	parse := k.parse
	k.expected += ", " + rule
	k.parse = func(s string) (T, error) {
		v, err := parse(s)
		if err == nil && !holds(v) {
			return v, errUnexpected
		}
		return v, err
	}
	return k
}

func atLeast(n int) kind[int] {
	return limited(integer, fmt.Sprintf("at least %d", n), func(v int) bool { return v >= n })
}

func positive() kind[time.Duration] {
	return limited(duration, "more than 0", func(d time.Duration) bool { return d > 0 })
}

// oneOf is an enumeration. A value is accepted in any case and in any of its spellings, which are
// separated by a bar; the first is what In returns.
func oneOf(values ...string) kind[string] {
	names := make([]string, len(values))
	canonical := map[string]string{}
	for i, value := range values {
		spellings := strings.Split(value, "|")
		names[i] = spellings[0]
		for _, spelling := range spellings {
			canonical[strings.ToLower(spelling)] = spellings[0]
		}
	}
	return kind[string]{
		name:     "enum: " + strings.Join(names, ", "),
		expected: strings.Join(names, " or "),
		parse: func(s string) (string, error) {
			if v, ok := canonical[strings.ToLower(strings.TrimSpace(s))]; ok {
				return v, nil
			}
			return "", errUnexpected
		},
	}
}

func parseDirectories(s string) ([]string, error) {
	if strings.HasPrefix(strings.TrimSpace(s), "[") {
		return parseList(s)
	}
	var dirs []string
	for _, dir := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == '|' || r == ':' }) {
		if dir = strings.TrimSpace(dir); dir != "" {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		return nil, errors.New("no directory")
	}
	return dirs, nil
}

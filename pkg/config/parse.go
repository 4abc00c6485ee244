package config

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// MemorySize is a number of bytes.
type MemorySize int64

// String prints the size with the largest unit that divides it.
func (m MemorySize) String() string {
	for _, u := range []struct {
		bytes MemorySize
		name  string
	}{{1 << 40, "tb"}, {1 << 30, "gb"}, {1 << 20, "mb"}, {1 << 10, "kb"}} {
		if m != 0 && m%u.bytes == 0 {
			return strconv.FormatInt(int64(m/u.bytes), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(m), 10) + "b"
}

var durationUnits = map[string]time.Duration{
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
	"h": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"s": time.Second, "sec": time.Second, "secs": time.Second, "second": time.Second, "seconds": time.Second,
	"": time.Millisecond, "ms": time.Millisecond, "milli": time.Millisecond, "millis": time.Millisecond,
	"millisecond": time.Millisecond, "milliseconds": time.Millisecond,
	"µs": time.Microsecond, "μs": time.Microsecond, "micro": time.Microsecond, "micros": time.Microsecond,
	"microsecond": time.Microsecond, "microseconds": time.Microsecond,
	"ns": time.Nanosecond, "nano": time.Nanosecond, "nanos": time.Nanosecond,
	"nanosecond": time.Nanosecond, "nanoseconds": time.Nanosecond,
}

var memoryUnits = map[string]int64{
	"": 1, "b": 1, "bytes": 1,
	"k": 1 << 10, "kb": 1 << 10, "kibibytes": 1 << 10,
	"m": 1 << 20, "mb": 1 << 20, "mebibytes": 1 << 20,
	"g": 1 << 30, "gb": 1 << 30, "gibibytes": 1 << 30,
	"t": 1 << 40, "tb": 1 << 40, "tebibytes": 1 << 40,
}

var iso8601 = regexp.MustCompile(`^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d{1,9}))?S)?)?$`)

var errRange = errors.New("out of range")

// parseDuration reads NUMBER [blank] UNIT, milliseconds when there is no unit, or ISO 8601 (PT10S).
func parseDuration(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "P") || strings.HasPrefix(s, "p") {
		return parseISODuration(strings.ToUpper(s))
	}
	n, unit, err := numberAndUnit(s)
	if err != nil {
		return 0, err
	}
	size, ok := durationUnits[unit]
	if !ok {
		if unit == "m" {
			return 0, errors.New(`unknown unit "m" (minutes are "min")`)
		}
		return 0, fmt.Errorf("unknown unit %q", unit)
	}
	if n > math.MaxInt64/int64(size) {
		return 0, errRange
	}
	return time.Duration(n) * size, nil
}

func parseISODuration(s string) (time.Duration, error) {
	m := iso8601.FindStringSubmatch(s)
	if m == nil || s == "P" || strings.HasSuffix(s, "T") {
		return 0, errors.New("not an ISO 8601 duration")
	}
	var sum int64
	units := []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second, time.Nanosecond}
	for i, digits := range m[1:] {
		if digits == "" {
			continue
		}
		if i == 4 { // a fraction of a second
			digits += strings.Repeat("0", 9-len(digits))
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n > (math.MaxInt64-sum)/int64(units[i]) {
			return 0, errRange
		}
		sum += n * int64(units[i])
	}
	return time.Duration(sum), nil
}

// parseMemory reads NUMBER [blank] UNIT in powers of 1024, bytes when there is no unit.
func parseMemory(s string) (MemorySize, error) {
	n, unit, err := numberAndUnit(strings.TrimSpace(s))
	if err != nil {
		return 0, err
	}
	size, ok := memoryUnits[unit]
	if !ok {
		return 0, fmt.Errorf("unknown unit %q", unit)
	}
	if n > math.MaxInt64/size {
		return 0, errRange
	}
	return MemorySize(n * size), nil
}

// numberAndUnit splits a trimmed text into its leading digits and its unit in lower case.
func numberAndUnit(s string) (int64, string, error) {
	digits := 0
	for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
		digits++
	}
	if digits == 0 {
		return 0, "", errors.New("does not begin with a number")
	}
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	if err != nil {
		return 0, "", errRange
	}
	return n, strings.ToLower(strings.TrimSpace(s[digits:])), nil
}

// parseInteger reads a decimal number, or 0x and 0o as YAML does.
func parseInteger(s string) (int, error) {
	s = strings.TrimSpace(s)
	digits, base := s, 10
	switch {
	case strings.HasPrefix(s, "0x"):
		digits, base = s[2:], 16
	case strings.HasPrefix(s, "0o"):
		digits, base = s[2:], 8
	}
	n, err := strconv.ParseInt(digits, base, 64)
	switch {
	case errors.Is(err, strconv.ErrRange), n > math.MaxInt32, n < math.MinInt32:
		return 0, errRange
	case err != nil, base != 10 && n < 0:
		return 0, errUnexpected
	}
	return int(n), nil
}

func parseFloat(s string) (float64, error) {
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, errUnexpected
	}
	return f, nil
}

// parseBool takes true and false in any case and, like Flink, nothing else.
func parseBool(s string) (bool, error) {
	switch s = strings.TrimSpace(s); {
	case strings.EqualFold(s, "true"):
		return true, nil
	case strings.EqualFold(s, "false"):
		return false, nil
	}
	return false, errUnexpected
}

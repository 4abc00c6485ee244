package config

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"
)

// readFlat reads flink-conf.yaml. Only a file that cannot be read is an error.
func readFlat(path string) ([]Setting, []Warning, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	settings, warnings := parseFlat(path, string(text))
	return settings, warnings, nil
}

// parseFlat applies Flink's rules for flink-conf.yaml line by line. Of a key that appears more than once the
// last value is kept, at the place of the last.
func parseFlat(path, text string) (settings []Setting, warnings []Warning) {
	byKey := map[string]int{}
	spelling := map[string]Setting{} // by lower-case key
	number := 0
	for line := range strings.SplitSeq(strings.TrimPrefix(text, "\ufeff"), "\n") {
		number++
		place := fmt.Sprintf("%s:%d", path, number)
		warn := func(key, format string, args ...any) {
			warnings = append(warnings, Warning{Place: place, Key: key, Text: fmt.Sprintf(format, args...)})
		}
		if !utf8.ValidString(line) {
			warn("", wrongEncoding)
			line = strings.ToValidUTF8(line, "\ufffd") // as Flink reads it
		}
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ": ")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case !ok:
			warn("", "line skipped: it is not a pair of key and value%s", missingBlank(line))
			continue
		case key == "" || value == "":
			warn(key, "line skipped: its key or its value is empty")
			continue
		}
		s := Setting{Key: key, Value: value, Place: place}
		if i, twice := byKey[key]; twice {
			warn(key, "overrides the value in %s", settings[i].Place)
			settings[i] = s
			continue
		}
		if other, twice := spelling[strings.ToLower(key)]; twice {
			warn(key, "differs only in case from %s in %s", other.Key, other.Place)
		}
		byKey[key], spelling[strings.ToLower(key)] = len(settings), s
		settings = append(settings, s)
	}
	return settings, warnings
}

// missingBlank says what a line like key:value lacks.
func missingBlank(line string) string {
	key, value, ok := strings.Cut(line, ":")
	if !ok || key == "" || value == "" || strings.ContainsAny(key, " \t") {
		return ""
	}
	return fmt.Sprintf(" (no blank after the colon; did you mean %q?)", key+": "+strings.TrimSpace(Mask(key, value)))
}

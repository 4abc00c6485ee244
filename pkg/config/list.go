package config

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseList reads [a, b] as YAML and any other text as elements separated by semicolons, where quotes
// protect a semicolon and a doubled quote is a quote.
func parseList(s string) ([]string, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return nil, nil
	}
	if strings.HasPrefix(s, "[") {
		var list []string
		if err := yaml.Unmarshal([]byte(s), &list); err != nil {
			return nil, errors.New("not a YAML list")
		}
		return list, nil
	}
	return splitQuoted(s, ';')
}

// parseMap reads {a: b} as YAML and any other text as k1:v1,k2:v2.
func parseMap(s string) (map[string]string, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return map[string]string{}, nil
	}
	if strings.HasPrefix(s, "{") {
		var m map[string]string
		if err := yaml.Unmarshal([]byte(s), &m); err != nil {
			return nil, errors.New("not a YAML map of texts")
		}
		return m, nil
	}
	pairs, err := splitQuoted(s, ',')
	if err != nil {
		return nil, err
	}
	m := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, ":")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return nil, fmt.Errorf("%q is not a pair key:value", pair)
		}
		if _, twice := m[key]; twice {
			return nil, fmt.Errorf("key %q appears twice", key)
		}
		m[key] = strings.TrimSpace(value)
	}
	return m, nil
}

// splitQuoted splits at sep outside of quotes. Blanks around an element and empty elements are dropped;
// an element in quotes loses them.
func splitQuoted(s string, sep byte) ([]string, error) {
	var list []string
	var element strings.Builder
	quoted := false // the element has quotes, so it counts even when it is empty
	end := func() {
		if text := strings.TrimSpace(element.String()); quoted {
			list = append(list, element.String())
		} else if text != "" {
			list = append(list, text)
		}
		element.Reset()
		quoted = false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == sep:
			end()
		case (c == '\'' || c == '"') && strings.TrimSpace(element.String()) == "" && !quoted:
			text, next, ok := unquote(s, i)
			if !ok {
				return nil, fmt.Errorf("a quote (%c) is not closed", c)
			}
			element.Reset()
			element.WriteString(text)
			quoted = true
			for next < len(s) && s[next] == ' ' {
				next++
			}
			if next < len(s) && s[next] != sep {
				return nil, fmt.Errorf("text after a closing quote (%c)", c)
			}
			i = next - 1
		default:
			element.WriteByte(c)
		}
	}
	end()
	return list, nil
}

// unquote reads the quoted text that begins at s[i] and returns what follows it.
func unquote(s string, i int) (text string, next int, ok bool) {
	quote := s[i]
	var b strings.Builder
	for i++; i < len(s); i++ {
		if s[i] != quote {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == quote {
			b.WriteByte(quote)
			i++
			continue
		}
		return b.String(), i + 1, true
	}
	return "", 0, false
}

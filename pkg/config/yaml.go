package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxValues bounds what aliases of a config.yaml can blow up to.
const maxValues = 100_000

// readYAML reads config.yaml. Everything that is wrong with the file is in the error, one line each.
func readYAML(path string) ([]Setting, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return parseYAML(path, text)
}

func parseYAML(path string, text []byte) ([]Setting, error) {
	if line := notUTF8(text); line > 0 {
		return nil, fmt.Errorf("%s:%d: %s", path, line, wrongEncoding)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document yaml.Node
	if err := decoder.Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil // empty, or only comments
		}
		return nil, yamlError(path, text, err)
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		return nil, fmt.Errorf("%s:%d: a second document; a configuration file has one", path, second.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlError(path, text, err)
	}
	f := flattener{path: path, byKey: map[string]Setting{}, spelling: map[string]Setting{}}
	root := document.Content[0]
	switch {
	case root.Kind == yaml.ScalarNode && root.Tag == "!!null":
		return nil, nil
	case root.Kind != yaml.MappingNode:
		return nil, fmt.Errorf("%s:%d: not a map of keys and values%s", path, root.Line, missingBlank(root.Value))
	}
	f.mapping("", root)
	return f.settings, errors.Join(f.errs...)
}

var yamlErrorLine = regexp.MustCompile(`^yaml: line (\d+): (.*)$`)

// yamlError puts the parser's message into the form FILE:LINE: TEXT. The parser often notices a missing
// blank after a colon only on the next line, so the line before is looked at too.
func yamlError(path string, text []byte, err error) error {
	number, message := 1, strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlErrorLine.FindStringSubmatch(err.Error()); m != nil {
		number, _ = strconv.Atoi(m[1])
		message = m[2]
	} else if strings.HasPrefix(message, "unknown anchor") { // others without a line are in the first
		return fmt.Errorf("%s: %s", path, message)
	}
	lines := strings.Split(string(text), "\n")
	for n := max(1, number-1); n <= min(number, len(lines)); n++ {
		line, _, _ := strings.Cut(lines[n-1], " #")
		if strings.Contains(line, ": ") || strings.HasSuffix(strings.TrimSpace(line), ":") {
			continue
		}
		if hint := missingBlank(strings.TrimSpace(line)); hint != "" {
			return fmt.Errorf("%s:%d: not a pair of key and value%s", path, n, hint)
		}
	}
	return fmt.Errorf("%s:%d: %s", path, number, explain(message, lines[min(number, len(lines))-1]))
}

// explain says in other words what the parser says of a line, where its words are about parsers.
func explain(message, line string) string {
	switch {
	case strings.HasPrefix(strings.TrimLeft(line, " "), "\t"):
		return "a tab before the key: YAML wants blanks for indentation"
	case strings.HasPrefix(message, "mapping values are not allowed"):
		return "a key where none fits: look at the indentation, and put a value that contains a colon and a blank in quotes"
	case strings.HasPrefix(message, "found character that cannot start"):
		return "a value cannot begin with that character: put it in quotes"
	case strings.HasPrefix(message, "found unexpected end of stream"):
		return "the file ends inside quotes"
	}
	return message
}

// wrongEncoding is said of a line with other bytes than UTF-8's.
const wrongEncoding = "not UTF-8 text: save the file as UTF-8"

// notUTF8 is the number of the first line that is not UTF-8, 0 if all are.
func notUTF8(text []byte) int {
	number := 0
	for line := range bytes.Lines(text) {
		if number++; !utf8.Valid(line) {
			return number
		}
	}
	return 0
}

// A flattener turns nested maps into settings with dotted keys.
type flattener struct {
	path     string
	settings []Setting
	visited  int // values so far, of maps too
	byKey    map[string]Setting
	spelling map[string]Setting // by lower-case key
	open     []*yaml.Node       // the maps on the way down, to notice an alias of itself
	errs     []error
}

func (f *flattener) fail(line int, format string, args ...any) {
	f.errs = append(f.errs, fmt.Errorf("%s:%d: %s", f.path, line, fmt.Sprintf(format, args...)))
}

func (f *flattener) mapping(prefix string, node *yaml.Node) {
	for _, n := range f.open {
		if n == node {
			f.fail(node.Line, "an alias contains itself")
			return
		}
	}
	f.open = append(f.open, node)
	defer func() { f.open = f.open[:len(f.open)-1] }()

	lines := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Value == "" {
			f.fail(key.Line, "a key must be a text")
			continue
		}
		if first, twice := lines[key.Value]; twice {
			f.fail(key.Line, "key %q is already in line %d", prefix+key.Value, first)
			continue
		}
		lines[key.Value] = key.Line
		f.value(prefix+key.Value, key.Line, value)
		if f.visited > maxValues {
			f.errs = []error{fmt.Errorf("%s: more than %d values", f.path, maxValues)}
			return
		}
	}
}

func (f *flattener) value(key string, line int, node *yaml.Node) {
	f.visited++
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch node.Kind {
	case yaml.MappingNode:
		f.mapping(key+".", node)
	case yaml.SequenceNode:
		text, err := flowText(node)
		if err != nil {
			f.fail(line, "%s: %v", key, err)
			return
		}
		f.add(Setting{Key: key, Value: text}, line)
	default:
		if node.Tag == "!!null" {
			f.fail(line, `%s has no value; remove the line, or write "" for an empty text`, key)
			return
		}
		f.add(Setting{Key: key, Value: node.Value}, line)
	}
}

func (f *flattener) add(s Setting, line int) {
	s.Place = fmt.Sprintf("%s:%d", f.path, line)
	if first, twice := f.byKey[s.Key]; twice {
		f.fail(line, "%s is already set in %s", s.Key, first.Place)
		return
	}
	lower := strings.ToLower(s.Key)
	if first, twice := f.spelling[lower]; twice {
		f.fail(line, "%s differs only in case from %s in %s", s.Key, first.Key, first.Place)
		return
	}
	f.byKey[s.Key], f.spelling[lower] = s, s
	f.settings = append(f.settings, s)
}

// flowText writes a list as [a, b] in one line. Maps and lists inside it become JSON text.
func flowText(node *yaml.Node) (string, error) {
	var values []any
	if err := node.Decode(&values); err != nil { // also refuses an alias of itself
		return "", err
	}
	flow := yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for i, n := range node.Content {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		text := n.Value // as written, not as YAML understands it
		if n.Kind != yaml.ScalarNode {
			encoded, err := json.Marshal(values[i])
			if err != nil {
				return "", err
			}
			text = string(encoded)
		}
		flow.Content = append(flow.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text})
	}
	out, err := yaml.Marshal(&flow)
	return strings.TrimSpace(string(out)), err
}

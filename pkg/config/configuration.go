package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/viper"
)

// Names of the configuration files in a configuration directory.
const (
	YAMLFile = "config.yaml"
	FlatFile = "flink-conf.yaml"
)

// ErrNoFile: the configuration directory or a configuration file in it is missing.
var ErrNoFile = errors.New("no configuration file")

// A Setting is one key with the text of its value, and where it was set.
type Setting struct {
	Key   string
	Value string
	Place string // FILE:LINE, or -D
}

// A Warning is something in the configuration that was lived with.
type Warning struct {
	Place string // FILE:LINE, or -D
	Key   string // "" when the line has none
	Text  string
	Quiet bool // of interest only to someone who looks for it: a debug message
}

// String is PLACE: KEY TEXT.
func (w Warning) String() string {
	s := w.Text
	if w.Key != "" {
		s = w.Key + " " + s
	}
	if w.Place != "" {
		s = w.Place + ": " + s
	}
	return s
}

// A Configuration holds what was set for a process. It does not change after Load and may be used from any
// goroutine. A nil *Configuration has nothing set.
type Configuration struct {
	layers   *viper.Viper // the file below, the command line above; keys escaped by layerKey
	settings []Setting    // what is in effect, sorted by key
	parsed   map[string]any
}

// Load reads the configuration of directory dir and puts the dynamic properties (key=value, or key alone
// for true) on top. An empty dir stands for no file. The error, if any, has a line for each thing that is
// wrong; it is ErrNoFile when there is nothing to read.
func Load(dir string, dynamic []string) (*Configuration, []Warning, error) {
	file, warnings, err := readDirectory(dir)
	if err != nil {
		return nil, warnings, err
	}
	properties, err := parseDynamic(dynamic)
	if err != nil {
		return nil, warnings, err
	}
	c, more, err := build(file, properties)
	return c, append(warnings, more...), err
}

// FromMap is a configuration of these settings. The error names every value that does not parse.
func FromMap(values map[string]string) (*Configuration, error) {
	settings := make([]Setting, 0, len(values))
	for key, value := range values {
		settings = append(settings, Setting{Key: key, Value: value, Place: "given"})
	}
	c, _, err := build(settings, nil)
	return c, err
}

// Lookup returns the setting under exactly this key: no old spelling, no default.
func (c *Configuration) Lookup(key string) (Setting, bool) {
	if c == nil {
		return Setting{}, false
	}
	s, ok := c.layers.Get(layerKey(key)).(Setting)
	return s, ok
}

// Map returns everything that was set, as it was written, secrets included.
func (c *Configuration) Map() map[string]string {
	m := map[string]string{}
	for _, s := range c.Settings() {
		m[s.Key] = s.Value
	}
	return m
}

// Settings returns everything that was set, sorted by key, secrets included.
func (c *Configuration) Settings() []Setting {
	if c == nil {
		return nil
	}
	return slices.Clone(c.settings)
}

// Masked returns everything that was set, sorted by key, with secrets replaced: what may be shown.
func (c *Configuration) Masked() []Setting {
	settings := c.Settings()
	for i := range settings {
		settings[i].Value = Mask(settings[i].Key, settings[i].Value)
	}
	return settings
}

// Text returns the value in effect under a key for a reader outside of Go: what was set, under any
// spelling, else the default, else "".
func (c *Configuration) Text(key string) string {
	for _, o := range registry {
		if d := o.description(); d.Key == key {
			if s, _, ok := c.find(d); ok {
				return s.Value
			}
			return d.Default
		}
	}
	s, _ := c.Lookup(key)
	return s.Value
}

func readDirectory(dir string) ([]Setting, []Warning, error) {
	if dir == "" {
		return nil, nil, nil
	}
	if info, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil, nil, fmt.Errorf("configuration directory %s does not exist: %w", absolute(dir), ErrNoFile)
	}
	nested, flat := filepath.Join(dir, YAMLFile), filepath.Join(dir, FlatFile)
	switch {
	case exists(nested) && exists(flat):
		settings, err := readYAML(nested)
		return settings, []Warning{{Place: flat, Text: "the file is ignored: " + YAMLFile + " is beside it"}}, err
	case exists(nested):
		settings, err := readYAML(nested)
		return settings, nil, err
	case exists(flat):
		return readFlat(flat)
	}
	return nil, nil, fmt.Errorf("configuration file %s does not exist: %w", absolute(nested), ErrNoFile)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// parseDynamic reads -D properties. Of a key that is given twice the last value counts.
func parseDynamic(properties []string) ([]Setting, error) {
	settings := make([]Setting, 0, len(properties))
	for _, property := range properties {
		key, value, ok := strings.Cut(property, "=")
		if !ok {
			value = "true"
		}
		if key = strings.TrimSpace(key); key == "" {
			return nil, fmt.Errorf("-D %s: no key before the equals sign", property)
		}
		settings = append(settings, Setting{Key: key, Value: value, Place: "-D"})
	}
	return settings, nil
}

// build layers the settings and reads every option, so that nothing can fail later.
func build(file, dynamic []Setting) (*Configuration, []Warning, error) {
	c := &Configuration{layers: viper.NewWithOptions(viper.KeyDelimiter("\x00")), parsed: map[string]any{}}
	below := make(map[string]any, len(file))
	keys := map[string]bool{}
	for _, s := range file {
		below[layerKey(s.Key)] = s
		keys[s.Key] = true
	}
	if err := c.layers.MergeConfigMap(below); err != nil {
		return nil, nil, err
	}
	for _, s := range dynamic {
		c.layers.Set(layerKey(s.Key), s)
		keys[s.Key] = true
	}
	for key := range keys {
		s, _ := c.Lookup(key)
		c.settings = append(c.settings, s)
	}
	slices.SortFunc(c.settings, func(a, b Setting) int { return strings.Compare(a.Key, b.Key) })

	var errs []error
	warnings := unknownKeys(c.settings)
	told, wrong := map[Setting]bool{}, map[Setting]bool{} // one key can stand for two options
	for _, o := range registry {
		value, more, err := o.read(c)
		for _, w := range more {
			if at := (Setting{Key: w.Key, Place: w.Place}); !told[at] {
				told[at] = true
				warnings = append(warnings, w)
			}
		}
		if err == nil && value != nil {
			c.parsed[o.description().Key] = value
		}
		if bad := (*wrongValue)(nil); errors.As(err, &bad) && !wrong[bad.Setting] {
			wrong[bad.Setting] = true
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, warnings, errors.Join(errs...)
	}
	return c, warnings, nil
}

// layerKey is a key's spelling inside viper, which folds case and splits at a delimiter: every byte that
// either would touch is written as ^ and two hex digits, so that keys stay as different as they are.
func layerKey(key string) string {
	var b strings.Builder
	for i := range len(key) {
		if c := key[i]; c == '^' || c < ' ' || c >= 0x7f || c >= 'A' && c <= 'Z' {
			fmt.Fprintf(&b, "^%02x", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

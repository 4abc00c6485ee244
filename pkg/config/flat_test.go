package config

import (
	"slices"
	"strings"
	"testing"
)

func TestParseFlat(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []string // key=value@line
		warnings   []string
	}{
		{"a pair", "a: b", []string{"a=b@1"}, nil},
		{"blanks and CRLF", "\r\n  a :   b c \r\n", []string{"a=b c@2"}, nil},
		{"comments", "# x\na: b # c\nd: 'p#q'\n", []string{"a=b@2", "d='p@3"}, nil},
		{"a byte order mark", "\ufeffa: b\n", []string{"a=b@1"}, nil},
		{"Latin 1", "a: caf\xe9\nb: c\n", []string{"a=caf\ufffd@1", "b=c@2"}, []string{"f:1: not UTF-8 text: save the file as UTF-8"}},
		{"quotes stay", `a: "b"`, []string{`a="b"@1`}, nil},
		{"more colons", "a: b: c\nu: hdfs://h:1/x\n", []string{"a=b: c@1", "u=hdfs://h:1/x@2"}, nil},
		{"the last one wins", "a: 1\nb: 2\na: 3\n", []string{"a=3@3", "b=2@2"}, []string{"f:3: a overrides the value in f:1"}},
		{"case", "a: 1\nA: 2\n", []string{"a=1@1", "A=2@2"}, []string{"f:2: A differs only in case from a in f:1"}},
		{"no blank", "a:b\n", nil, []string{`f:1: line skipped: it is not a pair of key and value (no blank after the colon; did you mean "a: b"?)`}},
		{"a secret without a blank", "my.password:hush\n", nil, []string{`f:1: line skipped: it is not a pair of key and value (no blank after the colon; did you mean "my.password: ******"?)`}},
		{"no colon", "a b\n", nil, []string{"f:1: line skipped: it is not a pair of key and value"}},
		{"no value", "a: # b\n", nil, []string{"f:1: line skipped: it is not a pair of key and value"}},
		{"no key", ": b\n", nil, []string{"f:1: line skipped: its key or its value is empty"}},
		{"what YAML would refuse", "a: @x\nb: %x\nc: *x\nd: [\n", []string{"a=@x@1", "b=%x@2", "c=*x@3", "d=[@4"}, nil},
	} {
		settings, warnings := parseFlat("f", tc.text)
		var got, texts []string
		for _, s := range settings {
			got = append(got, s.Key+"="+s.Value+"@"+strings.TrimPrefix(s.Place, "f:"))
		}
		for _, w := range warnings {
			texts = append(texts, w.String())
		}
		if !slices.Equal(got, tc.want) || !slices.Equal(texts, tc.warnings) {
			t.Errorf("%s: got %q, %q, want %q, %q", tc.name, got, texts, tc.want, tc.warnings)
		}
	}
}

// TestSampleOfAnArticleLoads: a file as users have it, with two lines that are no pairs.
func TestSampleOfAnArticleLoads(t *testing.T) {
	const file = "testdata/zookeeper-yarn.flink-conf.yaml"
	settings, warnings, err := readFlat(file)
	if err != nil {
		t.Fatal(err)
	}
	c, more, err := build(settings, nil)
	if err != nil {
		t.Fatal(err)
	}
	if HAType.In(c) != HAZooKeeper || ZooKeeperQuorum.In(c) != "node1:2181,node2:2181,node3:2181" || ZooKeeperRoot.In(c) != "/flink" ||
		HAClusterID.In(c) != "/default" || HAStorageDir.In(c) != "hdfs:///flink/recovery" || c.Map()["yarn.application-attempts"] != "10" {
		t.Errorf("settings %v", c.Map())
	}
	got := loud("testdata", append(warnings, more...))
	want := []string{
		`zookeeper-yarn.flink-conf.yaml:16: line skipped: it is not a pair of key and value (no blank after the colon; did you mean "yarn.reallocate-failed: true"?)`,
		`zookeeper-yarn.flink-conf.yaml:18: line skipped: it is not a pair of key and value (no blank after the colon; did you mean "yarn.maximum-failed-containers: 1"?)`,
		`zookeeper-yarn.flink-conf.yaml:2: high-availability is a deprecated key; the proper key is high-availability.type`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("warnings\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if err := c.CheckCluster(); err != nil {
		t.Errorf("CheckCluster: %v", err)
	}
}

func FuzzParseFlat(f *testing.F) {
	for _, seed := range []string{"", "a: b", "a:b", "a: b # c\na: d", ": ", "#", "A: 1\na: 2", "\xff: \x00", "k:  v\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		settings, warnings := parseFlat("f", text)
		lines := strings.Count(text, "\n") + 1
		if len(settings)+len(warnings) > 2*lines {
			t.Errorf("%d settings and %d warnings from %d lines", len(settings), len(warnings), lines)
		}
		keys := map[string]bool{}
		for _, s := range settings {
			if s.Key == "" || s.Value == "" || strings.Contains(s.Key+s.Value, "#") || strings.Contains(s.Key+s.Value, "\n") || keys[s.Key] {
				t.Errorf("setting %+v", s)
			}
			keys[s.Key] = true
		}
		// What was read can be written and read again. Values that do not parse are errors, never panics.
		if c, _, err := build(settings, nil); err == nil && len(c.Settings()) != len(settings) {
			t.Errorf("%d settings became %d", len(settings), len(c.Settings()))
		}
	})
}

func FuzzParseYAML(f *testing.F) {
	for _, seed := range []string{"", "a: b", "a: {b: [1, {c: d}]}", "a: &x\n  b: *x", "- a", "a: [*y]", "? [a]\n: b", "a: |\n  b\n  c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		settings, err := parseYAML("f", []byte(text))
		if err != nil {
			return
		}
		lower := map[string]bool{}
		for _, s := range settings {
			if lower[strings.ToLower(s.Key)] {
				t.Errorf("key %q twice", s.Key)
			}
			lower[strings.ToLower(s.Key)] = true
		}
	})
}

package config

import (
	"strings"
	"testing"
)

func TestFlinkKeysAreAccepted(t *testing.T) {
	lines := 0
	for line := range strings.Lines(flinkKeys) {
		lines++
		for _, key := range strings.Fields(line) {
			for _, w := range unknownKeys([]Setting{{Key: key}}) {
				if !w.Quiet {
					t.Errorf("warning for a key of Flink: %s", w)
				}
			}
		}
	}
	if lines < 281 {
		t.Errorf("%d options of Flink are known, want at least 281", lines)
	}
}

func TestUnknownKeysNameTheNearest(t *testing.T) {
	for _, tc := range []struct{ key, want string }{
		{"rest.prot", "rest.port"},
		{"high-availability.storagedir", "high-availability.storageDir"},
		{"taskmanager.numberOfTaskSlot", "taskmanager.numberOfTaskSlots"},
		{"jobmanager.rpc.adress", "jobmanager.rpc.address"},
		{"state.checkpoint.dir", "execution.checkpointing.dir"}, // near an old spelling
		{"my.own.key.that.is.nowhere", ""},
	} {
		warnings := unknownKeys([]Setting{{Key: tc.key, Place: "f:7"}})
		want := "f:7: " + tc.key + " is an unknown key"
		if tc.want != "" {
			want += "; did you mean " + tc.want + "?"
		}
		if len(warnings) != 1 || warnings[0].String() != want {
			t.Errorf("warnings %q, want %q", warnings, want)
		}
	}
}

// A missing blank below a group makes YAML take the pair for the group's value.
func TestValueOfAGroup(t *testing.T) {
	_, warnings := load(t, directory(t, YAMLFile, "rest:\n  port:1\n"))
	want := `config.yaml:1: rest is a group of keys and takes no value of its own (no blank after the colon; did you mean "port: 1"?)`
	if len(warnings) != 1 || warnings[0] != want {
		t.Errorf("warnings %q, want %q", warnings, want)
	}
}

func TestEditDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"kitten", "sitting", 3}, {"port", "prot", 2}, {"abc", "abc", 0}} {
		if got := editDistance(tc.a, tc.b, 10); got != tc.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
	if got := editDistance("kitten", "sitting", 2); got <= 2 {
		t.Errorf("editDistance beyond its limit of 2 = %d", got)
	}
}

// TestOptionsAreSpelledOnce: no two options claim one key, and no key differs only in case from another.
func TestOptionsAreSpelledOnce(t *testing.T) {
	owners := map[string]string{}
	for _, d := range Options() {
		if other, twice := owners[strings.ToLower(d.Key)]; twice {
			t.Errorf("%s is defined twice, also as %s", d.Key, other)
		}
		owners[strings.ToLower(d.Key)] = d.Key
		if d.Doc == "" || d.Type == "" || d.Group == "" {
			t.Errorf("%s lacks a doc, type or group", d.Key)
		}
	}
	for _, d := range Options() {
		for _, old := range d.Older {
			if owner, taken := owners[strings.ToLower(old)]; taken {
				t.Errorf("%s, an old spelling of %s, is the key of %s", old, d.Key, owner)
			}
		}
	}
}

func TestReservedOptionsAreTold(t *testing.T) {
	o := &Option[bool]{Description: Description{Key: "x", Reserved: true}, kind: boolean}
	for value, want := range map[string]int{"true": 1, "false": 0} { // false is the default
		c, err := FromMap(map[string]string{"x": value})
		if err != nil {
			t.Fatal(err)
		}
		if _, warnings, err := o.read(c); err != nil || len(warnings) != want {
			t.Errorf("%s: warnings %q, error %v, want %d warnings", value, warnings, err, want)
		}
	}
}

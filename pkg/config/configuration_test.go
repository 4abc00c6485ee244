package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// directory makes a configuration directory; names and contents alternate.
func directory(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t *testing.T, dir string, dynamic ...string) (*Configuration, []string) {
	t.Helper()
	c, warnings, err := Load(dir, dynamic)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return c, loud(dir, warnings)
}

// loud are the warnings that a user sees, without the directory, and without those about reserved options,
// which change as the programs grow.
func loud(dir string, warnings []Warning) []string {
	var texts []string
	for _, w := range warnings {
		if !w.Quiet && w.Text != noEffect {
			texts = append(texts, strings.ReplaceAll(w.String(), dir+"/", ""))
		}
	}
	return texts
}

func TestWhichFile(t *testing.T) {
	for _, tc := range []struct {
		name     string
		files    []string
		want     int // rest.port
		warnings int
		err      error
	}{
		{"config.yaml", []string{YAMLFile, "rest.port: 1"}, 1, 0, nil},
		{"flink-conf.yaml", []string{FlatFile, "rest.port: 2"}, 2, 0, nil},
		{"both", []string{YAMLFile, "rest.port: 1", FlatFile, "rest.port: 2"}, 1, 1, nil},
		{"empty file", []string{YAMLFile, ""}, 8081, 0, nil},
		{"only comments", []string{YAMLFile, "# nothing\n"}, 8081, 0, nil},
		{"explicit null", []string{YAMLFile, "---\n"}, 8081, 0, nil},
		{"neither", nil, 0, 0, ErrNoFile},
	} {
		c, warnings, err := Load(directory(t, tc.files...), nil)
		if !errors.Is(err, tc.err) {
			t.Errorf("%s: Load: %v, want %v", tc.name, err, tc.err)
			continue
		}
		if err == nil && (RestPort.In(c) != tc.want || len(warnings) != tc.warnings) {
			t.Errorf("%s: port %d, warnings %q, want %d and %d of them", tc.name, RestPort.In(c), warnings, tc.want, tc.warnings)
		}
	}
	if _, _, err := Load(filepath.Join(t.TempDir(), "missing"), nil); !errors.Is(err, ErrNoFile) {
		t.Errorf("Load of a missing directory: %v, want ErrNoFile", err)
	}
	if c, _, err := Load("", []string{"rest.port=5"}); err != nil || RestPort.In(c) != 5 {
		t.Errorf("Load without a directory: port %d, %v, want 5", RestPort.In(c), err)
	}
}

func TestHighAvailabilityIsAValueAndAPrefix(t *testing.T) {
	for _, tc := range []struct{ name, file, content string }{
		{"flat file", FlatFile, "high-availability: zookeeper\nhigh-availability.storageDir: hdfs:///flink/recovery\n"},
		{"flat keys in YAML", YAMLFile, "high-availability: zookeeper\nhigh-availability.storageDir: hdfs:///flink/recovery\n"},
		{"nested", YAMLFile, "high-availability:\n  type: ZooKeeper\n  storageDir: hdfs:///flink/recovery\n"},
		{"flat beside nested", YAMLFile, "high-availability.type: zookeeper\nhigh-availability: {storageDir: 'hdfs:///flink/recovery'}\n"},
	} {
		for range 20 { // viper with dots as delimiter would answer differently from time to time
			c, _ := load(t, directory(t, tc.file, tc.content))
			if HAType.In(c) != HAZooKeeper || HAStorageDir.In(c) != "hdfs:///flink/recovery" || HAClusterID.In(c) != "/default" {
				t.Fatalf("%s: type %q, storageDir %q, cluster-id %q", tc.name, HAType.In(c), HAStorageDir.In(c), HAClusterID.In(c))
			}
		}
	}
}

func TestValues(t *testing.T) {
	dir := directory(t, YAMLFile, `
a.text: 1.10
rest: {port: 0x1F90, address: "host # not a comment"} # a comment
heartbeat:
  interval: 2 s
  timeout: &t 20000
execution.checkpointing.timeout: *t
io.tmp.dirs: [/a, /b]
high-availability.zookeeper.client:
  authorization: {digest: "user:1.0", x: y}
state.backend: filesystem
web.submit.enable: FALSE
`)
	c, warnings := load(t, dir, "heartbeat.interval=1 s", "web.cancel.enable=false", "web.cancel.enable", "env.ssh.opts=-o A=b")
	for _, check := range []struct {
		name      string
		got, want any
	}{
		{"text of a number", c.Map()["a.text"], "1.10"},
		{"rest.port", RestPort.In(c), 8080},
		{"rest.address", RestAddress.In(c), "host # not a comment"},
		{"heartbeat.interval", HeartbeatInterval.In(c), time.Second},
		{"heartbeat.timeout", HeartbeatTimeout.In(c), 20 * time.Second},
		{"an alias", CheckpointTimeout.In(c), 20 * time.Second},
		{"io.tmp.dirs", strings.Join(TmpDirs.In(c), " "), "/a /b"},
		{"a map", ZooKeeperAuthorization.In(c)["digest"], "user:1.0"},
		{"state.backend.type", StateBackend.In(c), "hashmap"},
		{"web.submit.enable", WebSubmitEnable.In(c), false},
		{"a bare -D", WebCancelEnable.In(c), true},
		{"an equals sign in a -D value", SSHOptions.In(c), "-o A=b"},
		{"a default", PipelineMaxParallelism.In(c), 128},
		{"IsSet", HeartbeatInterval.IsSet(c), true},
		{"IsSet of a default", SlotRequestTimeout.IsSet(c), false},
		{"no default", CheckpointInterval.In(c), time.Duration(0)},
		{"a nil configuration", RestPort.In(nil), 8081},
		{"Text of a default", c.Text("slot.request.timeout"), "5 min"},
		{"Text of an old spelling", c.Text("state.backend.type"), "filesystem"},
		{"Text of an unknown key", c.Text("a.text"), "1.10"},
	} {
		if check.got != check.want {
			t.Errorf("%s: %v, want %v", check.name, check.got, check.want)
		}
	}
	want := []string{
		"config.yaml:2: a.text is an unknown key",
		"config.yaml:11: state.backend is a deprecated key; the proper key is state.backend.type",
	}
	if !slices.Equal(warnings, want) {
		t.Errorf("warnings\n%s\nwant\n%s", strings.Join(warnings, "\n"), strings.Join(want, "\n"))
	}
}

func TestFallbacksAndOldSpellings(t *testing.T) {
	for _, tc := range []struct {
		name     string
		content  string
		dynamic  []string
		port     string
		warnings []string
	}{
		{"default", "", nil, "8081", nil},
		{"fallback", "rest.port: 1", nil, "1", nil},
		{"its own key first", "rest.port: 1\nrest.bind-port: 2-3", nil, "2-3", nil},
		{"the command line", "rest.port: 1", []string{"rest.port=7"}, "7", nil},
		{"its own key before the command line's fallback", "rest.bind-port: 2-3", []string{"rest.port=7"}, "2-3", nil},
		{"old", "web.port: 4", nil, "4", []string{
			"config.yaml:1: web.port is a deprecated key; the proper key is rest.port"}},
		{"old beside new", "web.port: 4\nrest.bind-port: 5\nrest.port: 4", nil, "5", []string{
			"config.yaml:1: web.port has no effect on rest.bind-port, which is set by rest.bind-port in config.yaml:2"}},
	} {
		c, warnings := load(t, directory(t, YAMLFile, tc.content), tc.dynamic...)
		if got := RestBindPort.In(c).String(); got != tc.port || !slices.Equal(warnings, tc.warnings) {
			t.Errorf("%s: rest.bind-port %s, warnings %q, want %s, %q", tc.name, got, warnings, tc.port, tc.warnings)
		}
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	const misplaced = "a key where none fits: look at the indentation, and put a value that contains a colon and a blank in quotes"
	for _, tc := range []struct {
		name, content string
		dynamic       []string
		want          []string // one for each line of the error
	}{
		{"wrong types", "rest:\n  port: 80a\nheartbeat.interval: 10 weeks\ntaskmanager.numberOfTaskSlots: 0\n", []string{"web.cancel.enable=yes"}, []string{
			`config.yaml:2: rest.port: value "80a": expected a port, 0 to 65535`, // once, although it counts for rest.bind-port too
			`-D: web.cancel.enable: value "yes": expected true or false`,
			`config.yaml:3: heartbeat.interval: value "10 weeks" (unknown unit "weeks"): expected a duration like "500 ms", "10 s", "5 min" or "PT10S" (no unit: milliseconds), more than 0`,
			`config.yaml:4: taskmanager.numberOfTaskSlots: value "0": expected a whole number, at least 1`,
		}},
		{"a key twice", "rest.port: 1\nrest.port: 2\n", nil, []string{`config.yaml:2: key "rest.port" is already in line 1`}},
		{"scalar beside children", "high-availability: zookeeper\nhigh-availability:\n  storageDir: /x\n", nil, []string{
			`config.yaml:2: key "high-availability" is already in line 1`}},
		{"nested and flat", "rest:\n  port: 1\nrest.port: 2\n", nil, []string{`config.yaml:3: rest.port is already set in config.yaml:2`}},
		{"case only", "rest.port: 1\nrest.Port: 2\n", nil, []string{`config.yaml:2: rest.Port differs only in case from rest.port in config.yaml:1`}},
		{"no value", "rest:\n  port:\n", nil, []string{`config.yaml:2: rest.port has no value; remove the line, or write "" for an empty text`}},
		{"no blank", "rest.port:1\n", nil, []string{`config.yaml:1: not a map of keys and values (no blank after the colon; did you mean "rest.port: 1"?)`}},
		{"no blank among others", "a.b: 1\nrest.port:1\nweb.port: 2\n", nil, []string{
			`config.yaml:2: not a pair of key and value (no blank after the colon; did you mean "rest.port: 1"?)`}},
		{"two colons", "a: b: c\n", nil, []string{`config.yaml:1: ` + misplaced}},
		{"two colons further down", "a: 1\nb: 2\nx: y: z\n", nil, []string{`config.yaml:3: ` + misplaced}},
		{"indented too far", "rest:\n  port: 1\n    address: x\n", nil, []string{`config.yaml:3: ` + misplaced}},
		{"a tab", "a:\n\tb: 2\n", nil, []string{`config.yaml:2: a tab before the key: YAML wants blanks for indentation`}},
		{"a character that needs quotes", "a: @b\n", nil, []string{`config.yaml:1: a value cannot begin with that character: put it in quotes`}},
		{"an open quote", "a: 1\nb: 'x\nc: 2\n", nil, []string{`config.yaml:2: the file ends inside quotes`}},
		{"Latin 1", "a: 1\nb: caf\xe9\n", nil, []string{`config.yaml:2: not UTF-8 text: save the file as UTF-8`}},
		{"UTF-16", "\xff\xfea\x00:\x00", nil, []string{`config.yaml:1: not UTF-8 text: save the file as UTF-8`}},
		{"one name only", "state.backend.type: rocksdb\n", nil, []string{`config.yaml:1: state.backend.type: value "rocksdb": expected hashmap`}},
		{"an unknown alias", "a: *x\n", nil, []string{`config.yaml: unknown anchor 'x' referenced`}},
		{"a list", "- a\n", nil, []string{`config.yaml:1: not a map of keys and values`}},
		{"aliases that explode", explosion(), nil, []string{`config.yaml: more than 100000 values`}},
		{"two documents", "a: 1\n---\nb: 2\n", nil, []string{`config.yaml:2: a second document; a configuration file has one`}},
		{"an alias of itself", "a: &x\n  b: *x\n", nil, []string{`config.yaml:1: an alias contains itself`}},
		{"-D without a key", "", []string{"=5"}, []string{`-D =5: no key before the equals sign`}},
	} {
		dir := directory(t, YAMLFile, tc.content)
		c, _, err := Load(dir, tc.dynamic)
		if err == nil {
			t.Errorf("%s: no error", tc.name)
			continue
		}
		got := strings.Split(strings.ReplaceAll(err.Error(), dir+"/", ""), "\n")
		slices.Sort(got)
		slices.Sort(tc.want)
		if c != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", tc.name, strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
		}
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	c, _ := load(t, directory(t, YAMLFile, "security.ssl.rest.key-password: hush\nS3.Secret-Key: hush\nrest.port: 1\n"))
	for _, s := range c.Masked() {
		if strings.Contains(s.Value, "hush") {
			t.Errorf("Masked shows %s: %s", s.Key, s.Value)
		}
	}
	if got := c.Map()["S3.Secret-Key"]; got != "hush" {
		t.Errorf("Map = %q, want the value itself", got)
	}
	_, err := FromMap(map[string]string{"high-availability.zookeeper.client.authorization": "hush"})
	if err == nil || strings.Contains(err.Error(), `value "hush"`) {
		t.Errorf("error %v shows the secret", err)
	}
}

func TestCheckCluster(t *testing.T) {
	for _, tc := range []struct {
		name string
		conf map[string]string
		want string // part of the error; "" for none
	}{
		{"defaults", nil, ""},
		{"zookeeper", map[string]string{"high-availability.type": "zookeeper", "high-availability.storageDir": "/x", "high-availability.zookeeper.quorum": "a:1"}, ""},
		{"no storageDir", map[string]string{"high-availability.type": "local"}, "high-availability.storageDir must be set"},
		{"no quorum", map[string]string{"high-availability.type": "zookeeper", "high-availability.storageDir": "/x"}, "quorum must be set"},
		{"heartbeats", map[string]string{"heartbeat.interval": "5 s", "heartbeat.timeout": "5 s"}, "heartbeat.interval (5s) must be less than heartbeat.timeout (5s)"},
		{"quick probe", map[string]string{"high-availability.leader-probe.timeout": "100 ms"}, ""},
		{"lazy probe", map[string]string{"high-availability.leader-probe.interval": "501 ms"}, "high-availability.leader-probe.interval (501ms) must be at most a quarter of"},
		{"TLS", map[string]string{"security.ssl.rest.enabled": "true"}, "asks for TLS"},
		{"no TLS", map[string]string{"security.ssl.rest.enabled": "false"}, ""},
		{"parallelism", map[string]string{"parallelism.default": "129"}, "must not exceed"},
	} {
		c, err := FromMap(tc.conf)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		err = c.CheckCluster()
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: CheckCluster: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestLayerKeyKeepsKeysApart(t *testing.T) {
	keys := []string{"storageDir", "storagedir", "STORAGEDIR", "storage^44ir", "storage^dir", "a\x00b", "a^00b", "ä", "Ä", "\xff", "\xfe"}
	seen := map[string]string{}
	for _, key := range keys {
		k := layerKey(key)
		if other, twice := seen[k]; twice || k != strings.ToLower(k) {
			t.Errorf("layerKey(%q) = %q, like %q, or not in lower case", key, k, other)
		}
		seen[k] = key
	}
}

// explosion is a small file whose aliases stand for 2^40 empty maps.
func explosion() string {
	var b strings.Builder
	b.WriteString("a0: &a0 {}\n")
	for i := range 40 {
		fmt.Fprintf(&b, "a%d: &a%d {x: *a%d, y: *a%d}\n", i+1, i+1, i, i)
	}
	return b.String()
}

// TestShippedConfiguration: conf/ loads as it is, and nothing in it is unknown or without effect.
func TestShippedConfiguration(t *testing.T) {
	c, warnings, err := Load("../../conf", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Errorf("warning: %s", w)
	}
	if err := c.CheckCluster(); err != nil {
		t.Error(err)
	}
}

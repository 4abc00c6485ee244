package config

import (
	"maps"
	"net"
	"slices"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for _, tc := range []struct {
		text string
		want time.Duration // -1: an error
	}{
		{"10", 10 * time.Millisecond},
		{"0", 0},
		{"10 s", 10 * time.Second},
		{" 10s ", 10 * time.Second},
		{"10 SECONDS", 10 * time.Second},
		{"1min", time.Minute},
		{"7500 ms", 7500 * time.Millisecond},
		{"2 days", 48 * time.Hour},
		{"3µs", 3 * time.Microsecond},
		{"5 nanos", 5},
		{"PT10S", 10 * time.Second},
		{"pt1h30m", 90 * time.Minute},
		{"P1DT0.25S", 24*time.Hour + 250*time.Millisecond},
		{"1.5s", -1},
		{"1h 5min", -1},
		{"-1s", -1},
		{"1m", -1},
		{"", -1},
		{"abc", -1},
		{"P", -1},
		{"PT", -1},
		{"P1DT", -1},
		{"9223372036854775807 ns", 9223372036854775807},
		{"9223372036854775808 ns", -1},
		{"106752 d", -1},
		{"P106752D", -1},
	} {
		got, err := parseDuration(tc.text)
		if err != nil {
			got = -1
		}
		if got != tc.want {
			t.Errorf("parseDuration(%q) = %v, %v, want %v", tc.text, got, err, tc.want)
		}
	}
}

func TestParseMemory(t *testing.T) {
	for _, tc := range []struct {
		text string
		want MemorySize // -1: an error
	}{
		{"64", 64},
		{"0 bytes", 0},
		{"64m", 64 << 20},
		{"1 g", 1 << 30},
		{"1GB", 1 << 30},
		{"64 mebibytes", 64 << 20},
		{"32kb", 32 << 10},
		{"8388607tb", 8388607 << 40},
		{"8388608tb", -1}, // one more than an int64 holds
		{"1.5g", -1},
		{"1gib", -1},
		{"-1", -1},
		{"", -1},
	} {
		got, err := parseMemory(tc.text)
		if err != nil {
			got = -1
		}
		if got != tc.want {
			t.Errorf("parseMemory(%q) = %d, %v, want %d", tc.text, got, err, tc.want)
		}
	}
	for size, want := range map[MemorySize]string{0: "0b", 1: "1b", 1536: "1536b", 32 << 10: "32kb", 1 << 30: "1gb"} {
		if got := size.String(); got != want {
			t.Errorf("MemorySize(%d).String() = %q, want %q", size, got, want)
		}
	}
}

func TestParseScalars(t *testing.T) {
	for _, tc := range []struct {
		text string
		want int
		ok   bool
	}{
		{"8081", 8081, true}, {"-1", -1, true}, {" 7 ", 7, true}, {"0x10", 16, true}, {"0o17", 15, true}, {"010", 10, true},
		{"2147483647", 2147483647, true}, {"2147483648", 0, false},
		{"1_000", 0, false}, {"5.0", 0, false}, {"abc", 0, false}, {"", 0, false}, {"0x-1", 0, false},
	} {
		if got, err := parseInteger(tc.text); err == nil != tc.ok || got != tc.want {
			t.Errorf("parseInteger(%q) = %d, %v, want %d, ok %t", tc.text, got, err, tc.want, tc.ok)
		}
	}
	for text, want := range map[string]string{"true": "true", "FALSE": "false", "True": "true", "yes": "", "1": "", "treu": ""} {
		got, err := parseBool(text)
		if (want == "") != (err != nil) || err == nil && got != (want == "true") {
			t.Errorf("parseBool(%q) = %t, %v, want %q", text, got, err, want)
		}
	}
	for text, ok := range map[string]bool{"1.5": true, "1": true, "1e3": true, "NaN": false, "Inf": false, "x": false} {
		if _, err := parseFloat(text); err == nil != ok {
			t.Errorf("parseFloat(%q): %v, want ok %t", text, err, ok)
		}
	}
}

func TestParseList(t *testing.T) {
	for _, tc := range []struct {
		text string
		want []string
		ok   bool
	}{
		{"a;b;c", []string{"a", "b", "c"}, true},
		{"a,b", []string{"a,b"}, true},
		{"[a, b]", []string{"a", "b"}, true},
		{"[a, 1.10]", []string{"a", "1.10"}, true},
		{"'a;b' ; c", []string{"a;b", "c"}, true},
		{`"say ""x""";y`, []string{`say "x"`, "y"}, true},
		{"''", []string{""}, true},
		{"a;;b", []string{"a", "b"}, true},
		{"it's;b", []string{"it's", "b"}, true},
		{"", nil, true},
		{"'a", nil, false},
		{"'a' b;c", nil, false},
		{"[a", nil, false},
	} {
		got, err := parseList(tc.text)
		if err == nil != tc.ok || !slices.Equal(got, tc.want) {
			t.Errorf("parseList(%q) = %q, %v, want %q, ok %t", tc.text, got, err, tc.want, tc.ok)
		}
	}
}

func TestParseMap(t *testing.T) {
	for _, tc := range []struct {
		text string
		want map[string]string
		ok   bool
	}{
		{"k1:v1,k2:v2", map[string]string{"k1": "v1", "k2": "v2"}, true},
		{"{k1: v1, k2: v2}", map[string]string{"k1": "v1", "k2": "v2"}, true},
		{"digest:user:password", map[string]string{"digest": "user:password"}, true},
		{"'a:b,c'", map[string]string{"a": "b,c"}, true},
		{"", map[string]string{}, true},
		{"k1", nil, false},
		{"k:1,k:2", nil, false},
		{"{a: [1]}", nil, false},
	} {
		got, err := parseMap(tc.text)
		if err == nil != tc.ok || !maps.Equal(got, tc.want) {
			t.Errorf("parseMap(%q) = %q, %v, want %q, ok %t", tc.text, got, err, tc.want, tc.ok)
		}
	}
}

func TestParsePorts(t *testing.T) {
	for _, tc := range []struct {
		text string
		want []int
	}{
		{"8081", []int{8081}},
		{"0", []int{0}},
		{"8081-8083", []int{8081, 8082, 8083}},
		{"50100, 50105-50106", []int{50100, 50105, 50106}},
		{"65536", nil},
		{"2-1", nil},
		{"0-5", nil},
		{"a", nil},
		{"", nil},
		{"1,", nil},
		{"-1", nil},
	} {
		p, err := parsePorts(tc.text)
		if got := slices.Collect(p.All()); err == nil != (tc.want != nil) || !slices.Equal(got, tc.want) {
			t.Errorf("parsePorts(%q) = %v, %v, want %v", tc.text, got, err, tc.want)
		}
		if again, err2 := parsePorts(p.String()); err == nil && (err2 != nil || again.String() != p.String()) {
			t.Errorf("parsePorts(%q).String() = %q does not parse to itself", tc.text, p)
		}
	}
}

func TestPortsListenTakesTheNextFreePort(t *testing.T) {
	taken, err := SinglePort(0).Listen(t.Context(), Loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	if l, err := SinglePort(port).Listen(t.Context(), Loopback); err == nil {
		l.Close()
		t.Errorf("listened twice on port %d", port)
	}
	choice := Ports{[]portRange{{port, port}, {0, 0}}}
	l, err := choice.Listen(t.Context(), Loopback)
	if err != nil {
		t.Fatalf("Listen(%s): %v", choice, err)
	}
	defer l.Close()
	if got := l.Addr().(*net.TCPAddr).Port; got == port {
		t.Errorf("Listen(%s) took the port that was taken", choice)
	}
}

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	t.Chdir(t.TempDir())
	for dir, content := range map[string]string{"good": "0 0 1 7\n0 1 2 8\n", "bad": "0 0 1 7\n0 2 3 8\n"} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "part-0"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		args string
		want int
		out  string
	}{
		{"good", 0, "2 records of 1 keys in 1 files: 0 lost, 0 repeated"},
		{"bad", 1, "1 lost"},
		{"-n 3 -keys 1 good", 1, "1 lost"},
		{"-o json -times good", 0, `"times":[7,8]`},
		{"-o xml good", 2, ""},
		{"", 2, ""},
		{"s3://bucket/x", 2, ""},
		{"nowhere", 2, ""},
	} {
		var out, errs strings.Builder
		if got := run(strings.Fields(tc.args), &out, &errs); got != tc.want || !strings.Contains(out.String(), tc.out) {
			t.Errorf("check %s: exit %d, want %d; output %q %q", tc.args, got, tc.want, out.String(), errs.String())
		}
		if strings.HasPrefix(tc.args, "-o json") && !json.Valid([]byte(out.String())) {
			t.Errorf("check %s: no JSON: %s", tc.args, out.String())
		}
	}
}

package verify

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDirectory(t *testing.T) {
	good := "0 0 1 100\n1 0 1 101\n0 1 2 102\n"
	for _, tc := range []struct {
		name  string
		files string // contents, separated by |
		o     Options
		want  Report
	}{
		{"nothing yet", "", Options{}, Report{}},
		{"right", good + "|1 1 2 103\n", Options{Times: true}, Report{Records: 4, Keys: 2, Times: []int64{100, 101, 102, 103}}},
		{"a tail is not committed yet", good, Options{}, Report{Records: 3, Keys: 2, Behind: 1}},
		{"the same of a finished job", good, Options{Expect: 4, Keys: 2}, Report{Records: 3, Keys: 2, Behind: 1, Lost: 1}},
		{"a key has not come at all", "0 0 1 1\n2 0 1 1\n", Options{}, Report{Records: 2, Keys: 2, Behind: 1}},
		{"lost", "0 0 1 1\n0 3 4 1\n", Options{}, Report{Records: 2, Keys: 1, Lost: 2, CountGaps: 2}},
		{"repeated", good + "|" + good, Options{}, Report{Records: 6, Keys: 2, Repeated: 3, CountGaps: 3, Behind: 1}},
		{"counted twice", "0 0 1 1\n0 1 3 1\n", Options{}, Report{Records: 2, Keys: 1, CountGaps: 1}},
		{"state was lost", "0 0 1 1\n0 1 1 1\n", Options{}, Report{Records: 2, Keys: 1, CountGaps: 1}},
		{"out of order", "0 0 2 1\n0 1 1 1\n", Options{}, Report{Records: 2, Keys: 1, OutOfOrder: 1}},
		{"from two subtasks", "0 1 1 1\n0 0 2 1\n", Options{}, Report{Records: 2, Keys: 1, Reordered: 1}},
		{"cut off", "0 0 1 1\n0 1", Options{}, Report{Records: 1, Keys: 1, Malformed: 1}},
		{"nonsense", "0 0 1 1 1\n-1 0 1 1\nx\n0 99999999999 1 1\n", Options{}, Report{Malformed: 4}},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, ".part-9.inprogress"), good)
		if tc.files != "" {
			for i, content := range strings.Split(tc.files, "|") {
				write(t, filepath.Join(dir, fmt.Sprintf("part-%d", i)), content)
				tc.want.Files++
			}
		}
		got, err := Directory(t.Context(), dir, tc.o)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(*got) != fmt.Sprint(tc.want) {
			t.Errorf("%s: got %+v, want %+v", tc.name, *got, tc.want)
		}
		if wrong := tc.want.Lost + tc.want.Repeated + tc.want.OutOfOrder + tc.want.CountGaps + tc.want.Malformed; got.OK() != (wrong == 0) {
			t.Errorf("%s: OK = %v", tc.name, got.OK())
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

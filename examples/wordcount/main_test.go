package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCountsEachWordOnce(t *testing.T) {
	in, out := t.TempDir(), t.TempDir()
	want := map[string]int{}
	for file := range 3 {
		var text strings.Builder
		for i := range 5000 {
			word := fmt.Sprintf("w%d", i*i%(100*(file+1)))
			want[word]++
			fmt.Fprint(&text, word, []string{" ", "\n", "  ", "\t", " \r\n"}[i%5])
		}
		if err := os.WriteFile(filepath.Join(in, fmt.Sprint(file)), []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(in, out, 4, 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(out, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			var word string
			var n int
			if _, err := fmt.Sscanf(line, "%s\t%d\n", &word, &n); err != nil || want[word] != n {
				t.Errorf("line %q: %v, want %d", line, err, want[word])
			}
			delete(want, word)
		}
	}
	if len(want) > 0 {
		t.Errorf("missing or there twice: %v", want)
	}
}

func TestNeedsPaths(t *testing.T) {
	if err := run("", "", 1, 0); err == nil {
		t.Error("no error")
	}
}

// A path that is wrong ends the job with the reason, instead of being tried for ever.
func TestGivesUpOnAMissingInput(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "nothing-here")
	if err := run(missing, t.TempDir(), 1, time.Hour); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("run without input: %v, want an error that names %s", err, missing)
	}
}

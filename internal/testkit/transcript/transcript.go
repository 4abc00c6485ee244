// Package transcript runs tests that are written as conversations: files of commands, each with the
// output that it is expected to give. Tests of pure cores use it; with -update the files are rewritten
// and then reviewed as prose.
//
// A file is a sequence of blocks separated by empty lines. A block is one or more command lines, a line
// of four dashes, and the output of all of them. Lines that begin with # are comments and are kept.
package transcript

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata with what the code does now")

const dashes = "----"

// Run runs every file that matches pattern as a subtest. start returns the interpreter of one file's
// commands: it is given the words of a command line and returns its output, without or with a final
// newline.
func Run(t *testing.T, pattern string, start func(t *testing.T) func(words []string) string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts match %s (%v)", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runFile(t, file, start(t)) })
	}
}

func runFile(t *testing.T, file string, run func([]string) string) {
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for i, block := range strings.Split(strings.TrimSpace(string(content)), "\n\n") {
		if i > 0 {
			got.WriteString("\n")
		}
		got.WriteString(answer(block, run))
	}
	switch {
	case got.String() == string(content):
	case *update:
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s differs; got:\n%s\n(rewrite with -update after a look)", file, difference(string(content), got.String()))
	}
}

// answer runs a block's commands and returns the block with their output.
func answer(block string, run func([]string) string) string {
	var commands, output strings.Builder
	only := true // comments
	for _, line := range strings.Split(block, "\n") {
		if line == dashes {
			break
		}
		commands.WriteString(line + "\n")
		if words := strings.Fields(line); len(words) > 0 && !strings.HasPrefix(line, "#") {
			only = false
			if out := strings.TrimSpace(run(words)); out != "" {
				output.WriteString(out + "\n")
			}
		}
	}
	if only {
		return commands.String()
	}
	return commands.String() + dashes + "\n" + output.String()
}

// difference shows got from the first line on that is not as wanted.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range g {
		if i >= len(w) || w[i] != g[i] {
			from := max(0, i-6)
			return strings.Join(g[from:min(len(g), i+12)], "\n")
		}
	}
	return got
}

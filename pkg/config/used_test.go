package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	definition    = regexp.MustCompile(`(?s)\n\t([A-Z]\w*) = define\(.*?Key: "([^"]+)"`)
	wordInProgram = regexp.MustCompile(`\bconfig\.[A-Z]\w*`)
	wordInScript  = regexp.MustCompile(`[^\s()]+`)
)

// TestReservedOptions: reserved_keys.txt lists exactly the options that no program and no script reads.
func TestReservedOptions(t *testing.T) {
	want := ""
	for _, d := range Options() {
		if unread(t)[d.Key] {
			want += d.Key + "\n"
		}
	}
	if want == reservedKeys {
		return
	}
	if !*update {
		t.Fatalf("other options are unread than reserved_keys.txt says; run: go test ./pkg/config -update")
	}
	if err := os.WriteFile("reserved_keys.txt", []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

var unreadKeys map[string]bool

// unread returns the keys of the options that no program and no script reads.
func unread(t *testing.T) map[string]bool {
	t.Helper()
	if unreadKeys != nil {
		return unreadKeys
	}
	unreadKeys = map[string]bool{}
	variables := variablesByKey(t)
	read := wordsOfReaders(t)
	for _, d := range Options() {
		name, ok := variables[d.Key]
		if !ok {
			t.Errorf("%s has no variable", d.Key)
			continue
		}
		unreadKeys[d.Key] = !read["config."+name] && !read[d.Key]
	}
	return unreadKeys
}

func variablesByKey(t *testing.T) map[string]string {
	t.Helper()
	variables := map[string]string{}
	files, err := filepath.Glob("options_*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range definition.FindAllStringSubmatch(string(text), -1) {
			variables[m[2]] = m[1]
		}
	}
	return variables
}

// wordsOfReaders returns what may name an option: config.NAME in programs, every word of the scripts.
func wordsOfReaders(t *testing.T) map[string]bool {
	t.Helper()
	words := map[string]bool{}
	for _, root := range []string{"pkg", "cmd", "internal", "scripts", "stream"} {
		err := filepath.WalkDir(filepath.Join("../..", root), func(path string, d fs.DirEntry, err error) error {
			var word *regexp.Regexp
			switch {
			case err != nil:
				return err
			case d.IsDir() && path == filepath.Join("../..", "pkg", "config"):
				return filepath.SkipDir
			case strings.HasSuffix(path, ".sh"):
				word = wordInScript
			case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
				word = wordInProgram
			default:
				return nil
			}
			text, err := os.ReadFile(path)
			for _, w := range word.FindAllString(string(text), -1) {
				words[w] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return words
}

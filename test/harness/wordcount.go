package harness

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tamias-project/tamias/internal/testkit/words"
)

// textBytes is the size of the text that tests count the words of. With the race detector everything is
// an order of magnitude slower.
const textBytes = 200 << 20 / (1 + 9*raceFactor)

var (
	textOnce sync.Once
	textDir  string
	counts   map[string]int64
	// totalWords is the sum of counts.
	totalWords int64
	textErr    error
)

// Text returns the directory of the text and the number of its words. The text is made once for a machine and
// kept in the user's cache directory.
func Text(t testing.TB) (dir string, total int64) {
	t.Helper()
	prepareText(t)
	return textDir, totalWords
}

func prepareText(t testing.TB) {
	t.Helper()
	textOnce.Do(func() {
		if textDir, textErr = cachedText(); textErr == nil {
			counts, totalWords, textErr = count(textDir)
		}
	})
	if textErr != nil {
		t.Fatal(textErr)
	}
}

func cachedText() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "tamias-test", fmt.Sprintf("words-%dM", textBytes>>20))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	// Made under another name: tests of another package may be about the same.
	making, err := os.MkdirTemp(filepath.Dir(dir), "making-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(making)
	if err := words.Write(making, textBytes); err != nil {
		return "", err
	}
	if err := os.Rename(making, dir); err != nil {
		if _, statErr := os.Stat(dir); statErr != nil {
			return "", err
		}
	}
	return dir, nil
}

// count counts the words of the files in dir, in the plainest way.
func count(dir string) (map[string]int64, int64, error) {
	counts, total := map[string]*int64{}, int64(0)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, 0, err
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, 0, err
		}
		defer f.Close()
		s := bufio.NewScanner(f)
		s.Split(bufio.ScanWords)
		for s.Scan() {
			n := counts[string(s.Bytes())]
			if n == nil {
				n = new(int64)
				counts[s.Text()] = n
			}
			*n++
			total++
		}
		if err := s.Err(); err != nil {
			return nil, 0, err
		}
	}
	plain := make(map[string]int64, len(counts))
	for word, n := range counts {
		plain[word] = *n
	}
	return plain, total, nil
}

// CheckCounts compares the output of wordcount with the counts of the text.
func CheckCounts(t testing.TB, output string) {
	t.Helper()
	prepareText(t)
	got, err := readCounts(output)
	if err != nil {
		t.Error(err)
		return
	}
	wrong := 0
	for word, want := range counts {
		if got[word] != want {
			if wrong++; wrong <= 5 {
				t.Errorf("%q was counted %d times, want %d", word, got[word], want)
			}
		}
	}
	if wrong > 0 || len(got) != len(counts) {
		t.Errorf("%d words were counted, want %d; %d of them have a wrong count", len(got), len(counts), wrong)
	}
}

// CommittedLines counts the lines in the visible files of an output directory.
func CommittedLines(dir string) (lines int64, err error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return 0, err
		}
		lines += int64(bytes.Count(text, []byte{'\n'}))
	}
	return lines, err
}

// readCounts reads lines "word<TAB>count" of all files that are committed. A word must be there once.
func readCounts(dir string) (map[string]int64, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	counts := map[string]int64{}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			word, number, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			n, err := strconv.ParseInt(number, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: line %q: %w", f.Name(), line, err)
			}
			if _, twice := counts[word]; twice {
				return nil, fmt.Errorf("%s: %q is in the result twice", f.Name(), word)
			}
			counts[word] = n
		}
	}
	return counts, nil
}

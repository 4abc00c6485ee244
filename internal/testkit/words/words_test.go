package words_test

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/tamias-project/tamias/internal/testkit/words"
)

var full = flag.Bool("full", false, "make the whole input of the benchmark, 200 MB")

// TestWholeInput compares the benchmark's input with its published checksum.
func TestWholeInput(t *testing.T) {
	if !*full {
		t.Skip("-full makes and checks 200 MB")
	}
	dir := t.TempDir()
	if err := words.Write(dir, 200_000_000); err != nil {
		t.Fatal(err)
	}
	if got, want := sum(t, dir), "8e881f7b5adc0b10c20ad162b87f20cd0400a46e56120162f5215d37a451f191"; got != want {
		t.Errorf("sha256 = %s, want %s", got, want)
	}
}

func TestTextIsAFunctionOfItsSize(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for _, dir := range []string{a, b} {
		if err := words.Write(dir, 100_000); err != nil {
			t.Fatal(err)
		}
	}
	if sum(t, a) != sum(t, b) {
		t.Error("two texts of one size differ")
	}
}

func sum(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "words-*.txt"))
	if err != nil || len(names) != 8 {
		t.Fatalf("%d files, %v; want 8", len(names), err)
	}
	h := sha256.New()
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(h, f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return hex.EncodeToString(h.Sum(nil))
}

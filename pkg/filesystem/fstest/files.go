package fstest

import (
	"errors"
	"io"
	"testing"

	"github.com/tamias-project/tamias/pkg/filesystem"
)

func stat(t *testing.T, fs filesystem.Files, dir string) {
	create(t, fs, filesystem.Join(dir, "d/a"), "12345")
	if info, err := fs.Stat(t.Context(), filesystem.Join(dir, "d/a")); err != nil || info.Size != 5 || info.Dir || info.Modified.IsZero() {
		t.Errorf("Stat of a file = %+v, %v", info, err)
	}
	if info, err := fs.Stat(t.Context(), filesystem.Join(dir, "d")); err != nil || !info.Dir {
		t.Errorf("Stat of a directory = %+v, %v", info, err)
	}
	if _, err := fs.Stat(t.Context(), filesystem.Join(dir, "e")); !errors.Is(err, filesystem.ErrNotFound) {
		t.Errorf("Stat of nothing = %v, want ErrNotFound", err)
	}
}

func openAt(t *testing.T, fs filesystem.Files, dir string) {
	path := filesystem.Join(dir, "a")
	create(t, fs, path, "0123456789")
	for offset, want := range map[int64]string{0: "0123456789", 4: "456789", 10: "", 99: ""} {
		r, err := fs.OpenAt(t.Context(), path, offset)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != want {
			t.Errorf("from %d: read %q, %v, want %q", offset, got, err, want)
		}
		_ = r.Close()
	}
	if _, err := fs.OpenAt(t.Context(), dir, 0); err == nil {
		t.Error("OpenAt of a directory succeeded")
	}
	if _, err := fs.OpenAt(t.Context(), filesystem.Join(dir, "b"), 3); !errors.Is(err, filesystem.ErrNotFound) {
		t.Errorf("OpenAt of nothing = %v, want ErrNotFound", err)
	}
}

func writeAndRename(t *testing.T, fs filesystem.Files, dir string) {
	from, to := filesystem.Join(dir, "in/progress"), filesystem.Join(dir, "out/final")
	w, err := fs.OpenWriter(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, "one ")
	if got := read(t, fs, from); got != "one " {
		t.Errorf("while writing: read %q", got)
	}
	write(t, w, "two")
	if err := errors.Join(w.Sync(), w.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.OpenWriter(t.Context(), from); !errors.Is(err, filesystem.ErrExists) {
		t.Errorf("OpenWriter of a name that is taken = %v, want ErrExists", err)
	}
	if err := fs.Rename(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	if got := read(t, fs, to); got != "one two" {
		t.Errorf("after rename: read %q", got)
	}
	wantNames(t, fs, filesystem.Join(dir, "in"))
	if err := fs.Rename(t.Context(), from, to); !errors.Is(err, filesystem.ErrNotFound) {
		t.Errorf("Rename of nothing = %v, want ErrNotFound", err)
	}
}

func renameNeverOverwrites(t *testing.T, fs filesystem.Files, dir string) {
	a, b := filesystem.Join(dir, "a"), filesystem.Join(dir, "b")
	create(t, fs, a, "a")
	create(t, fs, b, "b")
	if err := fs.Rename(t.Context(), a, b); !errors.Is(err, filesystem.ErrExists) {
		t.Errorf("Rename = %v, want ErrExists", err)
	}
	if err := fs.Rename(t.Context(), a, a); !errors.Is(err, filesystem.ErrExists) {
		t.Errorf("Rename to itself = %v, want ErrExists", err)
	}
	if read(t, fs, a) != "a" || read(t, fs, b) != "b" {
		t.Error("contents changed")
	}
}

func openFiles(t *testing.T, fs filesystem.Files, dir string) {
	a, b := filesystem.Join(dir, "a"), filesystem.Join(dir, "b")
	w, err := fs.OpenWriter(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, "1")
	if err := fs.Rename(t.Context(), a, b); err != nil {
		t.Fatal(err)
	}
	write(t, w, "2")
	if got := read(t, fs, b); got != "12" {
		t.Errorf("read %q, want both writes", got)
	}
	if err := fs.Delete(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	write(t, w, "3")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("4")); err == nil {
		t.Error("Write after Close succeeded")
	}
	wantNames(t, fs, dir)
}

func write(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

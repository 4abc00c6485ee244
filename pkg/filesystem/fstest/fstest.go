// Package fstest is the suite that every file system has to pass. Each call of the constructor that a test
// hands in begins with an empty directory.
package fstest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tamias-project/tamias/pkg/filesystem"
)

// Fixture is a file system under test and an empty directory in it.
type Fixture struct {
	FS  filesystem.FileSystem
	Dir string
}

// Conformance checks what filesystem.FileSystem promises, and what filesystem.Files promises where the
// file system has it.
func Conformance(t *testing.T, open func(t *testing.T) Fixture) {
	for _, tc := range []struct {
		name string
		test func(*testing.T, Fixture)
	}{
		{"create and open", createAndOpen},
		{"create never overwrites", createNeverOverwrites},
		{"a failed create leaves nothing", failedCreate},
		{"one of many creators wins", concurrentCreate},
		{"what is not there", notThere},
		{"delete takes all below", deleteTree},
		{"list", list},
		{"an ended context", endedContext},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.test(t, open(t)) })
	}
	for _, tc := range []struct {
		name string
		test func(*testing.T, filesystem.Files, string)
	}{
		{"stat", stat},
		{"open in the middle", openAt},
		{"write, sync and rename", writeAndRename},
		{"rename never overwrites", renameNeverOverwrites},
		{"a file open for writing can be renamed and deleted", openFiles},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := open(t)
			files, ok := f.FS.(filesystem.Files)
			if !ok {
				t.Skip("has no filesystem.Files")
			}
			tc.test(t, files, f.Dir)
		})
	}
}

func createAndOpen(t *testing.T, f Fixture) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
	for name, want := range map[string]string{"a": "hello", "empty": "", "new/dirs/b": "deep", "large": string(large)} {
		path := filesystem.Join(f.Dir, name)
		create(t, f.FS, path, want)
		if got := read(t, f.FS, path); got != want {
			t.Errorf("%s: read %d bytes, want %d", name, len(got), len(want))
		}
	}
	path := filesystem.Join(f.Dir, "written")
	content := filesystem.Content(func(w io.Writer) error { _, err := io.WriteString(w, "by a function"); return err })
	if err := f.FS.Create(t.Context(), path, content); err != nil {
		t.Fatal(err)
	}
	if got := read(t, f.FS, path); got != "by a function" {
		t.Errorf("Content wrote %q", got)
	}
}

func createNeverOverwrites(t *testing.T, f Fixture) {
	path := filesystem.Join(f.Dir, "a")
	create(t, f.FS, path, "first")
	if err := f.FS.Create(t.Context(), path, strings.NewReader("second")); !errors.Is(err, filesystem.ErrExists) {
		t.Errorf("second Create = %v, want ErrExists", err)
	}
	if got := read(t, f.FS, path); got != "first" {
		t.Errorf("content is %q", got)
	}
	create(t, f.FS, filesystem.Join(f.Dir, "dir/x"), "")
	if err := f.FS.Create(t.Context(), filesystem.Join(f.Dir, "dir"), strings.NewReader("")); err == nil {
		t.Error("Create over a directory succeeded")
	}
	if err := f.FS.Create(t.Context(), filesystem.Join(f.Dir, "a/below"), strings.NewReader("")); err == nil {
		t.Error("Create below a file succeeded")
	}
}

func failedCreate(t *testing.T, f Fixture) {
	cause := errors.New("source broke")
	broken := io.MultiReader(strings.NewReader("half"), brokenReader{cause})
	path := filesystem.Join(f.Dir, "a")
	if err := f.FS.Create(t.Context(), path, broken); !errors.Is(err, cause) {
		t.Errorf("Create = %v, want the reader's error", err)
	}
	wantNames(t, f.FS, f.Dir)
	create(t, f.FS, path, "whole")
	if got := read(t, f.FS, path); got != "whole" {
		t.Errorf("content is %q", got)
	}
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

func concurrentCreate(t *testing.T, f Fixture) {
	path := filesystem.Join(f.Dir, "new/dir/a")
	var won atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			switch err := f.FS.Create(t.Context(), path, strings.NewReader("x")); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, filesystem.ErrExists):
				t.Errorf("Create = %v", err)
			}
		})
	}
	all.Wait()
	if n := won.Load(); n != 1 {
		t.Errorf("%d creators won, want 1", n)
	}
	wantNames(t, f.FS, filesystem.Join(f.Dir, "new/dir"), "a")
}

func notThere(t *testing.T, f Fixture) {
	path := filesystem.Join(f.Dir, "no/such")
	if _, err := f.FS.Open(t.Context(), path); !errors.Is(err, filesystem.ErrNotFound) {
		t.Errorf("Open = %v, want ErrNotFound", err)
	}
	if err := f.FS.Delete(t.Context(), path); err != nil {
		t.Errorf("Delete = %v, want nil", err)
	}
	wantNames(t, f.FS, path)
}

func deleteTree(t *testing.T, f Fixture) {
	for _, name := range []string{"dir/a", "dir/sub/b", "dirt", "other/c"} {
		create(t, f.FS, filesystem.Join(f.Dir, name), name)
	}
	for range 2 {
		if err := f.FS.Delete(t.Context(), filesystem.Join(f.Dir, "dir")); err != nil {
			t.Fatal(err)
		}
		wantNames(t, f.FS, f.Dir, "dirt", "other")
		wantNames(t, f.FS, filesystem.Join(f.Dir, "dir/sub"))
	}
	if err := f.FS.Delete(t.Context(), filesystem.Join(f.Dir, "other/c")); err != nil {
		t.Fatal(err)
	}
	wantNames(t, f.FS, filesystem.Join(f.Dir, "other"))
}

func list(t *testing.T, f Fixture) {
	for _, name := range []string{"b", "a", "c/x", ".hidden", "a.tmp"} {
		create(t, f.FS, filesystem.Join(f.Dir, name), "")
	}
	wantNames(t, f.FS, f.Dir, ".hidden", "a", "a.tmp", "b", "c")
	if _, err := f.FS.List(t.Context(), filesystem.Join(f.Dir, "a")); err == nil {
		t.Error("List of a file succeeded")
	}
}

func endedContext(t *testing.T, f Fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filesystem.Join(f.Dir, "a")
	if err := f.FS.Create(ctx, path, strings.NewReader("")); !errors.Is(err, context.Canceled) {
		t.Errorf("Create = %v, want context.Canceled", err)
	}
	if _, err := f.FS.Open(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("Open = %v, want context.Canceled", err)
	}
	wantNames(t, f.FS, f.Dir)
	ctx, cancel = context.WithCancel(t.Context())
	during := filesystem.Content(func(w io.Writer) error { cancel(); _, err := w.Write([]byte("x")); return err })
	if err := f.FS.Create(ctx, path, during); !errors.Is(err, context.Canceled) {
		t.Errorf("Create = %v, want context.Canceled", err)
	}
	wantNames(t, f.FS, f.Dir)
}

func create(t *testing.T, fs filesystem.FileSystem, path, content string) {
	t.Helper()
	if err := fs.Create(t.Context(), path, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, fs filesystem.FileSystem, path string) string {
	t.Helper()
	r, err := fs.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func wantNames(t *testing.T, fs filesystem.FileSystem, dir string, want ...string) {
	t.Helper()
	got, err := fs.List(t.Context(), dir)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("List %s = %q, %v, want %q", dir, got, err, want)
	}
}

package filesystem

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLocalPath(t *testing.T) {
	for _, tc := range []struct{ uri, want string }{
		{"/a/b", "/a/b"},
		{"file:///a/b/", "/a/b"},
		{"file:/a//b", "/a/b"},
		{"FILE://localhost/a", "/a"},
		{"/a:b/c", "/a:b/c"},
		{"file:///a%20b", "/a%20b"},
		{"a/b", ""},
		{"file://host/a", ""},
		{"s3://bucket/a", ""},
		{"", ""},
	} {
		got, err := LocalPath(tc.uri)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("LocalPath(%q) = %q, %v, want %q", tc.uri, got, err, tc.want)
		}
	}
}

func TestResolver(t *testing.T) {
	r := Resolver{"file": NewMemory()}
	if err := r.Create(t.Context(), "file:///a", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if names, err := r.List(t.Context(), "/"); err != nil || len(names) != 1 {
		t.Errorf("List = %q, %v", names, err)
	}
	for _, uri := range []string{"s3://bucket/a", "hdfs://nn:8020/a"} {
		if _, err := For(uri); err == nil || !strings.Contains(err.Error(), "is not supported (supported: file)") {
			t.Errorf("For(%q) = %v", uri, err)
		}
		if _, err := r.Open(t.Context(), uri); err == nil {
			t.Errorf("Open(%q) succeeded", uri)
		}
	}
	if _, err := For("/plain"); err != nil {
		t.Error(err)
	}
}

func TestLocalHidesUnfinishedFiles(t *testing.T) {
	l, dir := &Local{named: true}, t.TempDir()
	seen := []string{"not asked"}
	content := Content(func(w io.Writer) error {
		seen, _ = l.List(t.Context(), dir)
		return nil
	})
	if err := l.Create(t.Context(), filepath.Join(dir, "a"), content); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 0 {
		t.Errorf("while the file was written, List returned %q", seen)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestLocalRenameRepairsHalfARename(t *testing.T) {
	l, dir := NewLocal(), t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := errors.Join(os.WriteFile(a, []byte("x"), 0o600), os.Link(a, b)); err != nil {
		t.Fatal(err)
	}
	if err := l.Rename(t.Context(), a, b); err != nil {
		t.Fatal(err)
	}
	if names, _ := l.List(t.Context(), dir); len(names) != 1 || names[0] != "b" {
		t.Errorf("left: %q", names)
	}
}

func TestMemoryCrash(t *testing.T) {
	m := NewMemory()
	ctx := t.Context()
	w, _ := m.OpenWriter(ctx, "/synced")
	_, _ = w.Write([]byte("kept"))
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte(" lost"))
	lost, _ := m.OpenWriter(ctx, "/lost")
	_, _ = lost.Write([]byte("x"))
	if err := m.Create(ctx, "/created", strings.NewReader("y")); err != nil {
		t.Fatal(err)
	}
	m.Crash()
	if got := strings.Join(m.Files(), " "); got != "/created /synced" {
		t.Errorf("left: %s", got)
	}
	if info, _ := m.Stat(ctx, "/synced"); info.Size != 4 {
		t.Errorf("size %d, want 4", info.Size)
	}
}

func TestMemoryHooks(t *testing.T) {
	m, boom := NewMemory(), errors.New("boom")
	create := func(path string) error { return m.Create(context.Background(), path, strings.NewReader("")) }
	m.Hook(FailNth(2, boom))
	if err := errors.Join(create("/1")); err != nil {
		t.Error(err)
	}
	if err := create("/2"); !errors.Is(err, boom) {
		t.Errorf("second operation = %v, want boom", err)
	}
	m.Hook(FailNth(1, Applied(boom)))
	if err := create("/3"); !errors.Is(err, boom) {
		t.Errorf("applied operation = %v, want boom", err)
	}
	m.Hook(nil)
	if got := strings.Join(m.Files(), " "); got != "/1 /3" {
		t.Errorf("files: %s", got)
	}
}

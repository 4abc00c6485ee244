package filesystem

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestDirectoriesOfOthersAreMadeDurable: the process that made a directory died before it synced its name. A file that
// is written into it must not be lost with it. Once is enough, as long as it is the same directory.
func TestDirectoriesOfOthersAreMadeDurable(t *testing.T) {
	root := t.TempDir()
	var synced []string
	l := NewLocal()
	l.directories.sync = func(dir string) error {
		if rel, err := filepath.Rel(root, dir); err == nil && filepath.IsLocal(rel) {
			synced = append(synced, rel)
		}
		return SyncDirectory(dir)
	}
	number := 0
	write := func(dir string, want ...string) {
		t.Helper()
		synced = nil
		number++
		file := filepath.Join(root, dir, string(rune('a'+number)))
		if err := l.Create(t.Context(), file, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(synced, want) {
			t.Errorf("writing %s made the names in %q durable, want %q", file, synced, want)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "job/chk-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	write("job/chk-1", ".", "job")
	write("job/chk-1")
	write("job/chk-2", "job") // made by this one
	write("job")
	// Other processes have taken the directory away and made it again.
	if err := errors.Join(os.Rename(filepath.Join(root, "job/chk-1"), filepath.Join(root, "job/old")),
		os.Mkdir(filepath.Join(root, "job/chk-1"), 0o755)); err != nil {
		t.Fatal(err)
	}
	write("job/chk-1", "job")
}

func TestWhatIsRememberedOfDirectoriesIsBounded(t *testing.T) {
	root, d := t.TempDir(), &directories{sync: func(string) error { return nil }}
	for i := range keptDirectories + 10 {
		if err := d.make(filepath.Join(root, strings.Repeat("x", i%200+1), strings.Repeat("y", i/200+1))); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(d.durable); n > keptDirectories {
		t.Errorf("%d directories are remembered, the most is %d", n, keptDirectories)
	}
}

// TestDirectoriesThatCannotBeSynced: above its home a user may sync nothing, and need not.
func TestDirectoriesThatCannotBeSynced(t *testing.T) {
	for _, tc := range []struct {
		name     string
		sync     error
		existing bool
		want     error
	}{
		{"somebody else's", fs.ErrPermission, true, nil},
		{"read-only", syscall.EROFS, true, nil},
		{"a broken disk", syscall.EIO, true, syscall.EIO},
		{"below one that was made", fs.ErrPermission, false, fs.ErrPermission},
	} {
		l, dir := NewLocal(), filepath.Join(t.TempDir(), "dir")
		l.directories.sync = func(string) error { return tc.sync }
		if tc.existing {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := l.OpenWriter(t.Context(), filepath.Join(dir, "f")); !errors.Is(err, tc.want) {
			t.Errorf("%s: OpenWriter = %v, want %v", tc.name, err, tc.want)
		}
	}
}

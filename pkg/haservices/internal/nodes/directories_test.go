package nodes

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
)

// syncs records which directories of a tree are synced, relative to its root.
func syncs(t *testing.T, tree *Tree) (synced func() []string) {
	var list []string
	tree.directories.sync = func(dir string) error {
		rel, err := filepath.Rel(tree.root, dir)
		if err != nil {
			t.Error(err)
		}
		if filepath.IsLocal(rel) {
			list = append(list, rel)
		}
		return filesystem.SyncDirectory(dir)
	}
	return func() []string {
		slices.Sort(list)
		now := slices.Compact(list)
		list = nil
		return now
	}
}

// age makes the directories of a tree seem to be at rest.
func age(t *testing.T, tree *Tree) {
	t.Helper()
	long := time.Now().Add(-time.Hour)
	err := filepath.WalkDir(tree.root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chtimes(path, long, long)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDirectoriesOfOthersAreMadeDurable: the process that made the directories of a node died before it synced
// them. A node that is written into them must not be lost with them. Once is enough, until something changes.
func TestDirectoriesOfOthersAreMadeDurable(t *testing.T) {
	tree := newTree(t, t.TempDir())
	synced := syncs(t, tree)
	if err := os.MkdirAll(tree.File("jobs/a/checkpoints"), 0o755); err != nil {
		t.Fatal(err)
	}
	age(t, tree)
	put := func(path string, want ...string) {
		t.Helper()
		if err := tree.Apply(haservices.Write{Operation: haservices.Put, Path: path, Data: []byte(time.Now().String())}); err != nil {
			t.Fatal(err)
		}
		if got := synced(); !slices.Equal(got, want) {
			t.Errorf("writing %s synced the names in %q, want %q", path, got, want)
		}
	}
	put("jobs/a/checkpoints/1", ".", "jobs", "jobs/a")
	put("jobs/a/checkpoints/2")
	put("jobs/a/executions") // its own directory is synced with every write
	put("jobs/a/checkpoints/3", "jobs/a")
	// Somebody else has made a directory meanwhile, perhaps this one again.
	if err := os.MkdirAll(tree.File("jobs/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	put("jobs/a/executions", "jobs")
	put("jobs/b/executions", "jobs") // too young to be sure
	put("x")
}

// TestAnUnsyncedDirectoryFailsTheWrite: nothing is promised in a directory that may be lost.
func TestAnUnsyncedDirectoryFailsTheWrite(t *testing.T) {
	tree := newTree(t, t.TempDir())
	broken := errors.New("disk is full")
	tree.directories.sync = func(string) error { return broken }
	write := haservices.Write{Operation: haservices.Put, Path: "jobs/a/executions", Data: []byte("1")}
	if err := tree.Apply(write); !errors.Is(err, broken) || !errors.Is(err, haservices.ErrUnavailable) {
		t.Errorf("Apply = %v, want ErrUnavailable", err)
	}
	tree.directories.sync = filesystem.SyncDirectory
	if err := tree.Apply(write); err != nil {
		t.Errorf("Apply when the disk is well = %v", err)
	}
}

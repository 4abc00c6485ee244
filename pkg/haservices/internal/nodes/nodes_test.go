package nodes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/tamias-project/tamias/pkg/haservices"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTree(t *testing.T, root string) *Tree {
	t.Helper()
	tree, err := NewTree(root)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestLeftovers: what a process that ended left half done is removed, what another one works on is not.
func TestLeftovers(t *testing.T) {
	root := t.TempDir()
	temporary := filepath.Dir(newTree(t, root).temporary())
	ended := Self()
	ended.StartTime++
	name := func(p Process) string { return fmt.Sprintf("%d-%d-%s-1", p.PID, p.StartTime, p.Namespace) }
	kept := []string{name(Process{PID: 1, StartTime: 1, Namespace: "elsewhere"}), name(Self()), "notes"}
	for _, file := range append(kept, name(ended)) {
		if err := os.MkdirAll(filepath.Join(temporary, file, "below"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	newTree(t, root)
	left, err := os.ReadDir(temporary)
	if err != nil || len(left) != len(kept) {
		t.Errorf("left are %v, %v, want %q", left, err, kept)
	}
}

// In /proc a directory cannot be made, and the error is the same as when its parent is missing.
func TestATreeWhereNoneCanBe(t *testing.T) {
	if _, err := NewTree("/proc/tamias/nodes"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("NewTree below /proc: %v, want %v", err, fs.ErrNotExist)
	}
}

func TestTreeRefusesPathsThatLeaveIt(t *testing.T) {
	tree := newTree(t, t.TempDir())
	for _, path := range []string{"", ".", "..", "../x", "/etc/passwd", "a/../../x", temporaryDir + "/x"} {
		if err := tree.Apply(haservices.Write{Operation: haservices.Put, Path: path}); err == nil {
			t.Errorf("Put %q succeeded", path)
		}
		if _, err := tree.Read(path); err == nil || errors.Is(err, haservices.ErrNotFound) {
			t.Errorf("Read %q = %v, want a refusal", path, err)
		}
	}
}

// TestReadersSeeWholeNodes replaces and deletes nodes while others read them.
func TestReadersSeeWholeNodes(t *testing.T) {
	tree := newTree(t, t.TempDir())
	contents := []string{string(make([]byte, 10)), string(make([]byte, 5000)), string(make([]byte, 100000))}
	stop, reads := make(chan struct{}), 0
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			n, err := tree.Read("jobs/a/executions")
			if l := len(n.Data); err == nil && l != 10 && l != 5000 && l != 100000 {
				t.Errorf("read %d bytes, which nobody wrote", l)
			}
			if err != nil && !errors.Is(err, haservices.ErrNotFound) {
				t.Error(err)
			}
			reads++
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for i := range 60 {
		w := haservices.Write{Operation: haservices.Put, Path: "jobs/a/executions", Data: []byte(contents[i%3])}
		if i%7 == 6 {
			w = haservices.Write{Operation: haservices.Delete, Path: "jobs/a", Version: haservices.AnyVersion}
		}
		if err := tree.Apply(w); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	if left, _ := os.ReadDir(filepath.Join(tree.root, temporaryDir)); len(left) != 0 {
		t.Errorf("left over are %v", left)
	}
}

func TestTreeAndMemoryAgree(t *testing.T) {
	memory, tree := NewMemory(), newTree(t, t.TempDir())
	for _, w := range []haservices.Write{
		{Operation: haservices.Create, Path: "a/b", Data: []byte("1")},
		{Operation: haservices.Create, Path: "a/b", Data: []byte("1")},
		{Operation: haservices.Create, Path: "a/b", Data: []byte("2")},
		{Operation: haservices.Set, Path: "a/c", Data: []byte("1"), Version: haservices.AnyVersion},
		{Operation: haservices.Set, Path: "a/b", Data: []byte("2"), Version: haservices.AnyVersion},
		{Operation: haservices.Set, Path: "a/b", Data: []byte("3"), Version: 12345},
		{Operation: haservices.Delete, Path: "a/b", Version: 12345},
		{Operation: haservices.Put, Path: "a/d/e", Data: nil},
		{Operation: haservices.Delete, Path: "a/d", Version: haservices.AnyVersion},
		{Operation: haservices.Delete, Path: "x/y", Version: haservices.AnyVersion},
	} {
		inMemory, inTree := memory.Apply(w), tree.Apply(w)
		if !errors.Is(inTree, inMemory) {
			t.Errorf("operation %d of %s: memory says %v, the tree %v", w.Operation, w.Path, inMemory, inTree)
		}
	}
	if n, err := tree.Read("a/b"); err != nil || string(n.Data) != "2" {
		t.Errorf("a/b holds %q, %v, want 2", n.Data, err)
	}
}

package entrypoint

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Processes that stop at the same time remove their own directories and look for those of dead ones: each
// finds the others half removed.
func TestWorkingDirectoriesEndTogether(t *testing.T) {
	parent := t.TempDir()
	for range 100 {
		dead, err := newWorkingDirectory([]string{parent}, "p-")
		if err != nil {
			t.Fatal(err)
		}
		dead.lock.Close() // as when the process is killed
		var stopping sync.WaitGroup
		for range 4 {
			d, err := newWorkingDirectory([]string{parent}, "p-")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(d.path, "file"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			stopping.Go(func() {
				if err := d.remove(); err != nil {
					t.Error(err)
				}
			})
		}
		stopping.Wait()
		if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
			t.Fatalf("left: %v, %v", left, err)
		}
	}
}

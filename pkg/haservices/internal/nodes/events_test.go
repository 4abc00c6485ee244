package nodes

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// TestSubscribedAgainAtOnce: who begins to watch a directory while the last one who did is leaving is woken too.
func TestSubscribedAgainAtOnce(t *testing.T) {
	e, root := NewEvents(zap.NewNop()), t.TempDir()
	defer e.Close()
	deep := filepath.Join(root, strings.Repeat("d/", 30)) // so that leaving takes a moment
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		leaving := e.Follow(root, filepath.Join(deep, "file"))
		leaving.Refresh()
		left := make(chan struct{})
		go func() {
			defer close(left)
			leaving.Cancel()
		}()
		for watched := true; watched; { // busily: it lasts microseconds
			runtime.Gosched()
			e.mu.Lock()
			watched = e.watching[root] > 0
			e.mu.Unlock()
		}
		s := e.Subscribe(root)
		s.Refresh()
		<-left
		if err := os.WriteFile(filepath.Join(root, fmt.Sprint(i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		select {
		case <-s.Wake:
		case <-time.After(30 * time.Second):
			t.Fatalf("not woken by file %d", i)
		}
		s.Cancel()
	}
}

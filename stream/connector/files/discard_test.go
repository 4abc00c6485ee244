package files_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/stream"
	"github.com/tamias-project/tamias/stream/connector/files"
)

// TestNothingHiddenIsLeft: a job that is interrupted, or fails for good, leaves no temporary file, and each
// visible file is one that a completed checkpoint covers.
func TestNothingHiddenIsLeft(t *testing.T) {
	for _, tc := range []struct {
		name    string
		restart stream.RestartStrategy
		fails   bool
		want    error
	}{
		{"interrupted", stream.NoRestart(), false, stream.ErrCanceled},
		{"failed", stream.NoRestart(), true, nil},
		{"interrupted before the restart", stream.FixedDelay(1, time.Hour), true, stream.ErrCanceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			var failing atomic.Bool
			env := stream.New(stream.WithParallelism(2), stream.WithCheckpoints(20*time.Millisecond),
				stream.WithRestart(tc.restart), stream.WithLogger(zap.NewNop()), stream.WithCheckpointDir(t.TempDir()))
			lines := stream.From(env, "lines", stream.Generate(1<<40, 20_000, func(int64) string {
				if failing.Load() {
					panic("no more")
				}
				return "line"
			}))
			stream.To(lines, "files", files.Sink(dir, files.Line))
			ended := make(chan error, 1) // room for the one result
			go func() { ended <- env.Execute(ctx, tc.name) }()
			await(t, func() bool { shown, hidden := list(t, dir); return shown > 0 && hidden > 0 })
			failing.Store(tc.fails)
			if tc.want != nil {
				cancel()
			}
			err := <-ended
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) || tc.want == nil && !strings.Contains(err.Error(), "no more") {
				t.Errorf("Execute = %v", err)
			}
			if shown, hidden := list(t, dir); shown == 0 || hidden > 0 {
				t.Errorf("%d files and %d hidden ones are left", shown, hidden)
			}
		})
	}
}

func list(t *testing.T, dir string) (shown, hidden int) {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasPrefix(filepath.Base(n.Name()), ".") {
			hidden++
		} else {
			shown++
		}
	}
	return shown, hidden
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("nothing visible after a minute")
		}
	}
}

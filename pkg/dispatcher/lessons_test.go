package dispatcher

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// Each deletion of the clean-up, of a node or of a file, fails twice, also when it was carried out. It is tried
// again until nothing is left, and the process goes on.
func TestEveryDeletionMayFailTwice(t *testing.T) {
	var mu sync.Mutex // guards failed
	failed := map[string]int{}
	fails := func(what string) bool {
		mu.Lock()
		defer mu.Unlock()
		failed[what]++
		return failed[what] <= 2
	}
	outcome := func(c embedded.Call) embedded.Outcome {
		if c.Operation != "delete" || !fails("node "+c.Path) {
			return embedded.Answered
		}
		return embedded.LoseAnswer
	}
	inBubble(t, embedded.Config{Faults: embedded.Faults{Outcome: outcome}}, func(t *testing.T, w *world) {
		w.files.Hook(func(op filesystem.Operation) error {
			if op.Name == "Delete" && fails("file "+op.Path) {
				return filesystem.Applied(errors.New("storage hiccup"))
			}
			return nil
		})
		w.start("a")
		g := w.submitted("numbers")
		w.jobs.finish(g.ID, protocol.JobFinished)
		settle(time.Hour)
		if left := w.leftovers(); len(left) != 0 {
			t.Errorf("left behind %v after failures of %v", left, failed)
		}
		if len(failed) < 6 {
			t.Errorf("only %v failed: the test did not test", failed)
		}
		for what, n := range failed {
			if n > 10 {
				t.Errorf("%s was deleted %d times: the clean-up does not get on", what, n)
			}
		}
		other := graphOf("the next one")
		w.upload(&other)
		if err := w.submit(other); err != nil {
			t.Errorf("SubmitJob after the clean-up = %v", err)
		}
	})
}

// Another cluster leads on the storage directory already. This one neither leads nor touches anything.
func TestADispatcherLeavesForeignFilesAlone(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		a := w.start("a")
		g := w.submitted("numbers")
		a.kill()
		before := w.files.Files()
		foreign := newWorld(t, embedded.Config{})
		foreign.files = w.files
		foreign.start("a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := foreign.leader(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second cluster leads: %v", err)
		}
		if after := w.files.Files(); !slices.Equal(after, before) {
			t.Errorf("files are %v, were %v", after, before)
		}
		w.start("b")
		if d := w.details(g.ID); d.Overview.State != protocol.JobRunning {
			t.Errorf("the job of the first cluster is %s, want RUNNING", d.Overview.State)
		}
	})
}

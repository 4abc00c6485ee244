package dispatcher

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// A submission was refused; its mended graph comes under the same ID while the upload of the first is still being
// removed. If it is accepted, its binary stays.
func TestARefusedUploadIsRemovedBeforeTheNextTry(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		w.slow = make(chan struct{})
		w.start("a")
		mended := graphOf("numbers")
		w.upload(&mended)
		broken := mended
		broken.Edges = nil
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- w.submit(broken) }()
		settle(100 * time.Millisecond)
		go func() { second <- w.submit(mended) }()
		settle(100 * time.Millisecond)
		close(w.slow)
		settle(time.Second)
		if err := <-first; !errors.Is(err, protocol.ErrInvalidJob) {
			t.Errorf("SubmitJob of a broken graph = %v, want %v", err, protocol.ErrInvalidJob)
		}
		if err := <-second; err != nil && !errors.Is(err, protocol.ErrJobConflict) && !errors.Is(err, protocol.ErrInvalidJob) {
			t.Errorf("SubmitJob of the mended graph = %v", err)
		}
		w.checkPointers()
		w.upload(&mended)
		if err := w.submit(mended); err != nil {
			t.Errorf("SubmitJob of the mended graph, again = %v", err)
		}
		w.checkPointers()
	})
}

// A client that missed the answer to its submission uploads once more. Meanwhile the job has ended, and the clean-up
// has passed by the uploads.
func TestUploadForAJobThatIsBeingCleanedUp(t *testing.T) {
	var full atomic.Bool // no result can be marked clean
	outcome := func(c embedded.Call) embedded.Outcome {
		if full.Load() && c.Operation == "set" && strings.HasPrefix(c.Path, "job-results/") {
			return embedded.Refuse
		}
		return embedded.Answered
	}
	inBubble(t, embedded.Config{Faults: embedded.Faults{Outcome: outcome}}, func(t *testing.T, w *world) {
		w.start("a")
		g := w.submitted("numbers")
		settle(time.Second)
		full.Store(true)
		w.jobs.finish(g.ID, protocol.JobFinished)
		settle(10 * time.Second)
		w.upload(&g)
		if err := w.submit(g); err != nil {
			t.Errorf("SubmitJob again = %v", err)
		}
		settle(time.Second)
		full.Store(false)
		settle(time.Minute)
		if left := w.leftovers(); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// A leader died in the middle of the clean-up, after the job graph had gone, and the file of the result is lost.
// What its node says is enough to release the job's TaskManagers, and no other job's.
func TestReleaseWithoutAJobGraph(t *testing.T) {
	c := &crash{at: 3, effect: embedded.LoseAnswer} // the result's file and node, then the job graph's node
	inBubble(t, embedded.Config{Faults: embedded.Faults{Outcome: c.outcome}}, func(t *testing.T, w *world) {
		a := w.start("a")
		g := w.submitted("numbers")
		settle(time.Second)
		c.armed.Store(true)
		w.jobs.finish(g.ID, protocol.JobFinished)
		settle(time.Second)
		a.kill()
		for _, file := range w.files.Files() {
			if strings.Contains(file, "/job-results/") {
				if err := w.files.Delete(t.Context(), file); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.start("b")
		settle(time.Second)
		released := func(job id.Job) (n int) {
			w.jobs.with(job, func(f *fakeJob) { n = f.released })
			return n
		}
		if got := released(g.ID); got != 1 {
			t.Errorf("the job was released %d times, want once", got)
		}
		if got := released(id.Job{}); got != 0 {
			t.Errorf("a job without ID was released %d times", got)
		}
	})
}

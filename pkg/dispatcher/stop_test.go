package dispatcher

import (
	"context"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// deafMaster is told that its job has ended, and tells TaskManagers that do not answer.
type deafMaster struct{ *fakeMaster }

func (m deafMaster) Run(ctx context.Context) error {
	if err := m.fakeMaster.Run(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (m deafMaster) Release(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// A cluster is stopped right after its last job, and the TaskManagers are gone before they could be told. Nothing of
// the job stays all the same.
func TestStoppedWhileNobodyCanBeTold(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		a := w.start("a", func(c *Config) {
			c.NewJobMaster = func(job haservices.StoredJob, conclude func(context.Context, protocol.JobDetails) error) JobMaster {
				return deafMaster{&fakeMaster{jobs: w.jobs, process: "a", job: job, conclude: conclude}}
			}
		})
		g := w.submitted("numbers")
		settle(time.Second)
		w.jobs.finish(g.ID, protocol.JobFinished)
		settle(time.Second)
		a.terminate()
		if left := w.leftovers(); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

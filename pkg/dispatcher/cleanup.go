package dispatcher

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// releaseAttempts bounds how often TaskManagers are told that a job of an earlier leader has ended. Who
// does not hear it lets go after taskmanager.job.orphan-timeout.
const releaseAttempts = 5

// releaseGrace and cleanupGrace are how long a process that is told to stop goes on to tell TaskManagers that a job has
// ended, and with the clean-up of jobs that have ended. What is not done then the next leader does; but there may be
// none. TaskManagers that are gone too must not take the time of the clean-up.
const (
	releaseGrace = time.Second
	cleanupGrace = 2 * time.Second
)

// linger returns a context for what is done behind a job. When leadership is lost it ends at once, as ctx does; when
// the process stops, or has stopped before, it ends that much later, so that a cluster that is stopped right after its
// last job leaves nothing of it. Call done in the end.
func linger(ctx context.Context, grace time.Duration) (last context.Context, done func()) {
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), context.Canceled) && !sleep(last, grace) {
			return // done in time
		}
		cancel()
	})
	return last, func() { stop(); cancel() }
}

// release tells the TaskManagers of an ended job to let go of it.
func (t *term) release(ctx context.Context, j *job) {
	ctx, done := linger(ctx, releaseGrace)
	defer done()
	t.retry(ctx, "release task managers", j, releaseAttempts, t.newMaster(j).Release)
}

// cleanUp removes everything that belonged to the running job, and then marks its result clean. Pointers
// go before the data that they point to, and each step may be repeated, so a crash anywhere leaves
// something that the next leader's clean-up finishes.
func (t *term) cleanUp(ctx context.Context, j *job) {
	ctx, done := linger(ctx, cleanupGrace)
	defer done()
	began := time.Now()
	services := t.cfg.Services
	remove := services.CleanupJob
	if t.retains(ctx, j) {
		remove = services.CleanupJobKeepingCheckpoints
	}
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"remove job graph", func(ctx context.Context) error { return t.graphs.Delete(ctx, t.token, j.id) }},
		{"remove job data", func(ctx context.Context) error { return remove(ctx, t.cfg.Election, t.token, j.id) }},
		{"mark result clean", func(ctx context.Context) error { return t.markClean(ctx, j.id) }},
	}
	for _, step := range steps {
		if !t.retry(ctx, step.name, j, t.cfg.CleanupAttempts, step.do) {
			return // stays dirty: the next term begins anew
		}
	}
	t.log.Info("job cleaned up", logging.Job(j.id), logging.Took(time.Since(began)))
	var uploaded bool
	t.do(ctx, func() { j.dirty, uploaded = false, j.uploaded })
	if uploaded {
		t.dropUpload(ctx, j.id)
	}
	t.dropResults(ctx)
}

// markClean ends a clean-up. A result that someone has removed by hand needs no mark.
func (t *term) markClean(ctx context.Context, job id.Job) error {
	err := t.results.MarkClean(ctx, t.token, job)
	if errors.Is(err, haservices.ErrNotFound) {
		return nil
	}
	return err
}

// retains reports whether the job's checkpoints outlive it.
func (t *term) retains(ctx context.Context, j *job) (keep bool) {
	t.do(ctx, func() { keep = retained(j.stored.Graph.Checkpointing.Retention, j.overview.State) })
	return keep
}

func retained(r jobgraph.Retention, state protocol.JobState) bool {
	return state != protocol.JobFinished && r.Keeps(state == protocol.JobFailed)
}

// retry repeats f until it succeeds (true), the term ends, or attempts are used up (0 = endless).
func (t *term) retry(ctx context.Context, what string, j *job, attempts int, f func(context.Context) error) bool {
	pause := newBackoff(t.cfg.CleanupInitialBackoff, t.cfg.CleanupMaxBackoff)
	for n := 1; ; n++ {
		err := f(ctx)
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case errors.Is(err, haservices.ErrNotLeader):
			t.end(err)
			return false
		case n == attempts:
			t.log.Error("clean-up step given up", zap.String("step", what), logging.Job(j.id), zap.Error(err))
			return false
		}
		delay := pause.next()
		t.log.Warn("clean-up step failed", zap.String("step", what), logging.Job(j.id), zap.Error(err), logging.RetryIn(delay))
		if !sleep(ctx, delay) {
			return false
		}
	}
}

// dropResults removes the oldest results beyond the capacity, and those that have expired. Dirty ones
// stay: they still keep their job from running.
func (t *term) dropResults(ctx context.Context) {
	var drop []*job
	t.do(ctx, func() {
		var clean []*job
		for _, j := range t.jobs {
			if j.phase == ended && !j.dirty {
				clean = append(clean, j)
			}
		}
		slices.SortFunc(clean, func(a, b *job) int { return b.overview.End.Compare(a.overview.End) }) // newest first
		for i, j := range clean {
			expired := t.cfg.ResultExpiration > 0 && time.Since(j.overview.End) > t.cfg.ResultExpiration
			if i >= t.cfg.ResultCapacity || expired {
				drop = append(drop, j)
			}
		}
	})
	for _, j := range drop {
		if !t.retry(ctx, "drop old result", j, t.cfg.CleanupAttempts, func(ctx context.Context) error {
			return t.results.Delete(ctx, t.token, j.id)
		}) {
			return
		}
		t.do(ctx, func() {
			if t.jobs[j.id] == j {
				delete(t.jobs, j.id)
			}
		})
	}
}

// expireResults drops old results, those that grow too old during the term too.
func (t *term) expireResults(ctx context.Context) {
	t.dropResults(ctx)
	for t.cfg.ResultExpiration > 0 && sleep(ctx, min(t.cfg.ResultExpiration, time.Minute)) {
		t.dropResults(ctx)
	}
}

// sweep deletes files that earlier leaders wrote and did not live to point to.
func (t *term) sweep(ctx context.Context) {
	if err := t.cfg.Services.Sweep(ctx, t.cfg.Election, t.token); err != nil && ctx.Err() == nil {
		t.log.Warn("orphaned files could not be swept; the next leader tries again", zap.Error(err))
	}
}

// dropUpload removes the binary of a submission that was refused, and whose job does not exist here.
func (t *term) dropUpload(ctx context.Context, job id.Job) {
	if err := t.blobs.DeleteJob(ctx, job); err != nil {
		t.log.Warn("binary of a refused job could not be removed", logging.Job(job), zap.Error(err))
	}
}

// backoff doubles from first to last.
type backoff struct{ delay, last time.Duration }

func newBackoff(first, last time.Duration) *backoff { return &backoff{first, last} }

func (b *backoff) next() time.Duration {
	delay := b.delay
	b.delay = min(2*b.delay, b.last)
	return delay
}

// sleep waits for d; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

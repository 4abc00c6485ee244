package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

type phase int

const (
	// submitting: being checked and stored.
	submitting phase = iota
	// running: has a JobMaster.
	running
	// ended: has a stored result.
	ended
	// quarantined: stored, but could not be read.
	quarantined
)

// job is what a term knows of one job.
type job struct {
	id id.Job
	// stored is the job as in the job graph store; of an ended job found at the beginning of the term it is
	// what the result says. Not changed while running.
	stored    haservices.StoredJob
	recovered bool // found at the beginning of the term
	// admitted is closed when submitting is over; refusal is set by then.
	admitted chan struct{}
	refusal  error

	// Owned by the main thread.
	phase    phase
	master   JobMaster            // while running
	overview protocol.JobOverview // when ended
	dirty    bool                 // when ended: not cleaned up yet
	uploaded bool                 // when dirty: its binary has come once more
	cause    error                // why it is quarantined, or why its JobMaster failed
}

// endedJob is a job that ended under an earlier leader.
func endedJob(r haservices.JobResult) *job {
	o := r.Details.Overview
	return &job{
		id: o.ID, phase: ended, overview: o, dirty: r.Dirty,
		stored: haservices.StoredJob{Graph: r.Details.Graph, Submitted: o.Start},
	}
}

// launch gives j a JobMaster and runs it. On the main thread.
func (t *term) launch(ctx context.Context, j *job) {
	j.phase, j.cause = running, nil
	j.master = t.newMaster(j)
	master := j.master
	t.start(func() { t.runJob(ctx, j, master) })
}

func (t *term) newMaster(j *job) JobMaster {
	stored := j.stored
	stored.Graph.ID = j.id // all that is known of a job whose result has lost its details
	return t.cfg.NewJobMaster(stored, func(ctx context.Context, d protocol.JobDetails) error {
		return t.conclude(ctx, j, d)
	})
}

// runJob runs a job to its end and cleans up. A JobMaster that fails without an end of the job is
// replaced by a new one after a pause: its tasks run on meanwhile. One that hears nobody ends the term, so that
// another process may try.
func (t *term) runJob(ctx context.Context, j *job, master JobMaster) {
	pause := newBackoff(time.Second, time.Minute)
	for {
		err := master.Run(ctx)
		var concluded bool
		t.do(ctx, func() { concluded = j.phase == ended })
		if concluded {
			if err != nil && ctx.Err() == nil {
				t.log.Warn("job ended, but its job master could not finish", logging.Job(j.id), zap.Error(err))
			}
			t.finish(ctx, j, err == nil && ctx.Err() == nil)
			return
		}
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, rpc.ErrCutOff) {
			t.end(err)
			return
		}
		if err == nil {
			err = errors.New("job master returned before the job had ended")
		}
		delay := pause.next()
		t.log.Error("job master failed; the job's tasks are left alone", logging.Job(j.id), zap.Error(err), logging.RetryIn(delay))
		t.do(ctx, func() { j.cause = err })
		if !sleep(ctx, delay) {
			return
		}
		t.do(ctx, func() {
			master = t.newMaster(j)
			j.master = master
		})
	}
}

// finish cleans up behind a job whose result is stored. told says that its TaskManagers know that it has
// ended.
func (t *term) finish(ctx context.Context, j *job, told bool) {
	if !told {
		t.release(ctx, j)
	}
	t.cleanUp(ctx, j)
}

// conclude stores how a job ended. From then on the job never runs again.
func (t *term) conclude(ctx context.Context, j *job, d protocol.JobDetails) error {
	if !d.Overview.State.Terminal() {
		return fmt.Errorf("conclude job %s: %s is not an end", j.id, d.Overview.State)
	}
	d.Overview.ID, d.Graph = j.id, j.stored.Graph
	if d.Overview.End.IsZero() {
		d.Overview.End = time.Now()
	}
	err := t.results.PutDirty(ctx, t.token, haservices.JobResult{Details: d, Dirty: true})
	if errors.Is(err, haservices.ErrExists) {
		// An earlier call stored its result although its answer got lost; that one stands.
		var earlier haservices.JobResult
		if earlier, err = t.results.Get(ctx, j.id); err == nil {
			d = earlier.Details
		}
	}
	if err != nil {
		return fmt.Errorf("store result of job %s: %w", j.id, err)
	}
	// The result counts also when the caller has left; only a JobMaster that outlives its term hears an error.
	if err := rpc.Do(context.WithoutCancel(ctx), t.main, func() {
		j.phase, j.overview, j.dirty = ended, d.Overview, true
	}); err != nil {
		return fmt.Errorf("conclude job %s: %w", j.id, err)
	}
	t.log.Info("job ended", logging.Job(j.id), zap.String("state", string(d.Overview.State)))
	return nil
}

// readAgain tries to read a quarantined job until that works: storage may only have been away.
func (t *term) readAgain(ctx context.Context, j *job) {
	pause := newBackoff(time.Second, time.Minute)
	for sleep(ctx, pause.next()) {
		again, err := t.read(ctx, j.id, true)
		switch {
		case errors.Is(err, haservices.ErrNotLeader):
			t.end(err)
			return
		case err != nil:
			return // ctx has ended
		case again == nil:
			t.log.Info("unreadable job was removed", logging.Job(j.id))
			t.do(ctx, func() { delete(t.jobs, j.id) })
			return
		case again.phase != quarantined:
			t.log.Info("job could be read at last", logging.Job(j.id))
			t.do(ctx, func() { t.takeUp(ctx, again) })
			return
		}
	}
}

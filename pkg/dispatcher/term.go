package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// concurrentReads bounds how many stored jobs are read at a time when a term begins.
const concurrentReads = 16

// term is the state of one leadership.
type term struct {
	cfg     Config
	token   id.FencingToken
	graphs  *haservices.JobGraphStore
	results *haservices.JobResultStore
	blobs   *haservices.BlobStore
	log     *zap.Logger
	main    *rpc.MainThread
	work    sync.WaitGroup // what start started
	// end gives up the term, because a store says that it is over.
	end context.CancelCauseFunc

	// Owned by the main thread.
	fence  rpc.LeaderFence
	ready  bool // recovery is done
	closed bool // nothing is started any more
	jobs   map[id.Job]*job
	// leaders is nil until the stored history has been read.
	leaders  *leadership
	adoption adoption
}

func newTerm(cfg Config, token id.FencingToken) *term {
	t := &term{
		cfg:     cfg,
		token:   token,
		graphs:  cfg.Services.JobGraphs(cfg.Election),
		results: cfg.Services.JobResults(cfg.Election),
		blobs:   cfg.Services.Blobs(),
		log:     cfg.Log.With(logging.Token(token)),
		main:    rpc.NewMainThread(),
		jobs:    map[id.Job]*job{},
	}
	t.fence.Grant(token)
	return t
}

// run is the term from its first line to its last.
func (t *term) run(ctx context.Context) error {
	// The main thread outlives ctx: JobMasters that are ending still come back to it.
	mainCtx, stopMain := context.WithCancel(context.WithoutCancel(ctx))
	var mainThread sync.WaitGroup
	mainThread.Go(func() { t.main.Run(mainCtx) }) // always nil: it ends with its ctx
	defer mainThread.Wait()
	defer stopMain()

	ctx, t.end = context.WithCancelCause(ctx)
	defer t.close(mainCtx)
	defer t.end(nil)

	endpoint := t.endpoint(ctx)
	t.cfg.RPC.Add(endpoint)
	defer t.cfg.RPC.Remove(endpoint)
	if err := t.recover(ctx); err != nil {
		return fmt.Errorf("recover jobs: %w", err)
	}
	t.cfg.Election.StoresRead(t.token)
	address := t.cfg.RPC.Address(protocol.DispatcherEndpoint)
	if err := t.cfg.Election.Confirm(ctx, t.token, address); err != nil {
		return fmt.Errorf("confirm leadership: %w", err)
	}
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// start runs f until the term ends at the latest. Called on the main thread.
func (t *term) start(f func()) {
	if !t.closed {
		t.work.Go(f)
	}
}

// close waits until nothing acts for the term any more. Its context has ended.
func (t *term) close(ctx context.Context) {
	if err := rpc.Do(ctx, t.main, func() { t.closed = true }); err != nil {
		panic(fmt.Sprintf("dispatcher: main thread ended before its term: %v", err))
	}
	t.work.Wait()
}

// do runs f on the main thread, whatever becomes of ctx.
func (t *term) do(ctx context.Context, f func()) {
	if err := rpc.Do(context.WithoutCancel(ctx), t.main, f); err != nil {
		panic(fmt.Sprintf("dispatcher: main thread ended before its term: %v", err))
	}
}

// recover reads what earlier leaders left, and starts what has to go on. A job that has a result must not run.
func (t *term) recover(ctx context.Context) error {
	began := time.Now()
	var results []haservices.JobResult
	var damaged error // some results
	var stored []id.Job
	lists, listing := errgroup.WithContext(ctx)
	lists.Go(func() error { return t.cfg.Services.ClaimStorage(listing, t.cfg.Election, t.token) })
	lists.Go(func() (err error) {
		results, err = t.results.List(listing)
		if errors.Is(err, haservices.ErrUnreadable) {
			damaged, err = err, nil
		}
		return err
	})
	lists.Go(func() (err error) {
		stored, err = t.graphs.List(listing)
		return err
	})
	if err := lists.Wait(); err != nil {
		return err
	}
	if damaged != nil {
		t.log.Error("stored results of jobs cannot be read; stored jobs that may have ended do not run", zap.Error(damaged))
	}
	ended := map[id.Job]bool{}
	var found []*job
	for _, r := range results {
		j := endedJob(r)
		if r.Dirty && j.stored.Graph.ID.IsZero() { // the result lost its details: the job itself may still be there
			if stored, err := t.graphs.Get(ctx, j.id); err == nil {
				j.stored = stored
			}
		}
		ended[j.id] = true
		found = append(found, j)
	}
	var foundMu sync.Mutex // guards found
	g, reading := errgroup.WithContext(ctx)
	g.SetLimit(concurrentReads)
	for _, jobID := range stored {
		if ended[jobID] {
			continue
		}
		g.Go(func() error {
			j, err := t.read(reading, jobID, damaged != nil)
			if err != nil || j == nil {
				return err
			}
			foundMu.Lock()
			defer foundMu.Unlock()
			found = append(found, j)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	t.do(ctx, func() { t.resume(ctx, found, began) })
	return nil
}

// read reads one stored job: nil if it is gone, quarantined if it cannot be read. An error is not about
// the job. With damagedResults the job may have a result, which is looked at once more, and must not run then.
func (t *term) read(ctx context.Context, jobID id.Job, damagedResults bool) (*job, error) {
	stored, err := t.graphs.Get(ctx, jobID)
	if err == nil && damagedResults {
		result, errResult := t.results.Get(ctx, jobID)
		if errResult == nil {
			j := endedJob(result)
			j.stored = stored
			return j, nil
		}
		if !errors.Is(errResult, haservices.ErrNotFound) {
			err = errResult
		}
	}
	switch {
	case err == nil:
		return &job{id: jobID, phase: running, stored: stored, recovered: true}, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, haservices.ErrNotFound):
		return nil, nil
	case errors.Is(err, haservices.ErrNotLeader):
		return nil, err
	}
	return &job{id: jobID, phase: quarantined, cause: err}, nil
}

// takeUp goes on with a job that was stored. On the main thread.
func (t *term) takeUp(ctx context.Context, j *job) {
	t.jobs[j.id] = j
	switch {
	case j.phase == running:
		t.launch(ctx, j)
	case j.phase == quarantined:
		t.log.Error("stored job could not be read; its files are kept, and reading is tried again",
			logging.Job(j.id), zap.Error(j.cause))
		t.start(func() { t.readAgain(ctx, j) })
	case j.dirty:
		t.start(func() { t.finish(ctx, j, false) })
	}
}

// resume takes over what recovery, which began then, has found. On the main thread.
func (t *term) resume(ctx context.Context, found []*job, began time.Time) {
	count := map[phase]int{}
	for _, j := range found {
		count[j.phase]++
		if j.phase == running {
			t.adoption.await(j.id)
		}
		t.takeUp(ctx, j)
	}
	t.start(func() { t.sweep(ctx) })
	t.start(func() { t.expireResults(ctx) })
	t.start(func() { t.keepLeadership(ctx) })
	t.ready = true
	t.log.Info("jobs recovered", zap.Int("running", count[running]), zap.Int("ended", count[ended]),
		zap.Int("unreadable", count[quarantined]), logging.Took(time.Since(began)))
}

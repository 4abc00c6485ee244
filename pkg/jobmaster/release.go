package jobmaster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/checkpoint"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// releaseTimeout bounds how long TaskManagers are asked to let go of a job that has ended. One that
// cannot be reached for so long lets go by itself: nobody leads the job any more.
const releaseTimeout = 5 * time.Second

// Release tells the TaskManagers of a job that ended under an earlier leader to let go of it. It wins the
// epoch of the job first, so that no earlier leader can deploy anything after.
func (jm *JobMaster) Release(ctx context.Context) error {
	runCtx, stop := context.WithCancel(ctx)
	defer stop()
	released := false
	err := jm.election.Run(runCtx, leadFunc(func(ctx context.Context, token id.FencingToken) error {
		targets, err := jm.leftover(ctx)
		if err != nil {
			return err
		}
		jm.releaseJob(ctx, token, targets, "job has ended")
		if ctx.Err() == nil {
			released = true
			stop()
		}
		return ctx.Err()
	}))
	if err == nil && !released {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("release job %s: %w", jm.id, err)
	}
	return nil
}

// leftover says from the stores who has to let go of a job that has ended.
func (jm *JobMaster) leftover(ctx context.Context) (farewells, error) {
	absent := func(err error) bool {
		return errors.Is(err, haservices.ErrNotFound) || errors.Is(err, haservices.ErrUnreadable)
	}
	ledger, err := jm.ledger.Get(ctx)
	if err != nil && !absent(err) {
		return nil, err
	}
	targets := farewells{}
	for _, e := range ledger.Executions {
		targets.add(member{e.TaskManager, e.Instance}, e.Address, e.Attempt)
	}
	intent, err := jm.intent.Get(ctx)
	if err != nil && !absent(err) {
		return nil, err
	}
	ended := goal{kind: intent.Kind}
	if !ended.ending() || !discardable(&jm.cfg.Job.Graph, intent.Kind == haservices.FailIntent) {
		return targets, nil
	}
	latest, err := jm.checkpoints.Latest(ctx)
	switch {
	case err == nil, errors.Is(err, haservices.ErrNotFound):
		targets.discard(&jm.cfg.Job.Graph, latest, nil) // nil if there is none
	case !absent(err):
		return nil, err
	}
	return targets, nil
}

// farewells are what each TaskManager is told at the end of a job.
type farewells map[member]*farewell

type farewell struct {
	address   string
	attempts  []attemptID
	discard   bool
	completed int64
	sinks     []protocol.TaskDeployment
}

func (f farewells) add(m member, address string, attempts ...attemptID) {
	if f[m] == nil {
		f[m] = &farewell{}
	}
	f[m].address = address
	f[m].attempts = append(f[m].attempts, attempts...)
}

// discard has sinks delete what they prepared beyond the latest completed checkpoint; nil for none. Attempts that
// have said that they did are clean.
func (f farewells) discard(g *jobgraph.JobGraph, latest *checkpoint.Completed, clean map[attemptID]bool) {
	for _, w := range f {
		w.discard = true
		if latest != nil {
			w.completed = latest.ID
		}
		for _, a := range w.attempts {
			if v := g.Vertex(a.Vertex); v != nil && v.Commits && !clean[a] {
				next := protocol.TaskDeployment{Attempt: a, Restore: latest.Share(v, a.Subtask, g.MaxParallelism)}
				next.Attempt.Attempt++
				w.sinks = append(w.sinks, next)
			}
		}
	}
}

func (f *farewell) request(job id.Job, reason string) protocol.ReleaseJobRequest {
	r := protocol.ReleaseJobRequest{Job: job, Reason: reason}
	if f.discard {
		r.Discard, r.Completed, r.Sinks = f.attempts, f.completed, f.sinks
	}
	return r
}

// releaseJob tells TaskManagers that the job is over, all at the same time. For those that are gone another one
// cleans up.
func (jm *JobMaster) releaseJob(ctx context.Context, token id.FencingToken, targets farewells, reason string) {
	telling, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	var mu sync.Mutex
	behind := farewell{discard: true} // the dead
	var g errgroup.Group
	for m, f := range targets {
		g.Go(func() error {
			gateway, err := jm.cfg.RPC.Gateway(f.address, token)
			if err == nil {
				err = jm.releaseAt(telling, gateway, m, f.request(jm.id, reason))
			}
			if err != nil {
				jm.log.Info("task manager was not told to release the job", logging.TaskManager(m.id), zap.Error(err))
			}
			if errors.Is(err, rpc.ErrGone) {
				mu.Lock()
				defer mu.Unlock()
				behind.completed = f.completed
				behind.sinks = append(behind.sinks, f.sinks...)
			}
			return nil
		})
	}
	g.Wait()
	if len(behind.sinks) > 0 {
		jm.cleanUpBehind(ctx, token, behind)
	}
}

// cleanUpBehind has any TaskManager that is registered, or comes in time, clean up what the sinks of dead ones have
// prepared. What they left on disks that died with them stays there.
func (jm *JobMaster) cleanUpBehind(ctx context.Context, token id.FencingToken, behind farewell) {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	request := behind.request(jm.id, "sinks of a lost task manager have been cleaned up")
	prepare := jm.prepareRequest()
	request.Prepare = &prepare
	err := persist(ctx, releaseTimeout, func(ctx context.Context) error {
		tm, err := jm.anyTaskManager(ctx)
		if err != nil {
			return err
		}
		gateway, err := jm.cfg.RPC.Gateway(tm.Address, token)
		if err != nil {
			return err
		}
		if _, err = rpc.Invoke(ctx, gateway, protocol.ReleaseJob, request); err == nil {
			jm.log.Info("sinks of lost task managers have been cleaned up", logging.TaskManager(tm.ID), zap.Int("sinks", len(behind.sinks)))
		}
		return err
	})
	if err != nil {
		jm.log.Warn("sinks of lost task managers have left behind what they prepared: delete it where they write to", zap.Int("sinks", len(behind.sinks)), zap.Error(err))
	}
}

// anyTaskManager asks the leading ResourceManager for a TaskManager. protocol.ErrNotReady when it has none yet, or
// does not lead any more.
func (jm *JobMaster) anyTaskManager(ctx context.Context) (tm protocol.TaskManagerInfo, err error) {
	ctx, stop := context.WithCancel(ctx)
	leaders := haservices.NewLeaderChannel()
	var following errgroup.Group
	following.Go(func() error {
		return jm.cfg.Services.LeaderRetrieval(haservices.Component{Kind: haservices.ResourceManager}).Run(ctx, leaders)
	})
	defer func() {
		stop()
		err = errors.Join(err, following.Wait())
	}()
	for {
		select {
		case <-ctx.Done():
			return tm, ctx.Err()
		case leader := <-leaders.C():
			if leader.IsEmpty() {
				continue
			}
			gateway, err := jm.cfg.RPC.Gateway(leader.Address, leader.Token)
			if err != nil {
				return tm, err
			}
			list, err := rpc.Invoke(ctx, gateway, protocol.ListTaskManagers, protocol.Empty{})
			if err == nil && len(list.TaskManagers) == 0 {
				err = errors.New("no task manager is registered")
			}
			if err != nil {
				return tm, fmt.Errorf("%w: %w", protocol.ErrNotReady, err)
			}
			return list.TaskManagers[rand.IntN(len(list.TaskManagers))], nil
		}
	}
}

// releaseAt repeats the call until it is answered or the process is gone.
func (jm *JobMaster) releaseAt(ctx context.Context, g rpc.Gateway, m member, request protocol.ReleaseJobRequest) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		err := jm.cfg.RPC.Transport().AwaitGone(ctx, g.Address().HostPort, m.instance, releaseTimeout)
		cancel(err)
	}()
	defer func() { cancel(nil); <-watched }()
	return persist(ctx, releaseTimeout, func(ctx context.Context) error {
		_, err := rpc.Invoke(ctx, g, protocol.ReleaseJob, request)
		return err
	})
}

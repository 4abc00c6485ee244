package stream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/checkpoint"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/worker"
)

// outcome tells how a job in one process went.
type outcome struct {
	restarts    int
	checkpoints int
	restored    int64 // the checkpoint that the last start was from
	metrics     map[id.ExecutionAttempt]protocol.TaskMetrics
}

// runLocal runs a job in this process: a worker with all tasks, and the part of a JobMaster that one
// process needs. It returns when nothing of the job runs any more.
func runLocal(ctx context.Context, p *plan, log *zap.Logger) (outcome, error) {
	graph := p.graph
	if graph.Checkpointing.Interval > 0 && graph.Checkpointing.Dir == "" {
		dir, err := os.MkdirTemp("", "tamias-checkpoints-")
		if err != nil {
			return outcome{}, fmt.Errorf("stream: make a directory for checkpoints: %w", err)
		}
		defer os.RemoveAll(dir)
		graph.Checkpointing.Dir = dir
	}
	r := &localJob{
		plan: p, log: log, fs: filesystem.NewResolver(), restarting: newRestarts(graph),
		executions: map[id.ExecutionAttempt]*protocol.Execution{},
		outcome:    outcome{metrics: map[id.ExecutionAttempt]protocol.TaskMetrics{}},
	}
	r.worker = worker.New(p, worker.Config{FileSystem: r.fs, Log: log})
	r.coordinator = checkpoint.NewCoordinator(checkpoint.Config{
		Job: graph.ID, Epoch: localEpoch, Checkpointing: graph.Checkpointing, Vertices: graph.Vertices,
	})
	// The worker outlives ctx: its tasks are cancelled in order first.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	g, running := errgroup.WithContext(running)
	events := make(chan protocol.WorkerEvent)
	g.Go(func() error { return r.worker.Run(running) })
	g.Go(func() error { return r.forward(running, events) })
	err := r.run(ctx, running, events)
	stop()
	return r.outcome, errors.Join(err, g.Wait())
}

// localEpoch is the epoch of the one master that a job in one process has.
const localEpoch = 1

// localJob is one job in one process. It belongs to the goroutine of run.
type localJob struct {
	plan        *plan
	log         *zap.Logger
	fs          filesystem.FileSystem
	worker      *worker.Worker
	coordinator *checkpoint.Coordinator
	restarting  *restarts
	outcome     outcome

	attempt    int // of all tasks: they start together
	executions map[id.ExecutionAttempt]*protocol.Execution
	begun      bool              // the coordinator was told that all run
	finishing  bool              // the final commit has begun
	failure    *protocol.Failure // why the tasks are being cancelled
	canceling  bool              // the user wants the job to end
	checkpoint int64             // the last ID given out
	stored     []*checkpoint.Completed
}

// forward brings the worker's events to the job.
func (r *localJob) forward(ctx context.Context, to chan<- protocol.WorkerEvent) error {
	var last int64
	for {
		answer, err := r.worker.Events(ctx, protocol.WorkerEventsRequest{After: last})
		if err != nil {
			return nil // only when ctx ends
		}
		for _, e := range answer.Events {
			last = e.Number
			select {
			case to <- e:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// run is the job from its first start to its end. ctx is the user's wish, running lasts longer.
func (r *localJob) run(ctx, running context.Context, events <-chan protocol.WorkerEvent) (err error) {
	defer r.discard(running)
	defer func() {
		if err != nil {
			r.discardPrepared(running)
		}
	}()
	if _, err := r.worker.Start(running, protocol.StartWorkerRequest{Graph: *r.plan.graph}); err != nil {
		return err
	}
	if err := r.deploy(running); err != nil {
		return err
	}
	canceled := ctx.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if at, ok := r.coordinator.Next(); ok {
			timer.Reset(time.Until(at))
		}
		var actions []checkpoint.Action
		select {
		case <-canceled:
			canceled, r.canceling = nil, true
			r.cancelAll(running)
		case <-timer.C:
			actions = r.coordinator.Tick(time.Now())
		case e := <-events:
			actions = r.event(e)
		}
		if err := r.carryOut(running, actions); err != nil {
			return err
		}
		if ended, err := r.decide(ctx, running); ended || err != nil {
			return err
		}
	}
}

// deploy starts all tasks from the latest checkpoint.
func (r *localJob) deploy(ctx context.Context) error {
	graph := r.plan.graph
	latest := r.coordinator.Latest()
	if latest != nil {
		r.outcome.restored = latest.ID
	}
	clear(r.executions)
	r.begun, r.finishing, r.failure = false, false, nil
	req := protocol.DeployTasksRequest{Job: graph.ID}
	for i := range graph.Vertices {
		v := &graph.Vertices[i]
		for s := range v.Parallelism {
			d := protocol.TaskDeployment{
				Attempt: id.ExecutionAttempt{Vertex: v.ID, Subtask: s, Attempt: r.attempt},
				Restore: latest.Share(v, s, graph.MaxParallelism),
			}
			for _, e := range graph.Edges {
				if e.To == v.ID {
					d.Inputs = append(d.Inputs, r.channels(e.From, e.Partition, s))
				}
				if e.From == v.ID {
					d.Outputs = append(d.Outputs, r.channels(e.To, e.Partition, s))
				}
			}
			req.Tasks = append(req.Tasks, d)
			r.executions[d.Attempt] = &protocol.Execution{Attempt: d.Attempt, State: protocol.Deploying}
		}
	}
	return r.worker.Deploy(ctx, req)
}

// channels lists the channels between subtask s of a vertex and the far end of one of its edges.
func (r *localJob) channels(far id.Vertex, p jobgraph.Partition, s int) []protocol.Channel {
	if p == jobgraph.Forward {
		return []protocol.Channel{{Peer: id.ExecutionAttempt{Vertex: far, Subtask: s, Attempt: r.attempt}}}
	}
	var all []protocol.Channel
	for i := range r.plan.graph.Vertex(far).Parallelism {
		all = append(all, protocol.Channel{Peer: id.ExecutionAttempt{Vertex: far, Subtask: i, Attempt: r.attempt}})
	}
	return all
}

// event takes note of what a task says.
func (r *localJob) event(e protocol.WorkerEvent) []checkpoint.Action {
	now := time.Now()
	switch {
	case e.Acknowledge != nil:
		return r.coordinator.Acknowledge(now, *e.Acknowledge)
	case e.Decline != nil:
		return r.coordinator.Decline(now, *e.Decline)
	case e.State == nil || r.executions[e.State.Attempt] == nil:
		return nil
	}
	r.executions[e.State.Attempt] = e.State
	r.outcome.metrics[e.State.Attempt] = e.State.Metrics
	if e.State.State != protocol.Failed {
		return nil
	}
	if r.failure == nil {
		r.failure = e.State.Failure
		return append(r.coordinator.Suspend(now, "a task failed"), cancelTasks{})
	}
	if r.failure.Consequence && !e.State.Failure.Consequence {
		r.failure = e.State.Failure // what followed from it was heard first
	}
	return nil
}

// cancelTasks is an action beside those of the coordinator.
type cancelTasks struct{}

func (cancelTasks) String() string { return "cancel all tasks" }

// carryOut does what the coordinator wants, and what it wants when it hears of that.
func (r *localJob) carryOut(ctx context.Context, actions []checkpoint.Action) (err error) {
	for len(actions) > 0 && err == nil {
		var more []checkpoint.Action
		now := time.Now()
		switch a := actions[0].(type) {
		case checkpoint.AskID:
			r.checkpoint++
			more = r.coordinator.IDAssigned(now, r.checkpoint)
		case checkpoint.Trigger:
			err = r.worker.TriggerCheckpoint(ctx, protocol.TriggerCheckpointRequest{
				Job: r.plan.graph.ID, Checkpoint: a.Checkpoint, Sources: a.Sources, Dir: a.Dir, Epoch: localEpoch,
			})
		case checkpoint.Store:
			r.keep(ctx, a.Completed)
			more = r.coordinator.Stored(now, a.Completed.ID, nil)
		case checkpoint.Complete:
			err = r.worker.CompleteCheckpoint(ctx, protocol.CompleteCheckpointRequest{
				Job: r.plan.graph.ID, Checkpoint: a.Checkpoint, Attempts: a.Attempts,
			})
		case checkpoint.Abort:
			r.log.Warn("checkpoint was given up", logging.Checkpoint(a.First), zap.String("reason", a.Reason))
			err = r.worker.AbortCheckpoint(ctx, protocol.AbortCheckpointRequest{Job: r.plan.graph.ID, First: a.First, Last: a.Last})
		case checkpoint.FailTasks:
			if r.failure == nil {
				r.failure = &a.Failure
				more = append(r.coordinator.Suspend(now, "a checkpoint failed"), cancelTasks{})
			}
		case checkpoint.Final:
			err = r.finish(ctx)
		case cancelTasks:
			r.cancelAll(ctx)
		}
		actions = append(actions[1:], more...)
	}
	return err
}

// keep holds on to a completed checkpoint and deletes the oldest.
func (r *localJob) keep(ctx context.Context, c *checkpoint.Completed) {
	r.outcome.checkpoints++
	r.stored = append(r.stored, c)
	for len(r.stored) > r.plan.graph.Checkpointing.Retained {
		if err := r.fs.Delete(ctx, r.stored[0].Path); err != nil {
			r.log.Warn("old checkpoint was not deleted", zap.String("path", r.stored[0].Path), zap.Error(err))
		}
		r.stored = r.stored[1:]
	}
}

// discard deletes all checkpoints: a job in one process is not taken up again.
func (r *localJob) discard(ctx context.Context) {
	dir := r.plan.graph.Checkpointing.Dir
	if r.checkpoint == 0 || dir == "" {
		return
	}
	if err := r.fs.Delete(ctx, checkpoint.JobDirectory(dir, r.plan.graph.ID)); err != nil {
		r.log.Warn("checkpoints were not deleted", zap.Error(err))
	}
}

// discardPrepared lets sinks delete what no checkpoint covers: the job has ended without having finished.
func (r *localJob) discardPrepared(ctx context.Context) {
	req := protocol.CancelTasksRequest{Job: r.plan.graph.ID, Discard: true}
	if latest := r.coordinator.Latest(); latest != nil {
		req.Completed = latest.ID
	}
	for a := range r.executions {
		req.Attempts = append(req.Attempts, a)
	}
	r.worker.Cancel(ctx, req) // fails only when the worker has ended, and its tasks with it
}

func (r *localJob) cancelAll(ctx context.Context) {
	req := protocol.CancelTasksRequest{Job: r.plan.graph.ID}
	for a, e := range r.executions {
		if !e.State.Terminal() {
			req.Attempts = append(req.Attempts, a)
		}
	}
	r.worker.Cancel(ctx, req) // fails only when the worker has ended, and its tasks with it
}

func (r *localJob) finish(ctx context.Context) error {
	if r.finishing || r.failure != nil || r.canceling {
		return nil
	}
	r.finishing = true
	req := protocol.FinishTasksRequest{Job: r.plan.graph.ID}
	for a := range r.executions {
		req.Attempts = append(req.Attempts, a)
	}
	return r.worker.Finish(ctx, req)
}

// decide looks at all tasks and does what follows. ended: the job is over, with err.
func (r *localJob) decide(ctx, running context.Context) (ended bool, err error) {
	terminal, finished, up, drained := 0, 0, 0, 0
	for _, e := range r.executions {
		if e.State.Terminal() {
			terminal++
		}
		if e.State == protocol.Finished {
			finished++
		}
		if e.State == protocol.Running {
			up++
		}
		if e.Drained {
			drained++
		}
	}
	all := len(r.executions)
	switch {
	case finished == all:
		return true, nil
	case terminal == all && r.canceling:
		return true, fmt.Errorf("%w: %s", ErrCanceled, r.plan.graph.Name)
	case terminal == all && r.failure != nil:
		return r.restart(ctx, running)
	case up == all && !r.begun:
		r.begun = true
		return false, r.carryOut(running, r.coordinator.Begin(time.Now(), r.tasks(), r.plan.graph.Checkpointing.Interval))
	}
	if drained == all && r.begun && !r.finishing {
		if !r.coordinator.Enabled() {
			return false, r.finish(running)
		}
		return false, r.carryOut(running, r.coordinator.Drained(time.Now()))
	}
	return false, nil
}

func (r *localJob) tasks() []checkpoint.Task {
	var tasks []checkpoint.Task
	for a := range r.executions {
		tasks = append(tasks, checkpoint.Task{Attempt: a, Source: r.plan.graph.Vertex(a.Vertex).Source})
	}
	return tasks
}

// restart waits as the restart strategy says and starts all tasks again, or ends the job.
func (r *localJob) restart(ctx, running context.Context) (ended bool, err error) {
	delay, ok := r.restarting.next(time.Now())
	if !ok {
		return true, failed(r.plan.graph.Name, r.failure)
	}
	r.log.Warn("job restarts", zap.String("cause", r.failure.Message), logging.RetryIn(delay))
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return true, fmt.Errorf("%w: %s", ErrCanceled, r.plan.graph.Name)
	}
	r.attempt++
	r.outcome.restarts++
	return false, r.deploy(running)
}

func failed(job string, f *protocol.Failure) error {
	if f.Stack != "" {
		return fmt.Errorf("stream: job %q failed: %w\n%s", job, f, f.Stack)
	}
	return fmt.Errorf("stream: job %q failed: %w", job, f)
}

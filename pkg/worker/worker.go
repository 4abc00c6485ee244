package worker

import (
	"context"
	"fmt"
	"net"
	"sync"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/shuffle"
)

// Config is what a Worker needs besides its program.
type Config struct {
	// FileSystem holds the state files of checkpoints.
	FileSystem filesystem.FileSystem
	Log        *zap.Logger
}

// Worker runs the tasks of one job in one process. Its methods may be called on any goroutine once Run
// has been called. Flink's TaskExecutor, as far as tasks are concerned.
type Worker struct {
	program Program
	cfg     Config
	main    *rpc.MainThread
	events  *eventLog

	// Owned by the main thread.
	ctx      context.Context // of Run: what tasks live below
	spawn    *sync.WaitGroup // what Run waits for
	graph    *jobgraph.JobGraph
	exchange *shuffle.Exchange
	tasks    map[id.ExecutionAttempt]*task
	newest   map[subtask]int // the highest attempt that was deployed
	// ended attempts, not finished, of vertices that commit: what they prepared is discarded if the job ends
	// before another attempt has opened, which cleans up.
	ended  map[id.ExecutionAttempt]*leftover
	opened map[subtask]int // the highest attempt that has opened; only for vertices that commit
	epoch  uint64          // the highest that a trigger carried
}

// subtask is what attempts are attempts of.
type subtask struct {
	vertex id.Vertex
	index  int
}

func subtaskOf(a id.ExecutionAttempt) subtask { return subtask{a.Vertex, a.Subtask} }

// New returns a worker for a program. It does nothing until Run and Start.
func New(p Program, cfg Config) *Worker {
	return &Worker{
		program: p, cfg: cfg, main: rpc.NewMainThread(), events: newEventLog(),
		tasks: map[id.ExecutionAttempt]*task{}, newest: map[subtask]int{},
		ended: map[id.ExecutionAttempt]*leftover{}, opened: map[subtask]int{},
	}
}

// Run serves calls until ctx ends, then cancels all tasks and returns when they are gone.
func (w *Worker) Run(ctx context.Context) error {
	var spawned sync.WaitGroup
	w.ctx, w.spawn = ctx, &spawned
	err := w.main.Run(ctx)
	spawned.Wait()
	return err
}

// Start readies the process for a job and opens its data port; with an empty BindHost there is none, and
// all tasks must be in this process. It fails when the program builds another graph than the one that
// was submitted. A second call answers like the first.
func (w *Worker) Start(ctx context.Context, req protocol.StartWorkerRequest) (protocol.PreparedJob, error) {
	return rpc.Call(ctx, w.main, func() (protocol.PreparedJob, error) {
		if w.exchange == nil {
			if err := w.start(req); err != nil {
				return protocol.PreparedJob{}, err
			}
		}
		return protocol.PreparedJob{DataAddress: w.exchange.Address()}, nil
	})
}

func (w *Worker) start(req protocol.StartWorkerRequest) error {
	if err := sameGraph(&req.Graph, w.program.Graph()); err != nil {
		return fmt.Errorf("%w: %w", protocol.ErrInvalidJob, err)
	}
	var l net.Listener
	if req.BindHost != "" {
		var err error // binding a port does not wait for anything
		if l, err = net.Listen("tcp", net.JoinHostPort(req.BindHost, "0")); err != nil {
			return fmt.Errorf("open the data port: %w", err)
		}
	}
	w.graph = &req.Graph
	w.exchange = shuffle.New(shuffle.Config{Job: req.Graph.ID, Listener: l, Host: req.Host, Log: w.cfg.Log})
	x, ctx := w.exchange, w.ctx
	w.spawn.Go(func() {
		if err := x.Run(ctx); err != nil {
			w.cfg.Log.Error("record exchange ended", zap.Error(err))
		}
	})
	return nil
}

// sameGraph says in what the graph that a program builds differs from the one submitted.
func sameGraph(submitted, built *jobgraph.JobGraph) error {
	if len(submitted.Vertices) != len(built.Vertices) || len(submitted.Edges) != len(built.Edges) {
		return fmt.Errorf("the program builds %d vertices and %d edges now, but %d and %d when it was submitted; a program must build the same graph each time",
			len(built.Vertices), len(built.Edges), len(submitted.Vertices), len(submitted.Edges))
	}
	for _, v := range submitted.Vertices {
		switch b := built.Vertex(v.ID); {
		case b == nil:
			return fmt.Errorf("the program does not build vertex %q (%s) any more; a program must build the same graph each time", v.Name, v.ID)
		case b.Parallelism != v.Parallelism:
			return fmt.Errorf("vertex %q has parallelism %d now, but %d when it was submitted", v.Name, b.Parallelism, v.Parallelism)
		}
	}
	for i, e := range submitted.Edges {
		if built.Edges[i] != e {
			return fmt.Errorf("edge %d leads elsewhere than when the job was submitted; a program must build the same graph each time", i)
		}
	}
	return nil
}

// Deploy starts attempts. One that runs already is left alone; one that is older than what has been
// deployed of its subtask is ignored; older ones that still run are cancelled.
func (w *Worker) Deploy(ctx context.Context, req protocol.DeployTasksRequest) error {
	return w.do(ctx, func() error { return w.deploy(req) })
}

func (w *Worker) deploy(req protocol.DeployTasksRequest) error {
	if w.exchange == nil {
		return fmt.Errorf("deploy before start: %w", protocol.ErrNotReady)
	}
	if req.Job != w.graph.ID {
		return fmt.Errorf("%w: this process runs %s", protocol.ErrUnknownJob, w.graph.ID)
	}
	for _, d := range req.Tasks {
		if w.graph.Vertex(d.Attempt.Vertex) == nil {
			return fmt.Errorf("%w: no vertex %s", protocol.ErrInvalidJob, d.Attempt.Vertex)
		}
	}
	for _, d := range req.Tasks {
		s := subtaskOf(d.Attempt)
		if newest, seen := w.newest[s]; seen && d.Attempt.Attempt <= newest {
			continue
		}
		for a, t := range w.tasks {
			if subtaskOf(a) == s {
				t.stop()
			}
		}
		w.newest[s] = d.Attempt.Attempt
		w.launch(d)
	}
	return nil
}

// launch starts the goroutine of one attempt.
func (w *Worker) launch(d protocol.TaskDeployment) {
	t := &task{
		worker: w, exchange: w.exchange, graph: w.graph, vertex: w.graph.Vertex(d.Attempt.Vertex), deployment: d,
		log: w.cfg.Log.With(logging.Attempt(d.Attempt)), // which job it is, the TaskManager adds
	}
	var ctx context.Context
	ctx, t.stop = context.WithCancel(w.ctx)
	w.tasks[d.Attempt] = t
	w.spawn.Go(func() { t.run(ctx) })
}

// Cancel ends attempts. Unknown ones are ignored; the terminal states come as events. With Discard it
// returns when those of these attempts that had ended before, and earlier ones of the same subtasks, have
// discarded what they prepared; those that run do so before their terminal state. It also returns when
// req.Sinks that have not opened in this process have been cleaned up.
func (w *Worker) Cancel(ctx context.Context, req protocol.CancelTasksRequest) error {
	left, err := rpc.Call(ctx, w.main, func() ([]*leftover, error) { return w.cancel(req), nil })
	for _, l := range left {
		l.clear(ctx, req.Completed)
	}
	return err
}

func (w *Worker) cancel(req protocol.CancelTasksRequest) (left []*leftover) {
	for _, a := range req.Attempts {
		t := w.tasks[a]
		if t != nil {
			if req.Discard && t.discard == nil {
				t.discard = &req.Completed
			}
			t.stop()
		}
		if req.Discard {
			left = append(left, w.forget(a)...)
		}
	}
	if req.Discard && w.graph != nil {
		left = append(left, w.foreign(req.Sinks)...)
	}
	return left
}

// TriggerCheckpoint makes source attempts emit a barrier. A trigger of an older epoch than one seen is
// refused: its master has been replaced.
func (w *Worker) TriggerCheckpoint(ctx context.Context, req protocol.TriggerCheckpointRequest) error {
	return w.do(ctx, func() error {
		if req.Epoch < w.epoch {
			return fmt.Errorf("%w: a master of epoch %d is known, trigger has epoch %d", rpc.ErrFenced, w.epoch, req.Epoch)
		}
		w.epoch = req.Epoch
		b := &shuffle.Barrier{Checkpoint: req.Checkpoint, Epoch: req.Epoch, Dir: req.Dir}
		w.postTo(req.Sources, command{trigger: b})
		return nil
	})
}

// CompleteCheckpoint lets sinks commit what they prepared up to this checkpoint.
func (w *Worker) CompleteCheckpoint(ctx context.Context, req protocol.CompleteCheckpointRequest) error {
	return w.do(ctx, func() error { w.postTo(req.Attempts, command{complete: req.Checkpoint}); return nil })
}

// AbortCheckpoint gives checkpoints up at all tasks: aligned channels are unblocked, snapshots dropped.
func (w *Worker) AbortCheckpoint(ctx context.Context, req protocol.AbortCheckpointRequest) error {
	return w.do(ctx, func() error {
		for _, t := range w.tasks {
			t.mail.post(command{abort: &checkpointRange{req.First, req.Last}})
		}
		return nil
	})
}

// Finish ends drained attempts: what they prepared is committed, then they are FINISHED.
func (w *Worker) Finish(ctx context.Context, req protocol.FinishTasksRequest) error {
	return w.do(ctx, func() error { w.postTo(req.Attempts, command{finish: true}); return nil })
}

// Events waits for events with a number above req.After, and forgets those up to it.
func (w *Worker) Events(ctx context.Context, req protocol.WorkerEventsRequest) (protocol.WorkerEventsAnswer, error) {
	events, err := w.events.after(ctx, req.After)
	return protocol.WorkerEventsAnswer{Events: events}, err
}

// Metrics reads the counters of all attempts that run.
func (w *Worker) Metrics(ctx context.Context) (protocol.WorkerMetricsAnswer, error) {
	return rpc.Call(ctx, w.main, w.metrics)
}

func (w *Worker) metrics() (answer protocol.WorkerMetricsAnswer, err error) {
	for a, t := range w.tasks {
		answer.Attempts = append(answer.Attempts, protocol.AttemptMetrics{Attempt: a, Metrics: t.meter.read()})
	}
	return answer, nil
}

func (w *Worker) postTo(attempts []id.ExecutionAttempt, c command) {
	for _, a := range attempts {
		if t := w.tasks[a]; t != nil {
			t.mail.post(c)
		}
	}
}

func (w *Worker) do(ctx context.Context, f func() error) error {
	_, err := rpc.Call(ctx, w.main, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

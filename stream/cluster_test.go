package stream

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/checkpoint"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/worker"
)

// cluster runs one plan on several workers that reach each other over TCP: what job processes and a
// JobMaster do, step by step as a test wants it.
type cluster struct {
	t       testing.TB
	ctx     context.Context
	plan    *plan
	fs      filesystem.FileSystem
	workers []*worker.Worker
	address []string
	events  chan protocol.WorkerEvent
	tasks   []id.ExecutionAttempt
	where   map[id.ExecutionAttempt]int
}

// newCluster starts n workers. Several clusters may share a file system.
func newCluster(t testing.TB, n int, p *plan, fs filesystem.FileSystem) *cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	c := &cluster{
		t: t, ctx: ctx, plan: p, fs: fs, events: make(chan protocol.WorkerEvent, 1000),
		where: map[id.ExecutionAttempt]int{},
	}
	var g errgroup.Group
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	for range n {
		w := worker.New(p, worker.Config{FileSystem: fs, Log: zap.NewNop()})
		g.Go(func() error { return w.Run(ctx) })
		started, err := w.Start(ctx, protocol.StartWorkerRequest{Graph: *p.graph, BindHost: "127.0.0.1", Host: "127.0.0.1"})
		if err != nil {
			t.Fatal(err)
		}
		c.workers = append(c.workers, w)
		c.address = append(c.address, started.DataAddress)
		g.Go(func() error { return c.listen(w) })
	}
	return c
}

func (c *cluster) listen(w *worker.Worker) error {
	var last int64
	for {
		answer, err := w.Events(c.ctx, protocol.WorkerEventsRequest{After: last})
		if err != nil {
			return nil
		}
		for _, e := range answer.Events {
			last = e.Number
			select {
			case c.events <- e:
			case <-c.ctx.Done():
				return nil
			}
		}
	}
}

// deploy starts all tasks: subtask s on worker s modulo their number.
func (c *cluster) deploy(attempt int, latest *checkpoint.Completed) {
	c.t.Helper()
	graph := c.plan.graph
	reqs := make([]protocol.DeployTasksRequest, len(c.workers))
	channels := func(v id.Vertex, p jobgraph.Partition, s int) (all []protocol.Channel) {
		for i := range graph.Vertex(v).Parallelism {
			if p != jobgraph.Forward || i == s {
				all = append(all, protocol.Channel{
					Peer:    id.ExecutionAttempt{Vertex: v, Subtask: i, Attempt: attempt},
					Address: c.address[i%len(c.workers)],
				})
			}
		}
		return all
	}
	c.tasks = nil
	for i := range graph.Vertices {
		v := &graph.Vertices[i]
		for s := range v.Parallelism {
			a := id.ExecutionAttempt{Vertex: v.ID, Subtask: s, Attempt: attempt}
			d := protocol.TaskDeployment{Attempt: a, Restore: latest.Share(v, s, graph.MaxParallelism)}
			for _, e := range graph.Edges {
				if e.To == v.ID {
					d.Inputs = append(d.Inputs, channels(e.From, e.Partition, s))
				}
				if e.From == v.ID {
					d.Outputs = append(d.Outputs, channels(e.To, e.Partition, s))
				}
			}
			at := s % len(c.workers)
			reqs[at].Tasks = append(reqs[at].Tasks, d)
			c.tasks = append(c.tasks, a)
			c.where[a] = at
		}
	}
	for i, req := range reqs {
		req.Job = graph.ID
		if err := c.workers[i].Deploy(c.ctx, req); err != nil {
			c.t.Fatal(err)
		}
	}
}

// each calls f for each worker with the attempts there.
func (c *cluster) each(f func(w *worker.Worker, attempts []id.ExecutionAttempt) error) {
	c.t.Helper()
	for i, w := range c.workers {
		var here []id.ExecutionAttempt
		for _, a := range c.tasks {
			if c.where[a] == i {
				here = append(here, a)
			}
		}
		if err := f(w, here); err != nil {
			c.t.Fatal(err)
		}
	}
}

// await waits until each task has been said something of that satisfies f.
func (c *cluster) await(what string, f func(e protocol.WorkerEvent) (id.ExecutionAttempt, bool)) {
	c.t.Helper()
	missing := map[id.ExecutionAttempt]bool{}
	for _, a := range c.tasks {
		missing[a] = true
	}
	for len(missing) > 0 {
		select {
		case e := <-c.events:
			if e.State != nil && e.State.State == protocol.Failed && missing[e.State.Attempt] {
				c.t.Fatalf("waiting until all are %s: %s\n%s", what, e.State.Failure.Message, e.State.Failure.Stack)
			}
			if a, ok := f(e); ok {
				delete(missing, a)
			}
		case <-c.ctx.Done():
			c.t.Fatalf("%d tasks are not %s", len(missing), what)
		}
	}
}

func (c *cluster) awaitState(what string, f func(e *protocol.Execution) bool) {
	c.t.Helper()
	c.await(what, func(e protocol.WorkerEvent) (id.ExecutionAttempt, bool) {
		if e.State == nil || !f(e.State) {
			return id.ExecutionAttempt{}, false
		}
		return e.State.Attempt, true
	})
}

func (c *cluster) awaitRunning() {
	c.t.Helper()
	c.awaitState("running", func(e *protocol.Execution) bool { return e.State == protocol.Running })
}

func (c *cluster) awaitDrained() {
	c.t.Helper()
	c.awaitState("drained", func(e *protocol.Execution) bool { return e.Drained })
}

// checkpoint takes checkpoint n and completes it.
func (c *cluster) checkpoint(n int64) *checkpoint.Completed {
	c.t.Helper()
	c.each(func(w *worker.Worker, attempts []id.ExecutionAttempt) error {
		return w.TriggerCheckpoint(c.ctx, protocol.TriggerCheckpointRequest{
			Checkpoint: n, Sources: c.sources(attempts), Dir: fmt.Sprintf("/chk-%d", n), Epoch: 1,
		})
	})
	bySubtask := map[id.Vertex]map[int][]protocol.OperatorState{}
	c.await("acknowledged", func(e protocol.WorkerEvent) (a id.ExecutionAttempt, ok bool) {
		if e.Decline != nil {
			c.t.Fatalf("declined: %s", e.Decline.Reason)
		}
		if e.Acknowledge == nil || e.Acknowledge.Checkpoint != n {
			return a, false
		}
		a = e.Acknowledge.Attempt
		if bySubtask[a.Vertex] == nil {
			bySubtask[a.Vertex] = map[int][]protocol.OperatorState{}
		}
		bySubtask[a.Vertex][a.Subtask] = e.Acknowledge.State
		return a, true
	})
	done := &checkpoint.Completed{Job: c.plan.graph.ID, ID: n}
	for _, v := range c.plan.graph.Vertices {
		s := checkpoint.VertexState{Vertex: v.ID, Parallelism: v.Parallelism}
		for i := range v.Parallelism {
			s.Operators = append(s.Operators, bySubtask[v.ID][i]...)
		}
		done.Vertices = append(done.Vertices, s)
	}
	c.each(func(w *worker.Worker, attempts []id.ExecutionAttempt) error {
		return w.CompleteCheckpoint(c.ctx, protocol.CompleteCheckpointRequest{Checkpoint: n, Attempts: attempts})
	})
	return done
}

func (c *cluster) sources(attempts []id.ExecutionAttempt) (sources []id.ExecutionAttempt) {
	for _, a := range attempts {
		if c.plan.graph.Vertex(a.Vertex).Source {
			sources = append(sources, a)
		}
	}
	return sources
}

// finish ends drained tasks.
func (c *cluster) finish() {
	c.t.Helper()
	c.each(func(w *worker.Worker, attempts []id.ExecutionAttempt) error {
		return w.Finish(c.ctx, protocol.FinishTasksRequest{Attempts: attempts})
	})
	c.awaitState("finished", func(e *protocol.Execution) bool { return e.State == protocol.Finished })
}

// cancel ends all tasks.
func (c *cluster) cancel() {
	c.t.Helper()
	c.each(func(w *worker.Worker, attempts []id.ExecutionAttempt) error {
		return w.Cancel(c.ctx, protocol.CancelTasksRequest{Attempts: attempts})
	})
	c.awaitState("canceled", func(e *protocol.Execution) bool { return e.State == protocol.Canceled })
}

package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/worker"
)

// Graph is the plan's job graph. It makes plan a worker.Program.
func (p *plan) Graph() *jobgraph.JobGraph { return p.graph }

// NewChain makes one subtask of a vertex.
func (p *plan) NewChain(v id.Vertex) (worker.Chain, error) {
	if p.vertices[v] == nil {
		return nil, fmt.Errorf("the program has no vertex %s", v)
	}
	return &chain{vertex: p.vertices[v]}, nil
}

// chain is the operators of one subtask. It implements worker.Chain.
type chain struct {
	vertex    *vertex
	task      *worker.Task
	operators []operator // each before those it feeds
	source    source     // nil for chains with inputs
	readers   []frameReader
}

// source is an operator without input.
type source interface {
	poll(ctx, read context.Context) (worker.Polled, error)
}

// Open builds the operators from the last to the first and opens them in the same order, so that each
// finds those that it feeds ready.
func (c *chain) Open(ctx context.Context, task *worker.Task) error {
	c.task = task
	head := c.build(c.vertex.head)
	slices.Reverse(c.operators)
	if c.vertex.head.source {
		c.source = c.operators[0].(source)
	}
	for _, e := range c.vertex.head.inputs {
		c.readers = append(c.readers, e.reader(head))
	}
	for _, o := range slices.Backward(c.operators) {
		if err := o.open(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// build makes an operator and all it feeds within the chain, and returns its receiver.
func (c *chain) build(n *node) any {
	var next []any
	for _, e := range n.outputs {
		if e.chained {
			next = append(next, c.build(e.to))
			continue
		}
		next = append(next, e.writer(c.task.Outputs[e.output], partitioning{
			partition: e.exchange(), subtask: c.task.Attempt.Subtask, maxParallelism: c.task.Graph.MaxParallelism,
		}))
	}
	in, o := n.start(next)
	c.operators = append(c.operators, o)
	return in
}

// restored is what was saved of an operator, nil for a start from nothing.
func (c *chain) restored(uid string) []protocol.OperatorState {
	if c.task.Restore == nil {
		return nil
	}
	var saved []protocol.OperatorState
	for _, s := range c.task.Restore.Operators {
		if s.UID == uid {
			saved = append(saved, s)
		}
	}
	return saved
}

// subtask describes this subtask to a connector.
func (c *chain) subtask(n *node) Subtask {
	t := c.task
	return Subtask{
		JobID: t.Graph.ID.String(), JobName: t.Graph.Name, Operator: n.name, UID: n.uid,
		Index: t.Attempt.Subtask, Parallelism: t.Vertex.Parallelism, Attempt: t.Attempt.Attempt,
		Log: t.Log.With(zap.String("operator", n.name)),
	}
}

// Poll reads from the source.
func (c *chain) Poll(ctx, read context.Context) (worker.Polled, error) {
	return c.source.poll(ctx, read)
}

// Consume decodes a frame of one input.
func (c *chain) Consume(ctx context.Context, input int, frame []byte) error {
	return c.readers[input](ctx, frame)
}

// Flush flushes all operators.
func (c *chain) Flush(ctx context.Context) error {
	return c.each(func(o operator) error { return o.flush(ctx) })
}

// Drain drains all operators, each before those it feeds.
func (c *chain) Drain(ctx context.Context) error {
	return c.each(func(o operator) error { return o.drain(ctx) })
}

// Snapshot collects the state of all operators. When one fails, the snapshots of the others are released.
func (c *chain) Snapshot(ctx context.Context, checkpoint int64) ([]worker.OperatorSnapshot, error) {
	var all []worker.OperatorSnapshot
	err := c.each(func(o operator) error {
		s, ok, err := o.snapshot(ctx, checkpoint)
		if ok && err == nil {
			all = append(all, s)
		}
		return err
	})
	if err != nil {
		for _, s := range all {
			if s.Keyed != nil {
				s.Keyed.Release()
			}
		}
		return nil, err
	}
	return all, nil
}

// Commit commits what was prepared up to a checkpoint.
func (c *chain) Commit(ctx context.Context, checkpoint int64) error {
	return c.each(func(o operator) error { return o.commit(ctx, checkpoint) })
}

// Finish commits the rest.
func (c *chain) Finish(ctx context.Context) error {
	return c.each(func(o operator) error { return o.finish(ctx) })
}

// Close closes all operators, whatever the others say. Only those are kept that Discard has to do with.
func (c *chain) Close() error {
	var errs []error
	for _, o := range c.operators {
		errs = append(errs, o.close())
	}
	c.task, c.source, c.readers = nil, nil, nil
	c.operators = slices.DeleteFunc(c.operators, func(o operator) bool { _, ok := o.(discarder); return !ok })
	return errors.Join(errs...)
}

// discarder is an operator that leaves something behind.
type discarder interface {
	discard(ctx context.Context, completed int64) error
}

// Discard lets sinks delete what is never going to be committed.
func (c *chain) Discard(ctx context.Context, completed int64) error {
	var errs []error
	for _, o := range c.operators {
		errs = append(errs, o.(discarder).discard(ctx, completed))
	}
	return errors.Join(errs...)
}

// CleanUp opens and closes those operators that commit.
func (c *chain) CleanUp(ctx context.Context, task *worker.Task) error {
	c.task = task
	var errs []error
	for _, n := range c.vertex.members {
		if n.commits {
			_, o := n.start(nil)
			errs = append(errs, o.open(ctx, c), o.close())
		}
	}
	return errors.Join(errs...)
}

func (c *chain) each(f func(operator) error) error {
	for _, o := range c.operators {
		if err := f(o); err != nil {
			return err
		}
	}
	return nil
}

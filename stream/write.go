package stream

import (
	"context"
	"fmt"

	"github.com/tamias-project/tamias/pkg/worker"
)

// To sends a stream to a sink.
func To[T any](in *Stream[T], name string, sink Sink[T], opts ...Option) {
	n := &node{kind: "Sink", name: name}
	_, n.commits = sink.(TwoPhaseSink[T])
	n.start = func([]any) (any, operator) {
		s := &sinkOperator[T]{node: n, sink: sink}
		return s, s
	}
	in.then(n, opts)
	in.env.check(n, sink)
}

// sinkOperator is a sink in one subtask.
type sinkOperator[T any] struct {
	node      *node
	sink      Sink[T]
	writer    Writer[T]
	twoPhase  TwoPhaseWriter[T] // nil for plain sinks
	flusher   Flusher           // nil for writers that gather nothing
	committed int64
}

func (s *sinkOperator[T]) open(ctx context.Context, c *chain) (err error) {
	task := c.subtask(s.node)
	var prepared []Prepared
	for _, saved := range c.restored(task.UID) {
		if len(saved.Raw) > 0 {
			prepared = append(prepared, Prepared{Checkpoint: c.task.Restore.Checkpoint, Subtask: saved.Subtask, State: saved.Raw})
		}
	}
	if s.writer, err = s.sink.Open(ctx, task, prepared); err != nil {
		return fmt.Errorf("open sink %s: %w", task.Operator, err)
	}
	s.flusher, _ = s.writer.(Flusher)
	two, ok := s.writer.(TwoPhaseWriter[T])
	if ok != s.node.commits {
		return fmt.Errorf("sink %s: a %T must come from a TwoPhaseSink and from nothing else", task.Operator, s.writer)
	}
	s.twoPhase = two
	return nil
}

func (s *sinkOperator[T]) push(ctx context.Context, batch []T) error {
	if err := s.writer.Write(ctx, batch); err != nil {
		return fmt.Errorf("write to sink %s: %w", s.node.name, err)
	}
	return nil
}

func (s *sinkOperator[T]) flush(ctx context.Context) error {
	if s.flusher == nil {
		return nil
	}
	if err := s.flusher.Flush(ctx); err != nil {
		return fmt.Errorf("flush sink %s: %w", s.node.name, err)
	}
	return nil
}

func (s *sinkOperator[T]) drain(ctx context.Context) error { return s.flush(ctx) }

func (s *sinkOperator[T]) snapshot(ctx context.Context, checkpoint int64) (o worker.OperatorSnapshot, ok bool, err error) {
	if err := s.flush(ctx); err != nil || s.twoPhase == nil {
		return o, false, err
	}
	raw, err := s.twoPhase.PreCommit(ctx, checkpoint)
	if err != nil {
		return o, false, fmt.Errorf("pre-commit of sink %s: %w", s.node.name, err)
	}
	return worker.OperatorSnapshot{UID: s.node.uid, Raw: raw}, true, nil
}

func (s *sinkOperator[T]) commit(ctx context.Context, checkpoint int64) error {
	if s.twoPhase == nil || checkpoint <= s.committed {
		return nil
	}
	if err := s.twoPhase.Commit(ctx, checkpoint); err != nil {
		return fmt.Errorf("commit of sink %s: %w", s.node.name, err)
	}
	s.committed = checkpoint
	return nil
}

func (s *sinkOperator[T]) finish(ctx context.Context) error {
	if s.twoPhase == nil {
		return nil
	}
	if _, err := s.twoPhase.PreCommit(ctx, FinalCheckpoint); err != nil {
		return fmt.Errorf("pre-commit of sink %s: %w", s.node.name, err)
	}
	return s.commit(ctx, FinalCheckpoint)
}

// discard follows close. What belongs to a completed checkpoint is committed before the rest goes: the task
// may have ended without having heard of it.
func (s *sinkOperator[T]) discard(ctx context.Context, completed int64) error {
	d, ok := s.writer.(Discarder)
	if !ok || s.twoPhase == nil {
		return nil
	}
	if err := s.commit(ctx, completed); err != nil {
		return err
	}
	if err := d.Discard(ctx); err != nil {
		return fmt.Errorf("discard of sink %s: %w", s.node.name, err)
	}
	return nil
}

func (s *sinkOperator[T]) close() error {
	if s.writer == nil {
		return nil
	}
	return s.writer.Close()
}

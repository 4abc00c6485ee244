package worker

import (
	"context"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/shuffle"
)

// writing is a snapshot whose files are being written.
type writing struct {
	checkpoint int64
	cancel     context.CancelFunc
}

// trigger begins a checkpoint at a source.
func (t *task) trigger(ctx context.Context, b shuffle.Barrier) error {
	if t.gate != nil {
		t.log.Error("checkpoint was triggered at a task that is no source", logging.Checkpoint(b.Checkpoint))
		return nil
	}
	if !t.align.admit(b) {
		return nil
	}
	t.align.decide(b.Checkpoint)
	return t.snapshot(ctx, b, 0)
}

// barrier handles a barrier that arrived on a channel.
func (t *task) barrier(ctx context.Context, item shuffle.Item) error {
	v := t.align.barrier(item.Channel, item.Barrier, time.Now())
	if v.overtaken > 0 {
		t.gate.Unblock()
		t.decline(v.overtaken, fmt.Sprintf("checkpoint %d has begun", item.Barrier.Checkpoint))
	}
	switch {
	case v.block:
		t.gate.Block(item.Channel)
	case v.complete:
		t.gate.Unblock()
		return t.snapshot(ctx, item.Barrier, v.took)
	}
	return nil
}

// snapshot sends the barrier on, takes the state, and leaves its writing to another goroutine.
func (t *task) snapshot(ctx context.Context, b shuffle.Barrier, aligned time.Duration) error {
	start := time.Now()
	for _, o := range t.outputs {
		if err := o.Barrier(ctx, b); err != nil {
			return err
		}
	}
	parts, err := t.chain.Snapshot(ctx, b.Checkpoint)
	if err != nil {
		return fmt.Errorf("snapshot for checkpoint %d: %w", b.Checkpoint, err)
	}
	t.sent()
	for _, w := range t.writing {
		w.cancel() // of an earlier checkpoint: at most one is wanted at a time
	}
	ack := protocol.AcknowledgeCheckpointRequest{
		Job: t.graph.ID, Attempt: t.attempt(), Checkpoint: b.Checkpoint,
		Metrics: protocol.CheckpointMetrics{
			AlignMillis: aligned.Milliseconds(), SyncMillis: time.Since(start).Milliseconds(),
		},
	}
	wctx, cancel := context.WithCancel(ctx)
	t.writing = append(t.writing[:0], &writing{b.Checkpoint, cancel})
	t.writers.Go(func() {
		defer cancel()
		t.save(wctx, b, parts, ack)
	})
	return nil
}

// save writes the files of a snapshot and acknowledges the checkpoint, or declines it. It runs beside the
// task.
func (t *task) save(ctx context.Context, b shuffle.Barrier, parts []OperatorSnapshot, ack protocol.AcknowledgeCheckpointRequest) {
	start := time.Now()
	var failed error
	for i, p := range parts {
		s := protocol.OperatorState{UID: p.UID, Subtask: t.attempt().Subtask, Raw: p.Raw}
		ack.Metrics.Bytes += int64(len(p.Raw))
		if p.Keyed != nil {
			file, err := t.saveKeyed(ctx, b, i, p)
			if err != nil && failed == nil {
				failed = err
			}
			ack.Metrics.Bytes += file.Size
			if file.Size > 0 {
				s.Keyed = []protocol.KeyedState{file}
			}
		}
		ack.State = append(ack.State, s)
	}
	ack.Metrics.AsyncMillis = time.Since(start).Milliseconds()
	switch {
	case ctx.Err() != nil: // given up; whoever did that knows
	case failed != nil:
		t.log.Warn("checkpoint was declined", logging.Checkpoint(b.Checkpoint), zap.Error(failed))
		t.decline(b.Checkpoint, failed.Error())
	default:
		t.worker.events.add(protocol.WorkerEvent{Acknowledge: &ack})
	}
}

// saveKeyed writes one operator's keyed state. The file's name holds all that tells it from a file of
// another master or attempt, so none is ever overwritten.
func (t *task) saveKeyed(ctx context.Context, b shuffle.Barrier, operator int, p OperatorSnapshot) (protocol.KeyedState, error) {
	defer p.Keyed.Release()
	a := t.attempt()
	file := protocol.KeyedState{
		File:  filesystem.Join(b.Dir, fmt.Sprintf("%s-%d-op%d-attempt%d-epoch%d", a.Vertex, a.Subtask, operator, a.Attempt, b.Epoch)),
		First: p.First, Last: p.Last,
	}
	if ctx.Err() != nil {
		return file, ctx.Err()
	}
	err := t.worker.cfg.FileSystem.Create(ctx, file.File, filesystem.Content(func(w io.Writer) (err error) {
		return guarded(func() error { file.Size, err = p.Keyed.Write(w); return err })
	}))
	return file, err
}

// decline says that a checkpoint will not get this task's part.
func (t *task) decline(checkpoint int64, reason string) {
	t.worker.events.add(protocol.WorkerEvent{Decline: &protocol.DeclineCheckpointRequest{
		Job: t.graph.ID, Attempt: t.attempt(), Checkpoint: checkpoint, Reason: reason,
	}})
}

// abort gives checkpoints up.
func (t *task) abort(r checkpointRange) {
	if t.align.abort(r) && t.gate != nil {
		t.gate.Unblock()
	}
	for _, w := range t.writing {
		if r.holds(w.checkpoint) {
			w.cancel()
		}
	}
}

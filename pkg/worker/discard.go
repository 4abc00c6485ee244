package worker

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// discardTimeout bounds how long the sinks of one attempt may take to discard: their job has ended, and its
// process is to end as well.
const discardTimeout = 10 * time.Second

// leftover is what an attempt that ended without being finished leaves behind: sinks that are closed, and
// have prepared what may never be committed.
type leftover struct {
	discard func(ctx context.Context, completed int64) error
	log     *zap.Logger
}

// forget takes out what an attempt, and those of its subtask before it, have left.
func (w *Worker) forget(attempt id.ExecutionAttempt) (left []*leftover) {
	for a, l := range w.ended {
		if subtaskOf(a) == subtaskOf(attempt) && a.Attempt <= attempt.Attempt {
			delete(w.ended, a)
			left = append(left, l)
		}
	}
	return left
}

// foreign is what attempts in other processes may have left of these subtasks: none has opened in this one.
func (w *Worker) foreign(sinks []protocol.TaskDeployment) (left []*leftover) {
	for _, d := range sinks {
		vertex := w.graph.Vertex(d.Attempt.Vertex)
		if _, own := w.opened[subtaskOf(d.Attempt)]; own || vertex == nil {
			continue
		}
		task := &Task{
			Graph: w.graph, Vertex: vertex, Attempt: d.Attempt, Restore: d.Restore, OpenFile: w.cfg.FileSystem.Open,
			Log: w.cfg.Log.With(logging.Attempt(d.Attempt)),
		}
		left = append(left, &leftover{log: task.Log, discard: func(ctx context.Context, _ int64) error {
			chain, err := w.program.NewChain(vertex.ID)
			if err != nil {
				return err
			}
			return chain.CleanUp(ctx, task)
		}})
	}
	return left
}

// hasOpened notes that the task's sinks have cleaned up what earlier attempts left. From now on those must not
// commit any more: what they prepared for a checkpoint that was given up may be in a later one again.
func (t *task) hasOpened(ctx context.Context) {
	t.opened = true
	w, a := t.worker, t.attempt()
	if t.vertex.Commits {
		w.main.Post(ctx, func() {
			w.opened[subtaskOf(a)] = a.Attempt
			before := a
			before.Attempt--
			w.forget(before)
		})
	}
}

// end takes the task out of the worker. What its sinks have prepared is discarded when that is asked for
// already; else it is kept in mind until a newer attempt has opened, which cleans up, or the job ends.
// Nobody can be told that the attempt has ended before.
func (t *task) end(finished bool) {
	w := t.worker
	var left *leftover
	if !finished && t.opened && t.vertex.Commits {
		left = &leftover{t.chain.Discard, t.log}
	}
	// Without the caller's ctx, which has ended. The main thread ends with the worker: then nobody asks.
	discard, err := rpc.Call(context.Background(), w.main, func() (*int64, error) {
		delete(w.tasks, t.attempt())
		if left != nil && t.discard == nil && t.attempt().Attempt >= w.opened[subtaskOf(t.attempt())] {
			w.ended[t.attempt()] = left
		}
		return t.discard, nil
	})
	if err == nil && discard != nil && left != nil {
		left.clear(context.Background(), *discard)
	}
}

// clear deletes what was left, but for what checkpoints up to completed cover.
func (l *leftover) clear(ctx context.Context, completed int64) {
	ctx, cancel := context.WithTimeout(ctx, discardTimeout)
	defer cancel()
	if err := guarded(func() error { return l.discard(ctx, completed) }); err != nil {
		l.log.Warn("sinks have left behind what they prepared", zap.Error(err))
	}
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/shuffle"
)

// task is one attempt of one subtask. Flink's Task and StreamTask.
type task struct {
	worker     *Worker
	exchange   *shuffle.Exchange
	graph      *jobgraph.JobGraph
	vertex     *jobgraph.Vertex
	deployment protocol.TaskDeployment
	log        *zap.Logger

	// For any goroutine.
	mail  mailbox
	meter meter
	stop  context.CancelFunc // ends the task's context

	// Owned by the worker's main thread.
	discard *int64 // not nil: what was prepared for checkpoints above it is not wanted any more

	// Owned by the task's goroutine.
	chain     Chain
	opened    bool          // chain is open
	gate      *shuffle.Gate // nil for sources
	outputs   []*shuffle.Output
	align     *aligner
	drained   bool
	open      int         // channels that have not ended
	unflushed bool        // something may lie in outputs or sinks
	flushing  *time.Timer // posts a flush, nil when no timeout is wanted
	armed     bool        // flushing is under way
	writing   []*writing
	writers   sync.WaitGroup
}

// attempt is the task's name.
func (t *task) attempt() id.ExecutionAttempt { return t.deployment.Attempt }

// run is the task's whole life. When it returns nothing of the attempt runs any more and its terminal
// state has been reported.
func (t *task) run(ctx context.Context) {
	t.meter.started.Store(time.Now().UnixNano())
	err := errGoexit
	defer func() { t.conclude(ctx, err) }() // user code may end the goroutine
	err = guarded(func() error { return t.work(ctx) })
}

var errGoexit = errors.New("user code called runtime.Goexit, as FailNow of a test does")

// conclude ends the task as err, and whether it was canceled, say.
func (t *task) conclude(ctx context.Context, err error) {
	canceled := ctx.Err() != nil // by cancel, or because the process stops
	t.stop()
	err = errors.Join(err, guarded(t.release))
	t.end(err == nil)
	t.meter.ended.Store(time.Now().UnixNano())
	switch {
	case err == nil:
		t.report(protocol.Finished, nil)
		t.log.Info("task finished")
	case canceled:
		t.report(protocol.Canceled, nil)
		t.log.Info("task canceled")
	default:
		f := t.failure(err)
		t.report(protocol.Failed, f)
		fields := []zap.Field{zap.String("error", f.Message)}
		if f.Stack != "" {
			fields = append(fields, zap.String("stack", f.Stack))
		}
		t.log.Warn("task failed", fields...)
	}
}

// work runs the task to its end: nil when it has finished.
func (t *task) work(ctx context.Context) error {
	t.report(protocol.Initializing, nil)
	if err := t.wire(); err != nil {
		return err
	}
	var err error
	if t.chain, err = t.worker.program.NewChain(t.vertex.ID); err != nil {
		return err
	}
	err = t.chain.Open(ctx, &Task{
		Graph: t.graph, Vertex: t.vertex, Attempt: t.attempt(), Outputs: t.outputs,
		Restore: t.deployment.Restore,
		OpenFile: func(ctx context.Context, uri string) (io.ReadCloser, error) {
			return t.worker.cfg.FileSystem.Open(ctx, uri)
		},
		Log: t.log,
	})
	if err != nil {
		return err
	}
	t.hasOpened(ctx)
	t.report(protocol.Running, nil)
	t.log.Info("task running")
	if t.gate == nil {
		return t.runSource(ctx)
	}
	return t.runInputs(ctx)
}

// wire opens the task's channels.
func (t *task) wire() error {
	var inputs, outputs int
	for _, e := range t.graph.Edges {
		if e.To == t.vertex.ID {
			inputs++
		}
		if e.From != t.vertex.ID {
			continue
		}
		if outputs >= len(t.deployment.Outputs) {
			return fmt.Errorf("deployed with %d outputs, the job graph has more", len(t.deployment.Outputs))
		}
		t.outputs = append(t.outputs, t.exchange.Open(t.attempt(), t.deployment.Outputs[outputs], e.Input))
		outputs++
	}
	if inputs != len(t.deployment.Inputs) {
		return fmt.Errorf("deployed with %d inputs, the job graph has %d", len(t.deployment.Inputs), inputs)
	}
	if inputs > 0 {
		t.gate = t.exchange.OpenGate(t.attempt(), t.deployment.Inputs)
		t.open = t.gate.Channels()
		t.align = newAligner(t.open)
	} else {
		t.align = newAligner(0)
	}
	if t.graph.BufferTimeout > 0 {
		t.flushing = time.AfterFunc(time.Hour, func() { t.mail.post(command{flush: true}) })
		t.flushing.Stop()
	}
	return nil
}

// release gives everything back.
func (t *task) release() error {
	if t.flushing != nil {
		t.flushing.Stop()
	}
	for _, w := range t.writing {
		w.cancel()
	}
	t.writers.Wait()
	var err error
	if t.chain != nil {
		err = guarded(t.chain.Close)
	}
	for _, o := range t.outputs {
		o.Close()
	}
	if t.gate != nil {
		t.gate.Close()
	}
	t.sent()
	return err
}

// runSource reads the source until the job ends.
func (t *task) runSource(ctx context.Context) error {
	interrupt := &interruptible{mail: &t.mail}
	defer interrupt.stop()
	dry := false
	for {
		read := interrupt.context(ctx)
		if finished, err := t.obey(ctx); finished || err != nil {
			return err
		}
		if t.drained {
			if err := t.meter.wait(func() error { <-read.Done(); return ctx.Err() }); err != nil {
				return err
			}
			continue
		}
		p, err := t.chain.Poll(ctx, read)
		t.meter.polled(p, dry)
		t.unflushed = t.unflushed || p.Records > 0
		if err != nil {
			return err
		}
		dry = p.Dry
		if p.End {
			err = t.drain(ctx)
		} else {
			err = t.after(ctx, p.Dry)
		}
		if err != nil {
			return err
		}
	}
}

// runInputs takes what arrives until the job ends.
func (t *task) runInputs(ctx context.Context) error {
	t.mail.onPost(t.gate.Wake)
	for {
		if finished, err := t.obey(ctx); finished || err != nil {
			return err
		}
		item, ok, err := t.gate.Next()
		switch {
		case err != nil:
			return err
		case ok:
			err = t.take(ctx, item)
		default:
			if err = t.after(ctx, true); err == nil {
				err = t.meter.wait(func() error { return t.gate.Wait(ctx) })
			}
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// take handles one item of the input.
func (t *task) take(ctx context.Context, item shuffle.Item) error {
	switch item.Kind {
	case shuffle.Data:
		t.unflushed = true
		t.meter.recordsIn.Add(int64(item.Frame.Records))
		t.meter.bytesIn.Add(int64(len(item.Frame.Data)))
		err := t.chain.Consume(ctx, t.gate.Input(item.Channel), item.Frame.Data)
		t.gate.Release(item)
		if err != nil {
			return err
		}
		return t.after(ctx, false)
	case shuffle.BarrierEvent:
		return t.barrier(ctx, item)
	case shuffle.EndEvent:
		if t.open--; t.open == 0 {
			return t.drain(ctx)
		}
	}
	return nil
}

// after decides whether to flush behind a batch. dry: no input waits.
func (t *task) after(ctx context.Context, dry bool) error {
	switch timeout := t.graph.BufferTimeout; {
	case !t.unflushed || timeout < 0:
		t.sent()
		return nil
	case dry || timeout == 0:
		return t.flush(ctx)
	}
	if !t.armed && t.flushing != nil {
		t.armed = true
		t.flushing.Reset(t.graph.BufferTimeout)
	}
	t.sent()
	return nil
}

// flush sends on what has been gathered.
func (t *task) flush(ctx context.Context) error {
	t.unflushed = false
	if err := t.chain.Flush(ctx); err != nil {
		return err
	}
	for _, o := range t.outputs {
		if err := o.FlushAll(ctx); err != nil {
			return err
		}
	}
	t.sent()
	return nil
}

// drain follows the end of the input. The task lives on: barriers still pass through it, and what its
// sinks have prepared is to be committed.
func (t *task) drain(ctx context.Context) error {
	if err := t.chain.Drain(ctx); err != nil {
		return err
	}
	for _, o := range t.outputs {
		if err := o.End(ctx); err != nil {
			return err
		}
	}
	t.drained = true
	t.sent()
	t.report(protocol.Running, nil)
	t.log.Info("task drained")
	return nil
}

// obey carries out what is in the mailbox.
func (t *task) obey(ctx context.Context) (finished bool, err error) {
	for _, c := range t.mail.take() {
		switch {
		case c.flush:
			t.armed = false
			if t.unflushed {
				err = t.flush(ctx)
			}
		case c.trigger != nil:
			err = t.trigger(ctx, *c.trigger)
		case c.complete > 0:
			err = t.chain.Commit(ctx, c.complete)
		case c.abort != nil:
			t.abort(*c.abort)
		case c.finish && !t.drained:
			t.log.Error("task was told to finish before its input ended")
		case c.finish:
			return true, t.chain.Finish(ctx)
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// report adds the attempt's state to the event log.
func (t *task) report(s protocol.TaskState, f *protocol.Failure) {
	t.worker.events.add(protocol.WorkerEvent{State: &protocol.Execution{
		Attempt: t.attempt(), State: s, Failure: f, Drained: t.drained && s == protocol.Running,
		Allocation: t.deployment.Allocation, StartedAt: time.Unix(0, t.meter.started.Load()), Metrics: t.meter.read(),
	}})
}

// failure describes err to users.
func (t *task) failure(err error) *protocol.Failure {
	f := &protocol.Failure{
		Message: fmt.Sprintf("%s (%d/%d): %v", t.vertex.Name, t.attempt().Subtask+1, t.vertex.Parallelism, err),
	}
	var p *panicked
	if errors.As(err, &p) {
		f.Stack = string(p.stack)
	}
	var lost *shuffle.PeerError
	f.Consequence = p == nil && errors.As(err, &lost)
	return f
}

// panicked is a panic of user code.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// guarded turns a panic of f into an error.
func guarded(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicked{v, debug.Stack()}
		}
	}()
	return f()
}

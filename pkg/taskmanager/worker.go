package taskmanager

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// worker is one process of a job: its start, the calls to it in order, what it tells, and its end. Its
// goroutines belong to the TaskManager's Run.
type worker struct {
	job  *job
	spec LaunchSpec
	// kill ends the process; then the worker ends.
	kill func()
	// ready is closed when the process answers calls, or never will: address and err are set by then.
	ready   chan struct{}
	address string
	err     error
	// wake says that commands is not empty. Room for one: more say the same.
	wake chan struct{}

	// Owned by the main thread.
	commands   []command
	afterwards []func()          // called when nothing of the process is left
	condemned  *protocol.Failure // why it was killed, nil for no reason of its own
	lingers    bool              // it is killed as soon as its sinks have discarded what they prepared
}

// command is a call to the process.
type command struct {
	method string
	run    func(context.Context, rpc.Gateway) error
	failed func(error) // on the main thread; may be nil
	done   func()      // after it, answered or failed, on the main thread; may be nil
}

// startWorker starts a process. Main thread.
func (j *job) startWorker(spec LaunchSpec) *worker {
	w := &worker{job: j, spec: spec, ready: make(chan struct{}), wake: make(chan struct{}, 1)}
	w.kill = j.tm.spawn(w.run)
	return w
}

// send queues a call to the process: calls are made one after the other in this order. Main thread.
func send[Req any](w *worker, call protocol.Call[Req, protocol.Empty], r Req, failed func(error)) {
	w.queue(command{method: call.Method, run: invoke(call, r), failed: failed})
}

func (w *worker) queue(c command) {
	w.commands = append(w.commands, c)
	signal(w.wake)
}

func invoke[Req any](call protocol.Call[Req, protocol.Empty], r Req) func(context.Context, rpc.Gateway) error {
	return func(ctx context.Context, g rpc.Gateway) error {
		_, err := rpc.Invoke(ctx, g, call, r)
		return err
	}
}

// run is the life of the process; it ends when ctx ends or the process does.
func (w *worker) run(ctx context.Context) {
	began := time.Now()
	p, failure := w.start(ctx)
	if failure == nil {
		w.job.log.Info("job process started", logging.Took(time.Since(began)))
		failure = w.attend(ctx, p)
	}
	// The main thread outlives every worker: see TaskManager.Run.
	w.job.tm.main.Post(context.WithoutCancel(ctx), func() { w.ended(failure) })
}

// start launches the process and makes it listen. A nil failure means that it is ready.
func (w *worker) start(ctx context.Context) (Process, *protocol.Failure) {
	defer close(w.ready)
	p, err := w.job.tm.cfg.Launcher.Launch(ctx, w.spec)
	if err != nil {
		w.err = fmt.Errorf("start a process of job %s: %w", w.job.id, err)
		return nil, &protocol.Failure{Message: w.err.Error(), Process: true}
	}
	cfg := w.job.tm.cfg
	startCtx, cancel := context.WithTimeout(ctx, cfg.ProcessTimeout)
	stop := start(startCtx, func(ctx context.Context) {
		select {
		case <-p.Done():
			cancel() // nobody will answer
		case <-ctx.Done():
		}
	})
	prepared, err := rpc.Invoke(startCtx, p.Gateway(), protocol.StartWorker, protocol.StartWorkerRequest{
		Graph: w.spec.Graph, BindHost: cfg.BindHost, Host: cfg.DataHost,
	})
	stop()
	cancel()
	if err == nil {
		w.address = prepared.DataAddress
		return p, nil
	}
	p.Kill()
	<-p.Done()
	w.err = fmt.Errorf("start a process of job %s: %w", w.job.id, err)
	if f := p.Failure(); f != nil && ctx.Err() == nil {
		w.err = fmt.Errorf("%w: %w", w.err, f)
	}
	return nil, &protocol.Failure{Message: w.err.Error(), Process: true}
}

// attend serves the process until it has ended, and says why it did.
func (w *worker) attend(ctx context.Context, p Process) *protocol.Failure {
	callCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { w.carry(callCtx, p.Gateway()) })
	wg.Go(func() { w.listen(callCtx, p.Gateway()) })
	silent := make(chan struct{})
	wg.Go(func() { w.measure(callCtx, p.Gateway(), silent) })
	var failure *protocol.Failure
	select {
	case <-p.Done():
	case <-ctx.Done():
		failure = &protocol.Failure{Message: "the job process was killed", Process: true}
	case <-silent:
		failure = &protocol.Failure{Process: true,
			Message: fmt.Sprintf("the job process answered nothing for %s and was killed", w.job.tm.cfg.ProcessTimeout)}
	}
	p.Kill()
	<-p.Done()
	cancel()
	wg.Wait() // what it told before its end is told before its end
	return cmp.Or(failure, p.Failure())
}

// carry makes the queued calls, one after the other.
func (w *worker) carry(ctx context.Context, g rpc.Gateway) {
	main := w.job.tm.main
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		}
		commands, err := rpc.Call(ctx, main, func() ([]command, error) {
			commands := w.commands
			w.commands = nil
			return commands, nil
		})
		if err != nil {
			return
		}
		for _, c := range commands {
			err := c.run(ctx, g)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				w.job.log.Warn("job process refused a call", zap.String("method", c.method), zap.Error(err))
			}
			if err != nil && c.failed != nil {
				w.post(ctx, func() { c.failed(err) })
			}
			if c.done != nil {
				w.post(ctx, c.done)
			}
		}
	}
}

// post runs f on the main thread if w is still the process of its job.
func (w *worker) post(ctx context.Context, f func()) {
	w.job.tm.main.Post(ctx, func() {
		if w.job.worker == w {
			f()
		}
	})
}

// listen takes in what the process tells, each event once and in order: an event is forgotten by the
// process when a later call says that it was received.
func (w *worker) listen(ctx context.Context, g rpc.Gateway) {
	var after int64
	for ctx.Err() == nil {
		answer, err := rpc.Invoke(ctx, g, protocol.WorkerEvents, protocol.WorkerEventsRequest{After: after})
		if err != nil {
			sleep(ctx, firstBackoff) // the process has ended, or measure will find that it hangs
			continue
		}
		for _, e := range answer.Events {
			if e.Number > after {
				after = e.Number
				w.post(context.WithoutCancel(ctx), func() { w.job.event(e) })
			}
		}
	}
}

// measure reads counters, and closes silent when the process has not answered for the timeout.
func (w *worker) measure(ctx context.Context, g rpc.Gateway, silent chan<- struct{}) {
	cfg := w.job.tm.cfg
	tick := time.NewTicker(cfg.MetricsInterval)
	defer tick.Stop()
	heard, failed := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		answer, err := w.readMetrics(ctx, g)
		if err == nil {
			heard, failed = time.Now(), 0
			w.post(ctx, func() { w.job.executions.measure(answer.Attempts) })
			continue
		}
		// Two failures: a pause of this process is not taken for the job process's.
		if failed++; failed >= 2 && time.Since(heard) >= cfg.ProcessTimeout && ctx.Err() == nil {
			close(silent)
			return
		}
	}
}

func (w *worker) readMetrics(ctx context.Context, g rpc.Gateway) (protocol.WorkerMetricsAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return rpc.Invoke(ctx, g, protocol.WorkerMetrics, protocol.Empty{})
}

// ended is the last act of a worker. Main thread.
func (w *worker) ended(failure *protocol.Failure) {
	j := w.job
	if j.worker == w {
		j.worker = nil
		failure = cmp.Or(w.condemned, failure)
		if live := j.executions.live(); len(live) > 0 && !j.releasing && !j.tm.stopping {
			j.log.Warn("job process ended with its tasks", zap.Int("tasks", len(live)), zap.String("cause", failure.Message))
			j.fail(live, failure)
		}
	}
	for _, f := range w.afterwards {
		f()
	}
}

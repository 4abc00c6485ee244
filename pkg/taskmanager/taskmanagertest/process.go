package taskmanagertest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/taskmanager"
)

// Launcher starts simulated job processes for one TaskManager.
type Launcher struct {
	tasks *Tasks
	tm    id.TaskManager
}

// Launcher returns the launcher for one TaskManager.
func (t *Tasks) Launcher(tm id.TaskManager) *Launcher { return &Launcher{tasks: t, tm: tm} }

// Launch implements taskmanager.Launcher.
func (l *Launcher) Launch(ctx context.Context, spec taskmanager.LaunchSpec) (taskmanager.Process, error) {
	t := l.tasks
	if t.cfg.FailLaunch != nil {
		if err := t.cfg.FailLaunch(spec.Graph.ID, l.tm); err != nil {
			return nil, err
		}
	}
	if t.cfg.LaunchDelay > 0 {
		delay := time.NewTimer(t.cfg.LaunchDelay)
		defer delay.Stop()
		select {
		case <-delay.C:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	p := newProcess(t, l.tm, spec.Graph)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.processes = append(t.processes, p)
	t.record(p, ProcessStarted, id.ExecutionAttempt{}, 0)
	return p, nil
}

// Release implements taskmanager.Launcher: there is nothing to remove.
func (l *Launcher) Release(id.Job) error { return nil }

// Process is a simulated job process. It has no goroutine of its own, only timers; its state is guarded
// by the mutex of its Tasks.
type Process struct {
	tasks   *Tasks
	tm      id.TaskManager
	job     id.Job
	graph   jobgraph.JobGraph
	gateway rpc.Gateway
	done    chan struct{}
	// handlers answer calls on the caller's goroutine.
	handlers map[string]func(context.Context, *rpc.Request) (any, error)

	// Guarded by tasks.mu.
	failure *protocol.Failure
	running map[id.ExecutionAttempt]*task
	events  []protocol.WorkerEvent
	number  int64
	grown   chan struct{} // closed and replaced when events grow
}

type task struct {
	deployment protocol.TaskDeployment
	source     bool
	state      protocol.TaskState
	drained    bool
	since      time.Time
	acked      map[int64]bool
	aborted    [][2]int64
	// taken is the newest checkpoint this task took part in: older barriers are late.
	taken int64
	epoch uint64
}

func newProcess(t *Tasks, tm id.TaskManager, graph jobgraph.JobGraph) *Process {
	p := &Process{
		tasks: t, tm: tm, job: graph.ID, graph: graph, done: make(chan struct{}),
		running: map[id.ExecutionAttempt]*task{}, grown: make(chan struct{}),
	}
	p.gateway = rpc.NewGateway(p, rpc.Address{HostPort: string(tm), Endpoint: protocol.WorkerEndpoint}, id.FencingToken{})
	p.handlers = map[string]func(context.Context, *rpc.Request) (any, error){}
	handle(p, protocol.StartWorker, func(_ context.Context, r protocol.StartWorkerRequest) (protocol.PreparedJob, error) {
		if r.Graph.ID != p.job {
			return protocol.PreparedJob{}, fmt.Errorf("process of job %s was started as job %s", p.job, r.Graph.ID)
		}
		return protocol.PreparedJob{DataAddress: fmt.Sprintf("%s/data/%s", tm, p.job)}, nil
	})
	handle(p, protocol.WorkerDeploy, nothing(p.deploy))
	handle(p, protocol.WorkerCancel, nothing(p.cancel))
	handle(p, protocol.WorkerTriggerCheckpoint, nothing(p.trigger))
	handle(p, protocol.WorkerCompleteCheckpoint, nothing(p.complete))
	handle(p, protocol.WorkerAbortCheckpoint, nothing(p.abort))
	handle(p, protocol.WorkerFinish, nothing(p.finish))
	handle(p, protocol.WorkerEvents, p.poll)
	handle(p, protocol.WorkerMetrics, p.metrics)
	return p
}

func handle[Req, Resp any](p *Process, call protocol.Call[Req, Resp], f func(context.Context, Req) (Resp, error)) {
	p.handlers[call.Method] = func(ctx context.Context, r *rpc.Request) (any, error) {
		var req Req
		if err := rpc.Unmarshal(r.Payload, &req); err != nil {
			return nil, err
		}
		return f(ctx, req)
	}
}

func nothing[Req any](f func(Req)) func(context.Context, Req) (protocol.Empty, error) {
	return func(_ context.Context, r Req) (protocol.Empty, error) {
		f(r)
		return protocol.Empty{}, nil
	}
}

// Call implements rpc.Caller: the wire between a TaskManager and its job process.
func (p *Process) Call(ctx context.Context, address string, r *rpc.Request) (*rpc.Response, error) {
	unreachable := fmt.Errorf("%w: job process at %s has ended", rpc.ErrUnreachable, address)
	select {
	case <-p.done:
		return nil, unreachable
	default:
	}
	answer, err := p.handlers[r.Method](ctx, r)
	select {
	case <-p.done:
		return nil, unreachable
	default:
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return &rpc.Response{Code: "error", Message: err.Error()}, nil
	}
	payload, err := rpc.Marshal(answer)
	return &rpc.Response{Payload: payload}, err
}

// Gateway implements taskmanager.Process.
func (p *Process) Gateway() rpc.Gateway { return p.gateway }

// Done implements taskmanager.Process.
func (p *Process) Done() <-chan struct{} { return p.done }

// Failure implements taskmanager.Process.
func (p *Process) Failure() *protocol.Failure {
	p.tasks.mu.Lock()
	defer p.tasks.mu.Unlock()
	return p.failure
}

// Kill implements taskmanager.Process.
func (p *Process) Kill() { p.die("signal: killed") }

func (p *Process) die(why string) {
	p.tasks.mu.Lock()
	defer p.tasks.mu.Unlock()
	if p.failure != nil {
		return
	}
	p.failure = &protocol.Failure{Message: "job process ended: " + why, Process: true}
	for _, a := range p.live() {
		p.tasks.record(p, Lost, a, 0)
	}
	p.tasks.record(p, ProcessEnded, id.ExecutionAttempt{}, 0)
	p.tasks.processes = slices.DeleteFunc(p.tasks.processes, func(other *Process) bool { return other == p })
	close(p.done)
}

// after runs f with the mutex held when d has passed, if the process is still there.
func (p *Process) after(d time.Duration, f func()) {
	time.AfterFunc(d, func() {
		p.tasks.mu.Lock()
		defer p.tasks.mu.Unlock()
		if p.failure == nil {
			f()
		}
	})
}

// live is called with the mutex held.
func (p *Process) live() []id.ExecutionAttempt {
	var live []id.ExecutionAttempt
	for a := range p.running {
		live = append(live, a)
	}
	slices.SortFunc(live, func(a, b id.ExecutionAttempt) int {
		return slices.Compare([]byte(a.String()), []byte(b.String()))
	})
	return live
}

// tell is called with the mutex held.
func (p *Process) tell(e protocol.WorkerEvent) {
	p.number++
	e.Number = p.number
	p.events = append(p.events, e)
	close(p.grown)
	p.grown = make(chan struct{})
}

func (p *Process) tellState(a id.ExecutionAttempt, s protocol.TaskState, drained bool, f *protocol.Failure) {
	p.tell(protocol.WorkerEvent{State: &protocol.Execution{Attempt: a, State: s, Drained: drained, Failure: f}})
}

func (p *Process) poll(ctx context.Context, r protocol.WorkerEventsRequest) (protocol.WorkerEventsAnswer, error) {
	for {
		p.tasks.mu.Lock()
		p.events = slices.DeleteFunc(p.events, func(e protocol.WorkerEvent) bool { return e.Number <= r.After })
		events, grown := slices.Clone(p.events), p.grown
		p.tasks.mu.Unlock()
		if len(events) > 0 {
			return protocol.WorkerEventsAnswer{Events: events}, nil
		}
		select {
		case <-grown:
		case <-p.done:
			return protocol.WorkerEventsAnswer{}, rpc.ErrStopped
		case <-ctx.Done():
			return protocol.WorkerEventsAnswer{}, ctx.Err()
		}
	}
}

func (p *Process) metrics(context.Context, protocol.Empty) (protocol.WorkerMetricsAnswer, error) {
	p.tasks.mu.Lock()
	defer p.tasks.mu.Unlock()
	var answer protocol.WorkerMetricsAnswer
	for _, a := range p.live() {
		answer.Attempts = append(answer.Attempts, protocol.AttemptMetrics{
			Attempt: a, Metrics: protocol.TaskMetrics{RecordsOut: time.Since(p.running[a].since).Milliseconds()},
		})
	}
	return answer, nil
}

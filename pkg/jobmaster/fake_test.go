package jobmaster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// fakeTaskManager has slots that were leased to one job, and tasks that only claim to run. It does what
// the protocol wants of a TaskManager: it obeys the newest leader only, keeps its tasks whatever happens to
// leaders, and repeats what it has to tell until a leader has taken it.
type fakeTaskManager struct {
	id      id.TaskManager
	address string
	job     id.Job
	rpc     *rpc.Service
	main    *rpc.MainThread
	has     *haservices.Services
	// wake says that there is something to tell.
	wake chan struct{}
	// hold makes a call wait until it is closed; guarded by holdMu.
	holdMu sync.Mutex
	hold   map[string]chan struct{}

	// Owned by the main thread.
	fence       rpc.FollowerFence
	allocations []id.Allocation
	offered     map[id.Allocation]bool
	tasks       map[id.ExecutionAttempt]*fakeTask
	acks        []protocol.AcknowledgeCheckpointRequest
	// calls received, in order, as "method argument".
	calls    []string
	fenced   int
	released bool
	// stubborn tasks do not end when they are cancelled, silent ones do not acknowledge checkpoints.
	stubborn, silent bool
}

type fakeTask struct {
	protocol.Execution
	told bool
}

func newFakeTaskManager(w *world, name id.TaskManager, slots int) *fakeTaskManager {
	node := w.network.Node(string(name) + ":1")
	tm := &fakeTaskManager{
		id: name, address: node.Address(), job: w.graph.ID, rpc: rpc.NewService(node), main: rpc.NewMainThread(),
		has: w.services(string(name)), wake: make(chan struct{}, 1), hold: map[string]chan struct{}{},
		offered: map[id.Allocation]bool{}, tasks: map[id.ExecutionAttempt]*fakeTask{},
	}
	for range slots {
		tm.allocations = append(tm.allocations, id.NewAllocation())
	}
	e := rpc.NewEndpoint(protocol.TaskManagerEndpoint, tm.main)
	handle(tm, e, protocol.DeployTasks, tm.deploy)
	handle(tm, e, protocol.CancelTasks, tm.cancelTasks)
	handle(tm, e, protocol.TriggerCheckpoint, tm.trigger)
	handle(tm, e, protocol.CompleteCheckpoint, func(r protocol.CompleteCheckpointRequest) (protocol.Empty, error) {
		tm.note("complete %d", r.Checkpoint)
		return protocol.Empty{}, nil
	})
	handle(tm, e, protocol.AbortCheckpoint, func(r protocol.AbortCheckpointRequest) (protocol.Empty, error) {
		tm.note("abort %d..%d", r.First, r.Last)
		return protocol.Empty{}, nil
	})
	handle(tm, e, protocol.FinishTasks, tm.finish)
	handle(tm, e, protocol.ReleaseSlots, func(r protocol.ReleaseSlotsRequest) (protocol.Empty, error) {
		tm.note("release %d slots", len(r.Allocations))
		tm.free(r.Allocations)
		return protocol.Empty{}, nil
	})
	handle(tm, e, protocol.ReleaseJob, func(r protocol.ReleaseJobRequest) (protocol.Empty, error) {
		if len(r.Discard) > 0 {
			tm.note("discard %s above %d", showAttempts(r.Discard), r.Completed)
		}
		tm.note("release job")
		tm.released, tm.allocations = true, nil
		clear(tm.tasks)
		return protocol.Empty{}, nil
	})
	handle(tm, e, protocol.JobMasterHeartbeat, func(protocol.JobMasterHeartbeatRequest) (protocol.JobReport, error) {
		if tm.released {
			return protocol.JobReport{}, protocol.ErrUnknownJob
		}
		return tm.report(), nil
	})
	rpc.HandleAsync(e, protocol.PrepareJob, rpc.GuardFunc(tm.check), func(ctx context.Context, r protocol.PrepareJobRequest) (protocol.PreparedJob, error) {
		tm.held("PrepareJob")
		return protocol.PreparedJob{DataAddress: tm.address + "/data"}, ctx.Err()
	})
	tm.rpc.Add(e)
	return tm
}

// handle registers a call that is decided at once, after the time for which the test holds it, in one step
// with the check of its token.
func handle[Req, Resp any](tm *fakeTaskManager, e *rpc.Endpoint, c protocol.Call[Req, Resp], f func(Req) (Resp, error)) {
	var token id.FencingToken // of the last request; tests hold one at a time. Owned by the main thread
	guard := rpc.GuardFunc(func(t id.FencingToken, _ any) error { token = t; return nil })
	rpc.HandleAsync(e, c, guard, func(ctx context.Context, r Req) (Resp, error) {
		tm.held(c.Method)
		return rpc.Call(context.WithoutCancel(ctx), tm.main, func() (resp Resp, err error) {
			if err := tm.check(token, nil); err != nil {
				return resp, err
			}
			return f(r)
		})
	})
}

func (tm *fakeTaskManager) check(token id.FencingToken, _ any) error {
	err := tm.fence.Observe(token)
	if err != nil {
		tm.fenced++
	}
	return err
}

func (tm *fakeTaskManager) holding(method string) (letGo func()) {
	tm.holdMu.Lock()
	defer tm.holdMu.Unlock()
	c := make(chan struct{})
	tm.hold[method] = c
	return sync.OnceFunc(func() { close(c) })
}

// held waits for as long as the test holds calls of method; it does not matter whether the caller lives.
func (tm *fakeTaskManager) held(method string) {
	tm.holdMu.Lock()
	c := tm.hold[method]
	tm.holdMu.Unlock()
	if c != nil {
		<-c
	}
}

func (tm *fakeTaskManager) note(format string, args ...any) {
	tm.calls = append(tm.calls, fmt.Sprintf(format, args...))
}

func (tm *fakeTaskManager) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { tm.rpc.Run(ctx) })
	wg.Go(func() { tm.main.Run(ctx) })
	leaders := haservices.NewLeaderChannel()
	wg.Go(func() { tm.has.LeaderRetrieval(haservices.JobMaster(tm.job)).Run(ctx, leaders) })
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case <-ctx.Done():
			return
		case leader := <-leaders.C():
			if leader.IsEmpty() {
				continue // no leader is no news
			}
			stop()
			sessionCtx, cancel := context.WithCancel(ctx)
			ended := make(chan struct{})
			go func() { defer close(ended); tm.session(sessionCtx, leader) }()
			stop = func() { cancel(); <-ended }
		}
	}
}

// session registers and tells, and registers again when telling failed.
func (tm *fakeTaskManager) session(ctx context.Context, leader haservices.LeaderInformation) {
	g, err := tm.rpc.Gateway(leader.Address, leader.Token)
	if err != nil {
		panic(err)
	}
	for ctx.Err() == nil {
		if tm.register(ctx, g) == nil {
			for tm.tell(ctx, g) == nil {
				select {
				case <-tm.wake:
				case <-ctx.Done():
					return
				}
			}
		}
		sleep(ctx, 100*time.Millisecond)
	}
}

func (tm *fakeTaskManager) register(ctx context.Context, g rpc.Gateway) error {
	request, err := rpc.Call(ctx, tm.main, func() (r protocol.RegisterAtJobMasterRequest, err error) {
		if tm.released {
			return r, rpc.ErrStopped
		}
		return protocol.RegisterAtJobMasterRequest{
			Job: tm.job, TaskManager: tm.id, Instance: tm.rpc.Transport().Process(), Address: tm.rpc.Address(protocol.TaskManagerEndpoint),
			Report: tm.report(),
		}, tm.fence.Observe(g.Token())
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	answer, err := rpc.Invoke(ctx, g, protocol.RegisterAtJobMaster, request)
	if err != nil {
		return err
	}
	return rpc.Do(ctx, tm.main, func() {
		for _, a := range request.Report.Allocations {
			tm.offered[a] = true
		}
		if len(answer.Cancel) > 0 {
			tm.cancelTasks(protocol.CancelTasksRequest{Attempts: answer.Cancel})
		}
		tm.free(answer.RejectedSlots)
	})
}

func (tm *fakeTaskManager) report() (r protocol.JobReport) {
	r.Allocations = slices.Clone(tm.allocations)
	for _, t := range tm.tasks {
		r.Executions = append(r.Executions, t.Execution)
	}
	return r
}

func (tm *fakeTaskManager) tell(ctx context.Context, g rpc.Gateway) error {
	request := protocol.TaskStateChangedRequest{Job: tm.job, TaskManager: tm.id, Instance: tm.rpc.Transport().Process()}
	var acks []protocol.AcknowledgeCheckpointRequest
	err := rpc.Do(ctx, tm.main, func() {
		for _, t := range tm.tasks {
			if !t.told {
				request.Executions = append(request.Executions, t.Execution)
			}
		}
		acks = slices.Clone(tm.acks)
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if len(request.Executions) > 0 {
		if _, err := rpc.Invoke(ctx, g, protocol.TaskStateChanged, request); err != nil {
			return err
		}
	}
	for _, a := range acks {
		a.TaskManager, a.Instance = request.TaskManager, request.Instance
		if _, err := rpc.Invoke(ctx, g, protocol.AcknowledgeCheckpoint, a); err != nil {
			return err
		}
	}
	return rpc.Do(ctx, tm.main, func() {
		for _, x := range request.Executions {
			if t := tm.tasks[x.Attempt]; t != nil && t.State == x.State && t.Drained == x.Drained {
				t.told = true
			}
		}
		tm.acks = tm.acks[len(acks):]
	})
}

// set changes a task's state and has it told. Main thread.
func (tm *fakeTaskManager) set(a id.ExecutionAttempt, change func(*protocol.Execution)) {
	t := tm.tasks[a]
	change(&t.Execution)
	t.told = false
	signal(tm.wake)
}

func (tm *fakeTaskManager) deploy(r protocol.DeployTasksRequest) (protocol.Empty, error) {
	for _, d := range r.Tasks {
		if tm.tasks[d.Attempt] != nil {
			continue
		}
		restored := ""
		if d.Restore != nil {
			restored = fmt.Sprintf(" from %d", d.Restore.Checkpoint)
		}
		tm.note("deploy %s%s", showAttempt(d.Attempt), restored)
		tm.tasks[d.Attempt] = &fakeTask{Execution: protocol.Execution{
			Attempt: d.Attempt, State: protocol.Deploying, Allocation: d.Allocation, StartedAt: time.Now(),
		}}
		tm.set(d.Attempt, func(x *protocol.Execution) { x.State = protocol.Running })
	}
	return protocol.Empty{}, nil
}

func (tm *fakeTaskManager) cancelTasks(r protocol.CancelTasksRequest) (protocol.Empty, error) {
	for _, a := range r.Attempts {
		if r.Discard {
			tm.note("cancel %s, discard above %d", showAttempt(a), r.Completed)
		} else {
			tm.note("cancel %s", showAttempt(a))
		}
		if t := tm.tasks[a]; t != nil && !t.State.Terminal() && !tm.stubborn {
			tm.set(a, func(x *protocol.Execution) { x.State = protocol.Canceled })
		}
	}
	return protocol.Empty{}, nil
}

func (tm *fakeTaskManager) finish(r protocol.FinishTasksRequest) (protocol.Empty, error) {
	for _, a := range r.Attempts {
		tm.note("finish %s", showAttempt(a))
		if t := tm.tasks[a]; t != nil && !t.State.Terminal() {
			tm.set(a, func(x *protocol.Execution) { x.State = protocol.Finished })
		}
	}
	return protocol.Empty{}, nil
}

// trigger acknowledges for all tasks here, as if the barrier had reached them: every TaskManager of these
// tests has a source.
func (tm *fakeTaskManager) trigger(r protocol.TriggerCheckpointRequest) (protocol.Empty, error) {
	tm.note("trigger %d", r.Checkpoint)
	for a, t := range tm.tasks {
		if t.State.Terminal() || tm.silent {
			continue
		}
		tm.acks = append(tm.acks, protocol.AcknowledgeCheckpointRequest{
			Job: tm.job, Attempt: a, Checkpoint: r.Checkpoint,
			State: []protocol.OperatorState{{UID: a.Vertex.String(), Subtask: a.Subtask, Raw: []byte("state")}},
		})
	}
	signal(tm.wake)
	return protocol.Empty{}, nil
}

func (tm *fakeTaskManager) free(allocations []id.Allocation) {
	tm.allocations = slices.DeleteFunc(tm.allocations, func(a id.Allocation) bool { return slices.Contains(allocations, a) })
}

// do runs f on the TaskManager's main thread.
func (tm *fakeTaskManager) do(f func()) {
	if err := rpc.Do(context.Background(), tm.main, f); err != nil {
		panic(err)
	}
}

// log returns the calls received that begin with one of the words, as lines.
func (tm *fakeTaskManager) log(words ...string) (lines []string) {
	tm.do(func() {
		for _, c := range tm.calls {
			for _, w := range words {
				if strings.HasPrefix(c, w) {
					lines = append(lines, c)
				}
			}
		}
	})
	return lines
}

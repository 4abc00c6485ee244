package taskmanagertest

import (
	"fmt"
	"slices"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// deploy starts tasks.
func (p *Process) deploy(r protocol.DeployTasksRequest) {
	t := p.tasks
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range r.Tasks {
		if t.started[p.job] == nil {
			t.started[p.job] = map[id.ExecutionAttempt]bool{}
		}
		if t.started[p.job][d.Attempt] {
			t.violate("attempt %s of job %s was started twice, the second time at %s", d.Attempt, p.job, p.tm)
			continue
		}
		t.started[p.job][d.Attempt] = true
		v := p.graph.Vertex(d.Attempt.Vertex)
		if v == nil {
			t.violate("attempt %s is of no vertex of job %s", d.Attempt, p.job)
			continue
		}
		x := &task{deployment: d, source: v.Source, state: protocol.Deploying, since: time.Now(), acked: map[int64]bool{}}
		p.running[d.Attempt] = x
		var restored int64
		if d.Restore != nil {
			restored, x.taken = d.Restore.Checkpoint, d.Restore.Checkpoint
			if t.cfg.Restore != nil {
				if err := t.cfg.Restore(p.job, d.Attempt, d.Restore); err != nil {
					t.violate("attempt %s of job %s restores checkpoint %d: %v", d.Attempt, p.job, restored, err)
				}
			}
		}
		t.record(p, Started, d.Attempt, restored)
		p.tellState(d.Attempt, protocol.Initializing, false, nil)
		p.after(t.cfg.StartDelay, func() { p.run(d.Attempt) })
	}
}

// run makes a task RUNNING. With the mutex held.
func (p *Process) run(a id.ExecutionAttempt) {
	x := p.running[a]
	if x == nil {
		return
	}
	x.state, x.since = protocol.Running, time.Now()
	p.tasks.record(p, Running, a, 0)
	p.tellState(a, protocol.Running, x.drained, nil)
	if p.tasks.cfg.Bounded == nil || !x.source {
		return
	}
	if d := p.tasks.cfg.Bounded(p.job); d > 0 {
		p.after(d, func() { p.drain(a) })
	}
}

// drain notes that a task has seen the end of its input. With the mutex held.
func (p *Process) drain(a id.ExecutionAttempt) {
	x := p.running[a]
	if x == nil || x.drained {
		return
	}
	x.drained = true
	p.tasks.record(p, Drained, a, 0)
	p.tellState(a, protocol.Running, true, nil)
	if x.source {
		time.AfterFunc(0, func() { p.tasks.drained(p.job) }) // not under the mutex
	}
}

func (p *Process) drainSources() {
	p.tasks.mu.Lock()
	defer p.tasks.mu.Unlock()
	for _, a := range p.live() {
		if p.running[a].source {
			p.drain(a)
		}
	}
}

// sourcesRun reports whether a source here still has input. With the mutex held.
func (p *Process) sourcesRun() bool {
	for _, x := range p.running {
		if x.source && !x.drained {
			return true
		}
	}
	return false
}

// drainOthers lets all tasks drain that are no sources. With the mutex held.
func (p *Process) drainOthers() {
	for _, a := range p.live() {
		if !p.running[a].source {
			p.drain(a)
		}
	}
}

// end ends a task. It reports whether it ran.
func (p *Process) end(a id.ExecutionAttempt, s protocol.TaskState, f *protocol.Failure) bool {
	p.tasks.mu.Lock()
	defer p.tasks.mu.Unlock()
	return p.ended(a, s, f)
}

// ended is end with the mutex held.
func (p *Process) ended(a id.ExecutionAttempt, s protocol.TaskState, f *protocol.Failure) bool {
	if p.running[a] == nil {
		return false
	}
	delete(p.running, a)
	kinds := map[protocol.TaskState]Kind{protocol.Finished: Finished, protocol.Canceled: Cancelled, protocol.Failed: Failed}
	p.tasks.record(p, kinds[s], a, 0)
	p.tellState(a, s, false, f)
	return true
}

func (p *Process) cancel(r protocol.CancelTasksRequest) {
	p.tasks.mu.Lock()
	defer p.tasks.mu.Unlock()
	for _, a := range r.Attempts {
		if r.Discard {
			p.tasks.record(p, Discarded, a, r.Completed)
		}
		if x := p.running[a]; x != nil && x.state != protocol.Canceling && p.tasks.cfg.CancelDelay >= 0 {
			x.state = protocol.Canceling
			p.tellState(a, protocol.Canceling, false, nil)
			p.after(p.tasks.cfg.CancelDelay, func() { p.ended(a, protocol.Canceled, nil) })
		}
	}
	for _, s := range r.Sinks {
		p.tasks.record(p, CleanedUp, s.Attempt, r.Completed)
	}
}

// finish ends drained tasks.
func (p *Process) finish(r protocol.FinishTasksRequest) {
	p.tasks.mu.Lock()
	defer p.tasks.mu.Unlock()
	for _, a := range r.Attempts {
		switch x := p.running[a]; {
		case x == nil:
		case !x.drained:
			p.tasks.violate("attempt %s of job %s was told to finish before it was drained", a, p.job)
		default:
			p.ended(a, protocol.Finished, nil)
		}
	}
}

// trigger makes sources emit a barrier.
func (p *Process) trigger(r protocol.TriggerCheckpointRequest) {
	key := barrierKey{r.Job, r.Checkpoint, r.Epoch}
	p.tasks.mu.Lock()
	defer p.tasks.mu.Unlock()
	for _, a := range r.Sources {
		x := p.running[a]
		switch {
		case x == nil:
			continue
		case !x.source:
			p.tasks.violate("checkpoint %d was triggered at %s, which is no source", r.Checkpoint, a)
			continue
		case x.state != protocol.Running:
			p.tell(protocol.WorkerEvent{Decline: &protocol.DeclineCheckpointRequest{
				Job: p.job, Attempt: a, Checkpoint: r.Checkpoint, Reason: "the task is " + string(x.state)}})
			continue
		}
		if p.barrier(a, x, key) {
			time.AfterFunc(0, func() { p.tasks.emitted(&p.graph, key, a) }) // not under the mutex
		}
	}
}

// barrierEverywhere lets the tasks that are no sources take part. With the mutex held.
func (p *Process) barrierEverywhere(key barrierKey) {
	for _, a := range p.live() {
		if x := p.running[a]; !x.source && x.state == protocol.Running {
			p.barrier(a, x, key)
		}
	}
}

// barrier lets one task take part, unless the barrier is late. With the mutex held.
func (p *Process) barrier(a id.ExecutionAttempt, x *task, key barrierKey) bool {
	aborted := slices.ContainsFunc(x.aborted, func(r [2]int64) bool { return r[0] <= key.checkpoint && key.checkpoint <= r[1] })
	if key.checkpoint <= x.taken || key.epoch < x.epoch || aborted {
		return false
	}
	x.taken, x.epoch = key.checkpoint, key.epoch
	p.after(p.tasks.cfg.AckDelay, func() {
		if p.running[a] == x {
			p.acknowledge(a, x, key.checkpoint)
		}
	})
	return true
}

// acknowledge is called with the mutex held.
func (p *Process) acknowledge(a id.ExecutionAttempt, x *task, checkpoint int64) {
	save := p.tasks.cfg.Save
	if save == nil {
		save = saveNothing
	}
	state, err := save(p.job, a, checkpoint, p.graph.Vertex(a.Vertex).Operators)
	if err != nil {
		p.tell(protocol.WorkerEvent{Decline: &protocol.DeclineCheckpointRequest{
			Job: p.job, Attempt: a, Checkpoint: checkpoint, Reason: err.Error()}})
		return
	}
	x.acked[checkpoint] = true
	p.tasks.record(p, Acknowledged, a, checkpoint)
	p.tell(protocol.WorkerEvent{Acknowledge: &protocol.AcknowledgeCheckpointRequest{
		Job: p.job, Attempt: a, Checkpoint: checkpoint, State: state}})
}

// saveNothing is Config.Save for tasks without state files.
func saveNothing(_ id.Job, a id.ExecutionAttempt, checkpoint int64, operators []jobgraph.Operator) (state []protocol.OperatorState, _ error) {
	for _, o := range operators {
		state = append(state, protocol.OperatorState{UID: o.UID, Subtask: a.Subtask, Raw: fmt.Appendf(nil, "%s@%d", a, checkpoint)})
	}
	return state, nil
}

func (p *Process) complete(r protocol.CompleteCheckpointRequest) {
	p.tasks.mu.Lock()
	defer p.tasks.mu.Unlock()
	for _, a := range r.Attempts {
		x := p.running[a]
		if x == nil {
			continue
		}
		restored := x.deployment.Restore != nil && x.deployment.Restore.Checkpoint >= r.Checkpoint
		if !x.acked[r.Checkpoint] && !restored {
			p.tasks.violate("attempt %s was told that checkpoint %d is complete, which it never acknowledged", a, r.Checkpoint)
		}
		p.tasks.record(p, Completed, a, r.Checkpoint)
	}
}

func (p *Process) abort(r protocol.AbortCheckpointRequest) {
	p.tasks.mu.Lock()
	defer p.tasks.mu.Unlock()
	for key := range p.tasks.barriers {
		if key.job == r.Job && r.First <= key.checkpoint && key.checkpoint <= r.Last {
			delete(p.tasks.barriers, key)
		}
	}
	for a, x := range p.running {
		x.aborted = append(x.aborted, [2]int64{r.First, r.Last})
		p.tasks.record(p, Aborted, a, r.Last)
	}
}

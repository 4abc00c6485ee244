// Package taskmanagertest simulates job processes for tests of the control plane: tasks that run until
// they are told otherwise, take part in checkpoints, and drain and finish when they are bounded. A Tasks
// is the data plane of a whole simulated cluster and the witness of all that happened in it: whether a
// fault restarted a task is read here, not from what the control plane believes.
//
// It uses channels and timers only, so it works inside a testing/synctest bubble.
package taskmanagertest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// Config says how simulated processes behave. All delays may be zero.
type Config struct {
	// LaunchDelay until a process answers calls; StartDelay from a deployment to RUNNING; AckDelay from a
	// barrier to the acknowledgement; CancelDelay from a cancellation to CANCELED; negative for never.
	LaunchDelay, StartDelay, AckDelay, CancelDelay time.Duration
	// Bounded says how long a job's sources have input, 0 for ever; nil means no job is bounded.
	Bounded func(id.Job) time.Duration
	// FailLaunch makes starting a process fail; nil means never.
	FailLaunch func(id.Job, id.TaskManager) error
	// Save writes a task's part of a checkpoint and returns what is acknowledged; an error declines the
	// checkpoint. Nil: each operator has a few bytes of raw state. It must not use the Tasks.
	Save func(j id.Job, a id.ExecutionAttempt, checkpoint int64, operators []jobgraph.Operator) ([]protocol.OperatorState, error)
	// Restore looks at what a task starts from; an error is a violation. It must not use the Tasks.
	Restore func(j id.Job, a id.ExecutionAttempt, r *protocol.RestoredState) error
}

// Kind is what happened.
type Kind string

const (
	ProcessStarted Kind = "process started"
	ProcessEnded   Kind = "process ended"
	Started        Kind = "started"
	Running        Kind = "running"
	Drained        Kind = "drained"
	Finished       Kind = "finished"
	Cancelled      Kind = "cancelled"
	Failed         Kind = "failed"
	// Lost: the task's process ended while it ran.
	Lost Kind = "lost"
	// Acknowledged, Completed and Aborted are about Event.Checkpoint.
	Acknowledged Kind = "acknowledged"
	Completed    Kind = "completed"
	Aborted      Kind = "aborted"
	// Discarded: what the task prepared for checkpoints above Event.Checkpoint is gone.
	Discarded Kind = "discarded"
	// CleanedUp: what attempts of the same subtask in other processes prepared is gone.
	CleanedUp Kind = "cleaned up"
)

// Event is one thing that happened to a task, or to a process (Attempt is zero then).
type Event struct {
	At          time.Time
	Kind        Kind
	Job         id.Job
	TaskManager id.TaskManager
	Attempt     id.ExecutionAttempt
	// Checkpoint that the event is about; for Started the one restored from, 0 for none.
	Checkpoint int64
}

// String prints the event on one line.
func (e Event) String() string {
	s := fmt.Sprintf("%s %s: %s", e.At.Format("15:04:05.000"), e.TaskManager, e.Kind)
	if e.Attempt != (id.ExecutionAttempt{}) {
		s += " " + e.Attempt.String()
	}
	if e.Checkpoint != 0 {
		s += fmt.Sprintf(" checkpoint %d", e.Checkpoint)
	}
	return s
}

// Tasks is the simulated data plane of one cluster. Its methods may be called on any goroutine.
type Tasks struct {
	cfg Config

	mu         sync.Mutex // guards all below; leaf, never held while waiting
	events     []Event
	violations []string
	started    map[id.Job]map[id.ExecutionAttempt]bool
	processes  []*Process
	barriers   map[barrierKey]map[id.ExecutionAttempt]bool
}

// barrierKey names the barriers of one checkpoint under one master.
type barrierKey struct {
	job        id.Job
	checkpoint int64
	epoch      uint64
}

// New returns a data plane without processes.
func New(cfg Config) *Tasks {
	return &Tasks{
		cfg:      cfg,
		started:  map[id.Job]map[id.ExecutionAttempt]bool{},
		barriers: map[barrierKey]map[id.ExecutionAttempt]bool{},
	}
}

// Events returns what happened, in order: of one job, or of all when job is zero.
func (t *Tasks) Events(job id.Job) []Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	var events []Event
	for _, e := range t.events {
		if job.IsZero() || e.Job == job {
			events = append(events, e)
		}
	}
	return events
}

// Count returns how often something happened to a job.
func (t *Tasks) Count(job id.Job, k Kind) int {
	n := 0
	for _, e := range t.Events(job) {
		if e.Kind == k {
			n++
		}
	}
	return n
}

// Restarts counts the starts of a job's subtasks that were not the first of their subtask.
func (t *Tasks) Restarts(job id.Job) int {
	seen, n := map[id.ExecutionAttempt]bool{}, 0
	for _, e := range t.Events(job) {
		if e.Kind != Started {
			continue
		}
		subtask := id.ExecutionAttempt{Vertex: e.Attempt.Vertex, Subtask: e.Attempt.Subtask}
		if seen[subtask] {
			n++
		}
		seen[subtask] = true
	}
	return n
}

// Violations lists what must never happen: an attempt started twice, a trigger for a task that is no
// source, an end ordered for a task that is not drained, a checkpoint told complete that a task never
// acknowledged.
func (t *Tasks) Violations() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.violations)
}

// Live lists the attempts of a job that run, on all TaskManagers.
func (t *Tasks) Live(job id.Job) []id.ExecutionAttempt {
	t.mu.Lock()
	defer t.mu.Unlock()
	var live []id.ExecutionAttempt
	for _, p := range t.processes {
		if p.job == job {
			live = append(live, p.live()...)
		}
	}
	return live
}

// Processes counts the processes that run, of one job, or of all when job is zero.
func (t *Tasks) Processes(job id.Job) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, p := range t.processes {
		if job.IsZero() || p.job == job {
			n++
		}
	}
	return n
}

// KillProcess ends a job's process at a TaskManager as SIGKILL would. It reports whether there was one.
func (t *Tasks) KillProcess(job id.Job, tm id.TaskManager) bool {
	killed := false
	for _, p := range t.processesOf(job) {
		if p.tm == tm {
			p.die("signal: killed")
			killed = true
		}
	}
	return killed
}

// FailTask lets an attempt fail as a panic in user code would. It reports whether it ran.
func (t *Tasks) FailTask(job id.Job, a id.ExecutionAttempt, message string) bool {
	for _, p := range t.processesOf(job) {
		if p.end(a, protocol.Failed, &protocol.Failure{Message: message, Stack: "goroutine 1 [running]:"}) {
			return true
		}
	}
	return false
}

// Drain ends the input of a job's sources now.
func (t *Tasks) Drain(job id.Job) {
	for _, p := range t.processesOf(job) {
		p.drainSources()
	}
}

func (t *Tasks) processesOf(job id.Job) []*Process {
	t.mu.Lock()
	defer t.mu.Unlock()
	var of []*Process
	for _, p := range t.processes {
		if p.job == job {
			of = append(of, p)
		}
	}
	return of
}

// record is called with mu held.
func (t *Tasks) record(p *Process, k Kind, a id.ExecutionAttempt, checkpoint int64) {
	t.events = append(t.events, Event{At: time.Now(), Kind: k, Job: p.job, TaskManager: p.tm, Attempt: a, Checkpoint: checkpoint})
}

// violate is called with mu held.
func (t *Tasks) violate(format string, args ...any) {
	t.violations = append(t.violations, fmt.Sprintf(format, args...))
}

// emitted notes that a source has emitted a barrier. When all sources of the job have, the barrier is
// everywhere: every other task takes part.
func (t *Tasks) emitted(graph *jobgraph.JobGraph, key barrierKey, a id.ExecutionAttempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.barriers[key] == nil {
		t.barriers[key] = map[id.ExecutionAttempt]bool{}
	}
	t.barriers[key][id.ExecutionAttempt{Vertex: a.Vertex, Subtask: a.Subtask}] = true
	sources := 0
	for _, v := range graph.Vertices {
		if v.Source {
			sources += v.Parallelism
		}
	}
	if len(t.barriers[key]) < sources {
		return
	}
	delete(t.barriers, key)
	for _, p := range t.processes {
		if p.job == key.job {
			p.barrierEverywhere(key)
		}
	}
}

// drained lets the tasks behind drained sources drain, when no source of the job has input any more.
func (t *Tasks) drained(job id.Job) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.processes {
		if p.job == job && p.sourcesRun() {
			return
		}
	}
	for _, p := range t.processes {
		if p.job == job {
			p.drainOthers()
		}
	}
}

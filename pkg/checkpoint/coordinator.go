package checkpoint

import (
	"fmt"
	"strings"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// Config is what a Coordinator needs to know about its job.
type Config struct {
	Job id.Job
	// Epoch of the JobMaster, noted in what it completes.
	Epoch uint64
	// Checkpointing of the job graph. An Interval of 0 means that the coordinator never triggers.
	Checkpointing jobgraph.Checkpointing
	// Vertices of the job graph: the order of Completed.Vertices.
	Vertices []jobgraph.Vertex
	// Latest completed checkpoint found in the store, or nil.
	Latest *Completed
	// RestoredFrom is the checkpoint that an earlier leader started the tasks from, 0 for none.
	RestoredFrom int64
}

// Task is one attempt that takes part in checkpoints.
type Task struct {
	Attempt id.ExecutionAttempt
	// Source attempts are triggered, the others get barriers through their inputs.
	Source bool
}

// phase is where the one checkpoint in progress is.
type phase int

const (
	idle    phase = iota
	asking        // for an ID
	pending       // waiting for acknowledgements
	storing       // waiting for the store
)

// Coordinator decides when checkpoints begin, complete and are given up: one at a time, for one job under
// one leader. It has no goroutine, clock or I/O: its owner reports events with the present time and
// carries out the actions that come back, in their order. Flink's CheckpointCoordinator.
//
// A checkpoint is begun only between Begin and Suspend, while all tasks run. Acknowledgements of
// checkpoints or attempts that are not expected (an earlier leader's, given up, twice) change nothing.
type Coordinator struct {
	cfg    Config
	latest *Completed

	// tasks while checkpoints may be taken, nil otherwise.
	tasks []Task
	// last is true when the job has drained and wants one checkpoint more.
	last bool
	// due is when the next checkpoint may begin; zero: never.
	due         time.Time
	phase       phase
	current     attempt
	consecutive int // failures since the last success
	history     history
}

// attempt is the one checkpoint in progress.
type attempt struct {
	info      protocol.CheckpointInfo
	deadline  time.Time
	last      bool
	tasks     []Task
	waiting   map[id.ExecutionAttempt]bool
	states    map[id.ExecutionAttempt][]protocol.OperatorState
	completed *Completed
}

// NewCoordinator returns a coordinator that waits for Begin.
func NewCoordinator(cfg Config) *Coordinator {
	c := &Coordinator{cfg: cfg, latest: cfg.Latest}
	if c.latest != nil {
		c.history.latest = infoOf(c.latest)
	}
	if cfg.RestoredFrom > 0 {
		c.history.restoredFrom = c.restoredFrom(time.Time{}, cfg.RestoredFrom)
	}
	return c
}

// Enabled reports whether the job takes checkpoints at all.
func (c *Coordinator) Enabled() bool { return c.cfg.Checkpointing.Interval > 0 }

// Latest is the newest completed checkpoint, or nil.
func (c *Coordinator) Latest() *Completed { return c.latest }

// Directory is where checkpoint n of job lies: DIR/<jobid>/chk-<n>.
func Directory(dir string, job id.Job, n int64) string {
	return JobDirectory(dir, job) + fmt.Sprintf("/chk-%d", n)
}

// JobDirectory is where all checkpoints of a job lie: DIR/<jobid>.
func JobDirectory(dir string, job id.Job) string {
	return strings.TrimRight(dir, "/") + "/" + job.String()
}

// Begin says that exactly these tasks run now. The first checkpoint is due after first: at once after an
// adoption, an interval after a start.
func (c *Coordinator) Begin(now time.Time, tasks []Task, first time.Duration) []Action {
	if !c.Enabled() {
		return nil
	}
	c.tasks = tasks
	c.due = now.Add(first)
	return c.Tick(now)
}

// Suspend says that not all tasks run any more. A checkpoint that waits for acknowledgements is given
// up, which is not counted as its failure; one that is being stored is not: until Stored,
// nobody may choose a checkpoint to restore from.
func (c *Coordinator) Suspend(now time.Time, reason string) []Action {
	c.tasks, c.last, c.due = nil, false, time.Time{}
	if c.phase != pending {
		return nil
	}
	return c.abort(now, reason)
}

// Drained says that all tasks have seen the end of their inputs: one last checkpoint is taken at once,
// after one that is in progress now.
func (c *Coordinator) Drained(now time.Time) []Action {
	if c.tasks == nil || c.last {
		return nil
	}
	c.last, c.due = true, now
	return c.Tick(now)
}

// Next is when Tick should be called next; ok is false when no time is awaited.
func (c *Coordinator) Next() (at time.Time, ok bool) {
	switch {
	case c.phase == pending:
		return c.current.deadline, !c.current.deadline.IsZero()
	case c.phase == idle && c.tasks != nil && !c.due.IsZero():
		return c.due, true
	}
	return time.Time{}, false
}

// Delay moves every deadline by d: the owner was paused for that long, and what others answered
// meanwhile is still to be read.
func (c *Coordinator) Delay(d time.Duration) {
	if !c.current.deadline.IsZero() {
		c.current.deadline = c.current.deadline.Add(d)
	}
}

// Tick begins a checkpoint that is due and gives up one that takes too long.
func (c *Coordinator) Tick(now time.Time) []Action {
	switch {
	case c.phase == pending && !c.current.deadline.IsZero() && !now.Before(c.current.deadline):
		reason := fmt.Sprintf("not complete after %s: %d of %d tasks have not acknowledged",
			c.cfg.Checkpointing.Timeout, len(c.current.waiting), len(c.current.tasks))
		return c.fail(now, reason)
	case c.phase == idle && c.tasks != nil && !c.due.IsZero() && !now.Before(c.due):
		c.phase = asking
		return []Action{AskID{}}
	}
	return nil
}

// IDAssigned answers AskID. An ID that is not needed any more is left unused.
func (c *Coordinator) IDAssigned(now time.Time, n int64) []Action {
	if c.phase != asking {
		return nil
	}
	if c.tasks == nil {
		c.phase = idle
		return nil
	}
	c.phase = pending
	c.current = attempt{
		info: protocol.CheckpointInfo{
			ID: n, Status: "IN_PROGRESS", Triggered: now, Path: Directory(c.cfg.Checkpointing.Dir, c.cfg.Job, n),
		},
		last:    c.last,
		tasks:   c.tasks,
		waiting: map[id.ExecutionAttempt]bool{},
		states:  map[id.ExecutionAttempt][]protocol.OperatorState{},
	}
	if t := c.cfg.Checkpointing.Timeout; t > 0 {
		c.current.deadline = now.Add(t)
	}
	var sources []id.ExecutionAttempt
	for _, t := range c.tasks {
		c.current.waiting[t.Attempt] = true
		if t.Source {
			sources = append(sources, t.Attempt)
		}
	}
	return []Action{Trigger{Checkpoint: n, Dir: c.current.info.Path, Sources: sources}}
}

// IDRefused answers AskID when there will be no ID: the next try is after an interval.
func (c *Coordinator) IDRefused(now time.Time) []Action {
	if c.phase == asking {
		c.phase = idle
		c.due = now.Add(c.cfg.Checkpointing.Interval)
	}
	return nil
}

// Acknowledge takes one attempt's part of a checkpoint.
func (c *Coordinator) Acknowledge(now time.Time, ack protocol.AcknowledgeCheckpointRequest) []Action {
	if c.phase != pending || ack.Checkpoint != c.current.info.ID || !c.current.waiting[ack.Attempt] {
		return nil
	}
	delete(c.current.waiting, ack.Attempt)
	c.current.states[ack.Attempt] = ack.State
	c.current.info.Bytes += bytesOf(ack.State)
	if len(c.current.waiting) > 0 {
		return nil
	}
	c.phase = storing
	c.current.deadline = time.Time{}
	c.current.completed = c.assemble(now)
	return []Action{Store{c.current.completed}}
}

// Decline gives a checkpoint up because one attempt cannot take part.
func (c *Coordinator) Decline(now time.Time, d protocol.DeclineCheckpointRequest) []Action {
	if c.phase != pending || d.Checkpoint != c.current.info.ID || !c.current.waiting[d.Attempt] {
		return nil
	}
	return c.fail(now, fmt.Sprintf("declined by %s: %s", d.Attempt, d.Reason))
}

// Stored answers Store.
func (c *Coordinator) Stored(now time.Time, n int64, err error) []Action {
	if c.phase != storing || c.current.info.ID != n {
		return nil
	}
	if err != nil {
		return c.fail(now, fmt.Sprintf("store: %v", err))
	}
	done := c.current
	c.latest, c.consecutive = done.completed, 0
	done.info.Status, done.info.Ended = "COMPLETED", now
	c.end(now, done.info)
	took := make([]id.ExecutionAttempt, len(done.tasks))
	for i, t := range done.tasks {
		took[i] = t.Attempt
	}
	actions := []Action{Complete{Checkpoint: n, Attempts: took}}
	if done.last && c.last && c.tasks != nil {
		c.due = time.Time{}
		return append(actions, Final{n})
	}
	return append(actions, c.Tick(now)...)
}

// assemble orders what the tasks saved by vertex and subtask.
func (c *Coordinator) assemble(now time.Time) *Completed {
	done := &Completed{
		Job: c.cfg.Job, ID: c.current.info.ID, Triggered: c.current.info.Triggered, Completed: now,
		Epoch: c.cfg.Epoch, Path: c.current.info.Path, Bytes: c.current.info.Bytes,
	}
	bySubtask := map[id.Vertex][][]protocol.OperatorState{}
	for _, v := range c.cfg.Vertices {
		bySubtask[v.ID] = make([][]protocol.OperatorState, v.Parallelism)
	}
	for a, s := range c.current.states {
		bySubtask[a.Vertex][a.Subtask] = s
	}
	for _, v := range c.cfg.Vertices {
		vs := VertexState{Vertex: v.ID, Parallelism: v.Parallelism}
		for _, s := range bySubtask[v.ID] {
			vs.Operators = append(vs.Operators, s...)
		}
		done.Vertices = append(done.Vertices, vs)
	}
	return done
}

// fail gives the checkpoint in progress up and counts it.
func (c *Coordinator) fail(now time.Time, reason string) []Action {
	n := c.current.info.ID
	actions := c.abort(now, reason)
	if c.consecutive++; c.consecutive > c.cfg.Checkpointing.TolerableFailures {
		c.consecutive = 0
		message := fmt.Sprintf("checkpoint %d failed (tolerated in a row: %d): %s",
			n, c.cfg.Checkpointing.TolerableFailures, reason)
		return append(actions, FailTasks{protocol.Failure{Message: message}})
	}
	return actions
}

// abort gives the checkpoint in progress up.
func (c *Coordinator) abort(now time.Time, reason string) []Action {
	info := c.current.info
	info.Status, info.Ended, info.Failure = "FAILED", now, reason
	c.end(now, info)
	if c.last {
		c.due = now.Add(c.cfg.Checkpointing.Interval) // the last one is wanted as much as before, but not in a tight loop
	}
	return []Action{Abort{First: info.ID, Last: info.ID, Reason: reason}}
}

// end closes the checkpoint in progress and plans the next one.
func (c *Coordinator) end(now time.Time, info protocol.CheckpointInfo) {
	c.history.add(info)
	c.phase, c.current = idle, attempt{}
	if c.tasks == nil {
		return
	}
	c.due = now
	if !c.last {
		c.due = later(info.Triggered.Add(c.cfg.Checkpointing.Interval), now.Add(c.cfg.Checkpointing.MinPause))
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func bytesOf(states []protocol.OperatorState) (n int64) {
	for _, s := range states {
		n += int64(len(s.Raw))
		for _, k := range s.Keyed {
			n += k.Size
		}
	}
	return n
}

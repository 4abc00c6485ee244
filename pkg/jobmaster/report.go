package jobmaster

import (
	"fmt"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// report is the event that a TaskManager tells new states of attempts. ErrUnknownTaskManager means that
// it has to register first, ErrNotReady that it has to tell again.
func (s *schedule) report(now time.Time, m member, executions []protocol.Execution) ([]action, error) {
	if _, ok := s.members[m]; !ok {
		return nil, protocol.ErrUnknownTaskManager
	}
	if s.over() {
		return nil, nil
	}
	if s.refuses(now, m, executions) {
		return s.advance(now), protocol.ErrNotReady
	}
	if stale := s.apply(now, m, executions); len(stale) > 0 && s.adopting == nil {
		s.do(cancelTasks{to: m, attempts: stale})
	}
	return s.advance(now), nil
}

// refuses reports whether a list has failures that cannot be taken before the finish intent is gone, and
// has that done. What the same list says of other attempts is taken.
func (s *schedule) refuses(now time.Time, m member, executions []protocol.Execution) bool {
	if s.goal.kind != haservices.FinishIntent {
		return false
	}
	var harmless, failed []protocol.Execution
	for _, r := range executions {
		e := s.execution(r.Attempt)
		if e == nil || e.state.Terminal() || r.State != protocol.Failed && r.State != protocol.Canceled {
			harmless = append(harmless, r)
		} else {
			failed = append(failed, r)
		}
	}
	if len(failed) == 0 {
		return false
	}
	s.unfinish()
	s.goal.refused = append(s.goal.refused, refusal{m, failed})
	s.apply(now, m, harmless)
	return true
}

// execution returns the execution whose current attempt is a, or nil.
func (s *schedule) execution(a attemptID) *execution {
	subtasks := s.bySubtask[a.Vertex]
	if a.Subtask < 0 || a.Subtask >= len(subtasks) || subtasks[a.Subtask].attempt != a {
		return nil
	}
	return subtasks[a.Subtask]
}

// apply takes reported states in, and returns attempts that run there although they should not: those of
// the past, and those that this leader has given up.
func (s *schedule) apply(now time.Time, m member, executions []protocol.Execution) (stale []attemptID) {
	var failed []*execution
	for i := range executions {
		r := &executions[i]
		e := s.execution(r.Attempt)
		switch {
		case e == nil || !e.at(m) || e.settled():
			if !r.State.Terminal() {
				stale = append(stale, r.Attempt)
			}
		case s.update(now, e, r):
			failed = append(failed, e)
		}
	}
	s.failed(now, failed)
	return stale
}

// order of the states of one attempt: a report of a lower one is late.
var order = map[protocol.TaskState]int{
	protocol.Reconciling: 0, protocol.Created: 1, protocol.Scheduled: 2, protocol.Deploying: 3,
	protocol.Initializing: 4, protocol.Running: 5, protocol.Canceling: 6,
	protocol.Finished: 7, protocol.Canceled: 7, protocol.Failed: 7,
}

// update takes the reported state of e's attempt in. It returns true for an end that nobody asked for,
// which has not been noted in e yet.
func (s *schedule) update(now time.Time, e *execution, r *protocol.Execution) (failed bool) {
	if !r.StartedAt.IsZero() {
		e.startedAt = r.StartedAt
	}
	e.metrics = r.Metrics
	e.drained = e.drained || r.Drained
	if order[r.State] <= order[e.state] {
		return false
	}
	asked := e.state == protocol.Canceling || s.goal.ending()
	switch r.State {
	case protocol.Failed:
		e.failure = r.Failure
		if e.failure == nil {
			e.failure = &protocol.Failure{Message: "failed without a reason"}
		}
		if !asked {
			return true
		}
		// A cause is worth to be seen even though the task was on its way out: what followed from it may have
		// been heard first.
		if s.saysWhy(e.failure) && s.goal.kind != haservices.CancelIntent && !s.recorded(now, e) {
			s.record(now, *e.failure, e)
		}
	case protocol.Finished:
		if !asked && !e.mayFinish && s.adopting == nil && s.checkpoints() {
			e.failure = &protocol.Failure{Message: "finished before it was told to"}
			return true
		}
	case protocol.Canceled:
		if !asked && s.adopting == nil {
			e.failure = &protocol.Failure{Message: "cancelled by its TaskManager"}
			return true
		}
	}
	e.state = r.State
	e.discarded = e.discarding && r.State == protocol.Canceled
	if e.state.Terminal() {
		e.endedAt = now
	}
	return false
}

// heartbeat is the event that a TaskManager answered what it has of the job. since is the value of
// sequence when it was asked: attempts and slots that it had by then and does not list are gone.
func (s *schedule) heartbeat(now time.Time, m member, since int64, report protocol.JobReport) []action {
	if _, ok := s.members[m]; !ok || s.over() || s.refuses(now, m, report.Executions) {
		return s.advance(now)
	}
	if stale := s.apply(now, m, report.Executions); len(stale) > 0 && s.adopting == nil {
		s.do(cancelTasks{to: m, attempts: stale})
	}
	if s.adopting != nil {
		return s.advance(now)
	}
	listed := map[attemptID]bool{}
	for _, r := range report.Executions {
		listed[r.Attempt] = true
	}
	var gone []*execution
	for _, e := range s.executions {
		if !e.at(m) || e.settled() || listed[e.attempt] || e.taken == 0 || e.taken > since {
			continue
		}
		if e.state == protocol.Canceling || s.goal.ending() {
			e.state, e.endedAt = protocol.Canceled, now
			continue
		}
		e.failure = &protocol.Failure{Message: fmt.Sprintf("TaskManager %s does not have the task any more", m.id)}
		gone = append(gone, e)
	}
	s.failed(now, gone)
	if s.slots.drop(m, report.Allocations, since) {
		s.do(declareSlots{})
	}
	return s.advance(now)
}

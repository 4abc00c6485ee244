package jobmaster

import (
	"fmt"
	"slices"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

type attemptID = id.ExecutionAttempt

// fail ends attempts as failed, each for its execution.failure, and restarts their regions: one decision
// of the restart strategy for all of them.
func (s *schedule) fail(now time.Time, failed []*execution) {
	var hit []*region
	for _, e := range failed {
		e.state, e.endedAt = protocol.Failed, now
		if e.region.phase != stopping && !slices.Contains(hit, e.region) {
			hit = append(hit, e.region)
		}
	}
	if len(hit) > 0 {
		s.restart(now, hit, rootOf(failed))
	}
}

// rootOf is the failure that says most: one with a stack, else the first.
func rootOf(failed []*execution) *protocol.Failure {
	for _, e := range failed {
		if e.failure.Stack != "" {
			return e.failure
		}
	}
	return failed[0].failure
}

// restart stops regions and has them started again when the strategy allows it; else the job fails.
// Regions that are being stopped already keep their time.
func (s *schedule) restart(now time.Time, regions []*region, cause *protocol.Failure) {
	regions = slices.DeleteFunc(slices.Clone(regions), func(r *region) bool { return r.phase == stopping })
	if len(regions) == 0 || s.goal.ending() || s.adopting != nil {
		return
	}
	delay, ok := s.strategy.next(now, s.cfg.jitter())
	if !ok {
		s.suspend("task failed: " + cause.Message)
		s.giveUp(now, cause)
		return
	}
	s.ledger.Restarts = s.strategy.restarts
	s.again(now, regions, now.Add(delay), cause.Message)
}

// again stops regions and has them started again at a time.
func (s *schedule) again(now time.Time, regions []*region, at time.Time, reason string) {
	s.suspend(reason)
	s.unfinish()
	for _, r := range regions {
		r.restartAt = at
	}
	s.stop(now, regions)
}

// stop cancels what is left of regions.
func (s *schedule) stop(now time.Time, regions []*region) {
	var open []*execution
	for _, r := range regions {
		r.phase = stopping
		for _, e := range r.executions {
			switch e.state {
			case protocol.Scheduled: // nothing was sent yet
				e.state, e.endedAt = protocol.Canceled, now
			case protocol.Deploying, protocol.Initializing, protocol.Running, protocol.Reconciling:
				e.state = protocol.Canceling
				open = append(open, e)
			case protocol.Canceling: // by an earlier leader, perhaps in vain
				open = append(open, e)
			}
		}
	}
	send(open, func(m member, list []attemptID) { s.do(cancelTasks{m, list}) })
}

func (r *region) settled() bool {
	for _, e := range r.executions {
		if !e.settled() {
			return false
		}
	}
	return true
}

// settleRegions lets regions start again of which nothing runs any more and whose time has come.
func (s *schedule) settleRegions(now time.Time) {
	if !s.goal.restarts() {
		return
	}
	for _, r := range s.regions {
		if r.phase == stopping && r.settled() && !now.Before(r.restartAt) {
			r.phase = waiting
		}
	}
}

// record puts a failure at the top of the history.
func (s *schedule) record(now time.Time, failure protocol.Failure, e *execution) {
	f := protocol.JobFailure{At: now, Failure: failure}
	if e != nil {
		f.Task, f.TaskManager = e.name(), e.place.id
	}
	s.ledger.Failures = append([]protocol.JobFailure{f}, s.ledger.Failures...)
	if len(s.ledger.Failures) > historyLength {
		s.ledger.Failures = s.ledger.Failures[:historyLength]
	}
}

// name is how users see a subtask: Source: numbers (2/4).
func (e *execution) name() string {
	return fmt.Sprintf("%s (%d/%d)", e.vertex.Name, e.attempt.Subtask+1, e.vertex.Parallelism)
}

// lost is the event that a TaskManager is gone, or has been silent for too long. dead means that the
// process has certainly ended: nothing more is believed of it.
func (s *schedule) lost(now time.Time, m member, dead bool, reason string) []action {
	if dead {
		s.ended[m.instance] = true
	}
	if !s.over() {
		s.lose(now, m, reason)
	}
	return s.advance(now)
}

func (s *schedule) lose(now time.Time, m member, reason string) {
	_, connected := s.members[m]
	delete(s.members, m)
	s.slots.removeAll(m)
	if connected {
		s.do(declareSlots{})
	}
	var gone []*execution
	for _, e := range s.executions {
		if e.at(m) && !e.settled() {
			gone = append(gone, e)
		}
	}
	if s.wave != nil {
		delete(s.wave.preparing, m)
	}
	if len(gone) == 0 {
		return
	}
	failure := protocol.Failure{Message: fmt.Sprintf("TaskManager %s is lost: %s", m.id, reason)}
	if s.goal.ending() {
		for _, e := range gone {
			e.state, e.endedAt = protocol.Canceled, now
		}
		return
	}
	for _, e := range gone {
		e.failure = &failure
	}
	s.record(now, failure, nil)
	s.ledger.Failures[0].TaskManager = m.id
	s.fail(now, gone)
}

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
		s.do(cancelTasks{m, stale})
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
		if e.failure.Stack != "" { // worth to be seen even though the task was on its way out
			s.record(now, *e.failure, e)
		}
	case protocol.Finished:
		if !asked && !e.finishTold && s.adopting == nil && s.checkpoints() {
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
	if e.state.Terminal() {
		e.endedAt = now
	}
	return false
}

// failed handles attempts that ended by themselves, for the reasons that they have. Of a list with equal
// reasons (a job process that died) the history keeps one; of what follows in a region that is being
// stopped already only what has a stack.
func (s *schedule) failed(now time.Time, list []*execution) {
	if len(list) == 0 {
		return
	}
	seen := map[protocol.Failure]bool{}
	for _, e := range list {
		if !seen[*e.failure] && (e.region.phase != stopping || e.failure.Stack != "") {
			seen[*e.failure] = true
			s.record(now, *e.failure, e)
		}
	}
	s.fail(now, list)
}

// heartbeat is the event that a TaskManager answered what it has of the job. since is the value of
// sequence when it was asked: attempts and slots that it had by then and does not list are gone.
func (s *schedule) heartbeat(now time.Time, m member, since int64, report protocol.JobReport) []action {
	if _, ok := s.members[m]; !ok || s.over() || s.refuses(now, m, report.Executions) {
		return s.advance(now)
	}
	if stale := s.apply(now, m, report.Executions); len(stale) > 0 && s.adopting == nil {
		s.do(cancelTasks{m, stale})
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

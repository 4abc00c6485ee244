package jobmaster

import (
	"fmt"
	"slices"
	"time"

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

// failed handles attempts that ended by themselves, for the reasons that they have. Of a list with equal
// reasons (a job process that died) the history keeps one; of what follows in a region that is being
// stopped already only what says why: those that lost their peer are often heard first.
func (s *schedule) failed(now time.Time, list []*execution) {
	if len(list) == 0 {
		return
	}
	seen := map[protocol.Failure]bool{}
	told := slices.Clone(list) // what says most comes on top
	slices.SortStableFunc(told, func(a, b *execution) int { return weight(a.failure) - weight(b.failure) })
	for _, e := range told {
		if !seen[*e.failure] && (e.region.phase != stopping || s.saysWhy(e.failure)) {
			seen[*e.failure] = true
			s.record(now, *e.failure, e)
		}
	}
	s.fail(now, list)
}

// saysWhy reports whether a failure is worth to be seen although its region is being stopped already: a
// panic, the end of a process, or the first that is more than what followed from another's.
func (s *schedule) saysWhy(f *protocol.Failure) bool {
	return weight(f) == heaviest || len(s.ledger.Failures) > 0 && weight(f) > weight(&s.ledger.Failures[0].Failure)
}

// heaviest is the weight of a failure that cannot follow from another one.
const heaviest = 2

// weight is how much a failure tells about the cause of all.
func weight(f *protocol.Failure) int {
	switch {
	case f.Stack != "" || f.Process:
		return heaviest
	case f.Consequence:
		return 0
	default:
		return 1
	}
}

// rootOf is the failure that says most, the first of those.
func rootOf(failed []*execution) *protocol.Failure {
	root := failed[0].failure
	for _, e := range failed {
		if weight(e.failure) > weight(root) {
			root = e.failure
		}
	}
	return root
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

// stop cancels what is left of regions, for good when the job is ending.
func (s *schedule) stop(now time.Time, regions []*region) {
	var open []*execution
	discard := s.discards()
	for _, r := range regions {
		r.phase = stopping
		for _, e := range r.executions {
			switch e.state {
			case protocol.Scheduled: // nothing was sent yet
				e.state, e.endedAt = protocol.Canceled, now
			case protocol.Deploying, protocol.Initializing, protocol.Running, protocol.Reconciling:
				// Sinks that had opened have cleaned up behind earlier attempts too.
				e.discarding = discard && e.state == protocol.Running
				e.state = protocol.Canceling
				open = append(open, e)
			case protocol.Canceling: // by an earlier leader, perhaps in vain
				open = append(open, e)
			}
		}
	}
	cancel := cancelTasks{discard: discard}
	if cancel.discard {
		cancel.completed = s.latestID()
	}
	send(open, func(m member, list []attemptID) { cancel.to, cancel.attempts = m, list; s.do(cancel) })
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

// recorded reports whether the same TaskManager has told the same failure of another task just now: a job
// process that dies takes all its tasks along.
func (s *schedule) recorded(now time.Time, e *execution) bool {
	return slices.ContainsFunc(s.ledger.Failures, func(f protocol.JobFailure) bool {
		return f.At.Equal(now) && f.TaskManager == e.place.id && f.Failure == *e.failure
	})
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

package jobmaster

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// adoption is the time of a term, at its beginning, in which what an earlier leader deployed (the ledger)
// is compared with what TaskManagers report. Nothing is destroyed while it lasts: no attempt cancelled,
// no slot rejected, no region restarted. It is over when the fate of every attempt of the ledger is
// known, or at the deadline, when those of TaskManagers that are still missing count as lost.
type adoption struct {
	began    time.Time
	deadline time.Time
	// stale attempts that run although the ledger does not name them; cancelled afterwards.
	stale map[member][]attemptID
}

// beginAdoption takes the executions over as the ledger has them. Their state is RECONCILING until their
// TaskManager has reported.
func (s *schedule) beginAdoption(now time.Time) {
	for _, l := range s.ledger.Executions {
		subtasks := s.bySubtask[l.Attempt.Vertex]
		if l.Attempt.Subtask >= len(subtasks) {
			continue // of another graph: nobody's task
		}
		e := subtasks[l.Attempt.Subtask]
		e.attempt, e.state = l.Attempt, protocol.Reconciling
		e.place = place{
			member: member{l.TaskManager, l.Instance}, allocation: l.Allocation, address: l.Address,
		}
		e.region.phase = up
	}
	s.adopting = &adoption{
		began: now, deadline: now.Add(s.cfg.adoptionTimeout), stale: map[member][]attemptID{},
	}
}

// register is the event that a TaskManager with slots of the job connects and says what it has. It may
// come any number of times and late: from the second time on, what a report does not list proves nothing.
// rejected slots are not wanted, cancel are attempts that must not run.
func (s *schedule) register(now time.Time, m member, address string, report protocol.JobReport) (a registration, out []action, err error) {
	switch {
	case s.over():
		return a, nil, protocol.ErrJobEnded
	case s.ended[m.instance]:
		return a, nil, fmt.Errorf("%w: process %s has ended", protocol.ErrUnknownTaskManager, m.instance)
	case s.refuses(now, m, report.Executions):
		return a, s.advance(now), protocol.ErrNotReady
	}
	for other := range s.members {
		if other.id == m.id && other != m {
			s.lose(now, other, "another process took its place")
		}
	}
	_, again := s.members[m]
	s.members[m] = address
	stale := s.apply(now, m, report.Executions)
	if s.adopting != nil {
		if !again {
			s.resolveMissing(now, m)
		}
		s.adopting.stale[m] = stale
	} else {
		a.cancel = stale
	}
	a.rejected = s.takeSlots(m, address, report.Allocations)
	return a, s.advance(now), nil
}

// registration is the answer to register.
type registration struct {
	cancel   []attemptID
	rejected []id.Allocation
}

// offer is the event that a TaskManager offers slots that were leased to the job.
func (s *schedule) offer(now time.Time, m member, allocations []id.Allocation) (rejected []id.Allocation, out []action, err error) {
	address, ok := s.members[m]
	if !ok {
		return nil, nil, protocol.ErrUnknownTaskManager
	}
	if s.over() {
		return allocations, nil, nil
	}
	rejected = s.takeSlots(m, address, allocations)
	return rejected, s.advance(now), nil
}

// takeSlots takes slots in that the job wants, all of them during adoption, and returns the others.
func (s *schedule) takeSlots(m member, address string, allocations []id.Allocation) (rejected []id.Allocation) {
	before := len(s.slots.slots)
	for _, a := range allocations {
		if s.slots.find(a) == nil && s.adopting == nil && !s.slots.wants() {
			rejected = append(rejected, a)
			continue
		}
		if s.slots.find(a) == nil {
			s.sequence++
		}
		s.slots.add(a, m, address).taken = s.sequence
	}
	if len(s.slots.slots) != before {
		s.do(declareSlots{})
	}
	return rejected
}

// resolveMissing decides about the attempts that the ledger expects at a TaskManager whose first report
// does not have them. From this process they are not lost but were never deployed, or their end was
// taken by an earlier leader; from an earlier process of the same TaskManager they are gone.
func (s *schedule) resolveMissing(now time.Time, m member) {
	for _, e := range s.executions {
		switch {
		case e.state != protocol.Reconciling || e.place.id != m.id:
		case e.place.instance != m.instance:
			s.lose(now, e.place.member, "another process took its place")
		case s.goal.kind == haservices.FinishIntent:
			e.state, e.endedAt = protocol.Finished, now
		default:
			e.state, e.endedAt = protocol.Canceled, now
		}
	}
}

// awaited are the TaskManagers whose reports the adoption waits for.
func (s *schedule) awaited() (list []member) {
	for _, e := range s.executions {
		if e.state == protocol.Reconciling && !slices.Contains(list, e.place.member) {
			list = append(list, e.place.member)
		}
	}
	return list
}

// awaits reports whether the adoption waits for a report of m, which has not registered.
func (s *schedule) awaits(m member) bool {
	_, registered := s.members[m]
	return s.adopting != nil && !registered && slices.Contains(s.awaited(), m)
}

// absent is the event that a TaskManager of the ledger that has not registered says that it has nothing of
// the job: it freed the slots before anything was deployed into them, or has ended and forgotten the tasks.
// Nothing of them runs any more, and nobody is to blame. Tasks that were to commit are another matter: they
// keep their slots until the job has ended, so without them it is not known that they committed.
func (s *schedule) absent(now time.Time, m member) []action {
	if s.awaits(m) && s.goal.kind != haservices.FinishIntent {
		for _, e := range s.executions {
			if e.at(m) && e.state == protocol.Reconciling {
				e.state, e.endedAt = protocol.Canceled, now
			}
		}
	}
	return s.advance(now)
}

// concludeAdoption ends the adoption when everything is known.
func (s *schedule) concludeAdoption(now time.Time) {
	a := s.adopting
	if a == nil {
		return
	}
	if !now.Before(a.deadline) {
		for _, m := range s.awaited() {
			s.lose(now, m, fmt.Sprintf("not heard of for %s after the leader changed", s.cfg.adoptionTimeout))
		}
	}
	if len(s.awaited()) > 0 {
		return
	}
	s.adopting = nil
	s.adopted = true
	alive := s.alive()
	if len(alive) > 0 {
		s.ledger.Adoptions++
	}
	s.do(declareSlots{})
	s.do(adoptionOver{attempts: alive, took: now.Sub(a.began)})
	s.writeLedger()
	s.cancelStale(a)
	if !s.goal.ending() {
		s.keepWhole(now)
	}
	for _, free := range s.slots.surplus() {
		s.do(releaseSlots{free.owner, []id.Allocation{free.allocation}})
	}
}

// survivors counts the tasks that had not finished when the adoption was over, and those of them that run
// on: neither lost nor restarted with others.
func (s *schedule) survivors() (tasks, running int) {
	for _, e := range s.executions {
		if e.state != protocol.Finished {
			tasks++
		}
		if e.region.phase == up && !e.settled() {
			running++
		}
	}
	return tasks, running
}

// alive lists the attempts that were adopted and still run.
func (s *schedule) alive() (list []attemptID) {
	for _, e := range s.executions {
		if !e.settled() {
			list = append(list, e.attempt)
		}
	}
	return list
}

func (s *schedule) cancelStale(a *adoption) {
	for _, m := range s.connected() {
		if len(a.stale[m]) > 0 {
			s.do(cancelTasks{to: m, attempts: a.stale[m]})
		}
	}
}

// connected lists the TaskManagers in a stable order.
func (s *schedule) connected() []member {
	list := make([]member, 0, len(s.members))
	for m := range s.members {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b member) int {
		if a.id != b.id {
			return cmp.Compare(a.id, b.id)
		}
		return slices.Compare(a.instance[:], b.instance[:])
	})
	return list
}

// keepWhole keeps the regions that were found complete and restarts the others: those with a failure by
// the restart strategy, those that the change of leaders caught in the middle of a deployment at once.
func (s *schedule) keepWhole(now time.Time) {
	var failed, torn []*region
	var cause *protocol.Failure
	for _, r := range s.regions {
		switch found := s.inspect(r); {
		case r.phase != up || found == whole:
		case found == inPart:
			torn = append(torn, r)
		default:
			failed = append(failed, r)
			for _, e := range r.executions {
				if cause == nil && e.state == protocol.Failed {
					cause = e.failure
				}
			}
		}
	}
	if len(torn) > 0 {
		s.again(now, torn, now, "deployment was not complete when the leader changed")
	}
	if len(failed) > 0 {
		s.restart(now, failed, cause)
	}
}

type condition int

const (
	whole condition = iota
	inPart
	broken
)

// inspect says in what condition a region was found, and gives those that are whole their slots. Their tasks may
// finish at any time: the commit that an earlier leader took back may have reached them.
func (s *schedule) inspect(r *region) condition {
	found, finished := whole, 0
	for _, e := range r.executions {
		switch e.state {
		case protocol.Failed:
			return broken
		case protocol.Finished:
			finished++
		case protocol.Deploying, protocol.Initializing, protocol.Running:
		default:
			found = inPart
		}
	}
	if finished > 0 && s.goal.kind != haservices.FinishIntent && (finished < len(r.executions) || s.checkpoints()) {
		found = inPart // the final commit was taken back: it begins again
	}
	if found != whole {
		return found
	}
	for _, e := range r.executions {
		if e.state == protocol.Finished {
			continue
		}
		if h := s.slots.holder(e.attempt.Subtask); h != nil && h.allocation != e.place.allocation {
			return inPart
		}
		s.slots.add(e.place.allocation, e.place.member, e.place.address).index = e.attempt.Subtask
		e.taken, e.mayFinish = max(s.sequence, 1), true
	}
	return whole
}

// checkpoints reports whether the job takes any.
func (s *schedule) checkpoints() bool { return s.graph.Checkpointing.Interval > 0 }

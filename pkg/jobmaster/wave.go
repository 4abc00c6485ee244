package jobmaster

import (
	"slices"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// wave is one deployment: of all regions that were ready when it began. Its order is fixed: the ledger
// names the attempts, then the TaskManagers prepare, then they get the attempts.
type wave struct {
	number  int
	written bool // the ledger is
	// preparing are the TaskManagers that have not answered yet.
	preparing map[member]bool
	// data addresses of the job processes.
	data map[member]string
}

// beginWave begins a deployment of all regions that are ready, when none is being prepared.
func (s *schedule) beginWave(now time.Time) {
	if s.wave != nil || s.storing || !s.goal.restarts() || s.over() {
		return
	}
	if s.unreadable != nil && s.wantsDeployment() {
		s.record(now, *s.unreadable, nil)
		s.giveUp(now, s.unreadable)
		return
	}
	began := false
	for _, r := range s.regions {
		if r.phase != waiting || !s.assignSlots(r) {
			continue
		}
		began = true
		r.phase = deploying
		for _, e := range r.executions {
			s.prepareAttempt(e)
		}
	}
	if !began {
		return
	}
	s.ledger.Wave++
	s.ledger.RestoredFrom = 0
	if s.latest != nil {
		s.ledger.RestoredFrom = s.latest.ID
	}
	s.wave = &wave{number: s.ledger.Wave, data: map[member]string{}}
	s.writeLedger()
}

func (s *schedule) wantsDeployment() bool {
	return slices.ContainsFunc(s.regions, func(r *region) bool { return r.phase == waiting })
}

// assignSlots reports whether every subtask of r has a slot, and assigns those that are there.
func (s *schedule) assignSlots(r *region) bool {
	all := true
	for _, e := range r.executions {
		all = s.slots.assign(e.attempt.Subtask, e.place.allocation) != nil && all
	}
	return all
}

// prepareAttempt makes the next attempt of a subtask: number 0 if no ledger has ever named one.
func (s *schedule) prepareAttempt(e *execution) {
	attempt := e.attempt
	if e.place != (place{}) {
		attempt.Attempt++
	}
	at := s.slots.holder(attempt.Subtask)
	*e = execution{
		vertex: e.vertex, region: e.region, attempt: attempt, state: protocol.Scheduled,
		place: place{member: at.owner, allocation: at.allocation, address: at.address},
	}
}

// writeLedger has the present attempts written, all that were ever deployed.
func (s *schedule) writeLedger() {
	s.ledger.Executions = nil
	for _, e := range s.executions {
		if e.place != (place{}) {
			s.ledger.Executions = append(s.ledger.Executions, haservices.LedgerExecution{
				Attempt: e.attempt, Allocation: e.place.allocation,
				TaskManager: e.place.id, Instance: e.place.instance, Address: e.place.address,
			})
		}
	}
	ledger := s.ledger
	ledger.Failures = slices.Clone(ledger.Failures)
	s.do(writeLedger{ledger})
}

// scheduled are the executions of the wave in progress that have not been stopped meanwhile.
func (s *schedule) scheduled() (list []*execution) {
	for _, e := range s.executions {
		if e.state == protocol.Scheduled && e.region.phase == deploying {
			list = append(list, e)
		}
	}
	return list
}

// ledgerWritten answers writeLedger.
func (s *schedule) ledgerWritten(now time.Time, wave int) []action {
	if s.wave != nil && s.wave.number == wave && !s.wave.written {
		s.wave.written = true
		s.wave.preparing = map[member]bool{}
		for _, e := range s.scheduled() {
			if !s.wave.preparing[e.place.member] {
				s.wave.preparing[e.place.member] = true
				s.do(prepareJob{wave, e.place.member})
			}
		}
	}
	return s.advance(now)
}

// prepared answers prepareJob: with where the job process listens for records, or with why there is none.
func (s *schedule) prepared(now time.Time, wave int, m member, data string, failure *protocol.Failure) []action {
	if s.wave == nil || s.wave.number != wave || !s.wave.preparing[m] {
		return s.advance(now)
	}
	delete(s.wave.preparing, m)
	s.wave.data[m] = data
	if failure != nil {
		var failed []*execution
		for _, e := range s.scheduled() {
			if e.at(m) {
				e.failure = failure
				failed = append(failed, e)
			}
		}
		s.failed(now, failed)
	}
	return s.advance(now)
}

// deployWhenPrepared sends the attempts when no TaskManager is left to prepare.
func (s *schedule) deployWhenPrepared() {
	if s.wave == nil || !s.wave.written {
		return
	}
	scheduled := s.scheduled()
	for _, e := range scheduled {
		if s.wave.preparing[e.place.member] {
			return
		}
	}
	var order []member
	tasks := map[member][]protocol.TaskDeployment{}
	for _, e := range scheduled {
		m := e.place.member
		if _, seen := tasks[m]; !seen {
			order = append(order, m)
		}
		tasks[m] = append(tasks[m], s.deployment(e))
		e.state = protocol.Deploying
	}
	for _, m := range order {
		s.do(deployTasks{m, tasks[m]})
	}
	s.wave = nil
	for _, r := range s.regions {
		if r.phase == deploying {
			r.phase = up
		}
	}
}

// deployment says all that a job process needs to run e.
func (s *schedule) deployment(e *execution) protocol.TaskDeployment {
	d := protocol.TaskDeployment{
		Attempt: e.attempt, Allocation: e.place.allocation,
		Restore: s.latest.Share(e.vertex, e.attempt.Subtask, s.graph.MaxParallelism),
	}
	inputs := map[int][]protocol.Channel{}
	for _, edge := range s.graph.Edges {
		if edge.To == e.vertex.ID {
			inputs[edge.Input] = s.channels(edge, e, edge.From)
		}
		if edge.From == e.vertex.ID {
			d.Outputs = append(d.Outputs, s.channels(edge, e, edge.To))
		}
	}
	for i := range len(inputs) {
		d.Inputs = append(d.Inputs, inputs[i])
	}
	return d
}

// channels lists the attempts at the far side of an edge of e.
func (s *schedule) channels(edge jobgraph.Edge, e *execution, far id.Vertex) (list []protocol.Channel) {
	peers := s.bySubtask[far]
	for _, i := range receivers(edge, e.attempt.Subtask, len(peers)) {
		list = append(list, protocol.Channel{Peer: peers[i].attempt, Address: s.wave.data[peers[i].place.member]})
	}
	return list
}

// deployed answers deployTasks. A failure is final: repeating would not help.
func (s *schedule) deployed(now time.Time, m member, attempts []attemptID, failure *protocol.Failure) []action {
	s.sequence++
	var failed []*execution
	for _, a := range attempts {
		e := s.execution(a)
		switch {
		case e == nil || !e.at(m) || e.settled():
		case failure == nil:
			e.taken = s.sequence
		case e.state == protocol.Canceling || s.goal.ending():
			e.state, e.endedAt = protocol.Canceled, now
		default:
			e.failure = failure
			failed = append(failed, e)
		}
	}
	s.failed(now, failed)
	return s.advance(now)
}

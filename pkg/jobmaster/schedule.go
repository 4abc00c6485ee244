package jobmaster

import (
	"slices"
	"time"

	"github.com/tamias-project/tamias/pkg/checkpoint"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// historyLength is how many failures of a job are kept for users.
const historyLength = 16

// scheduleConfig is what a schedule has to know about its job.
type scheduleConfig struct {
	graph     *jobgraph.JobGraph
	submitted time.Time
	// latest completed checkpoint, or nil.
	latest *checkpoint.Completed
	// unreadable says why there is none although there should be. Tasks that run are adopted all the same;
	// only a restart needs it, and fails the job.
	unreadable         *protocol.Failure
	adoptionTimeout    time.Duration
	slotRequestTimeout time.Duration
	// jitter returns random numbers in [-1, 1].
	jitter func() float64
}

// schedule decides what happens to the executions of one job in one term of its JobMaster: where they
// are deployed, what a failure restarts, what is adopted from an earlier leader, when the job ends. It
// has no goroutine, clock or I/O: its owner reports events with the present time and carries out the
// actions that come back. Flink's SchedulerNG with the ExecutionGraph.
//
// Each exported-to-the-endpoint method is one event; all end in advance, which looks for the next step
// in the state as a whole. So an event that comes twice or late finds its work done and does nothing.
type schedule struct {
	cfg      scheduleConfig
	graph    *jobgraph.JobGraph
	strategy restartStrategy

	executions []*execution
	bySubtask  map[id.Vertex][]*execution
	regions    []*region

	// members are the TaskManagers that are connected, and their RPC addresses; ended are process lives
	// that are certainly over.
	members map[member]string
	ended   map[id.Instance]bool
	slots   slotPool

	// ledger as last given out for writing.
	ledger haservices.Ledger
	// wave is the one that is being prepared, or nil. One at a time.
	wave *wave
	// sequence counts what TaskManagers have certainly got; see execution.taken.
	sequence int64

	goal goal
	// adopting is not nil until the ledger of earlier leaders has been compared with what runs.
	adopting *adoption

	// latest checkpoint; nobody may restore while storing, since the newest is not known then.
	latest        *checkpoint.Completed
	unreadable    *protocol.Failure
	storing       bool
	checkpointing bool // begun and not suspended
	lastAsked     bool // lastCheckpoint was given out since the tasks began
	adopted       bool // the running tasks were adopted: the next checkpoint begins at once

	// waitingSince is since when slots are missing while the ResourceManager is known; zero otherwise.
	waitingSince    time.Time
	resourceManager bool

	state      protocol.JobState
	stateTimes map[protocol.JobState]time.Time
	modified   time.Time

	out []action
}

func newSchedule(cfg scheduleConfig) *schedule {
	s := &schedule{
		cfg: cfg, graph: cfg.graph, latest: cfg.latest, unreadable: cfg.unreadable,
		strategy:   newRestartStrategy(cfg.graph.Restart, cfg.graph.Checkpointing.Interval > 0),
		bySubtask:  map[id.Vertex][]*execution{},
		members:    map[member]string{},
		ended:      map[id.Instance]bool{},
		slots:      slotPool{need: cfg.graph.Slots()},
		state:      protocol.JobCreated,
		stateTimes: map[protocol.JobState]time.Time{protocol.JobCreated: cfg.submitted},
		modified:   cfg.submitted,
	}
	s.executions, s.regions = executionsOf(cfg.graph)
	for _, e := range s.executions {
		s.bySubtask[e.vertex.ID] = append(s.bySubtask[e.vertex.ID], e)
	}
	return s
}

// start begins a term: with what an earlier leader left behind, if there was one.
func (s *schedule) start(now time.Time, ledger *haservices.Ledger, intent *haservices.Intent) []action {
	if intent != nil {
		s.goal = goal{kind: intent.Kind, stored: true, failure: intent.Failure}
	}
	if ledger != nil {
		s.ledger = *ledger
		s.ledger.Failures = slices.Clone(ledger.Failures)
		s.strategy.restarts = ledger.Restarts
		s.beginAdoption(now)
	}
	if f := s.goal.failure; f != nil && !slices.ContainsFunc(s.ledger.Failures, func(known protocol.JobFailure) bool { return known.Failure == *f }) {
		s.record(now, *f, nil) // the earlier leader died before the ledger knew
	}
	s.do(declareSlots{})
	return s.advance(now)
}

func (s *schedule) do(a action) { s.out = append(s.out, a) }

// over reports whether the job has ended; nothing changes any more then.
func (s *schedule) over() bool { return s.state.Terminal() }

// advance takes every step that the state allows, and hands out the actions of this event.
func (s *schedule) advance(now time.Time) []action {
	if !s.over() {
		s.concludeAdoption(now)
		if s.adopting == nil {
			s.pursueGoal(now)
			s.unfinished(now)
			s.settleRegions(now)
			s.deployWhenPrepared()
			s.beginWave(now)
			s.watchSlots(now)
			s.watchCheckpoints()
		}
		s.changeState(now)
	}
	out := s.out
	s.out = nil
	return out
}

// next is when tick should be called next; ok is false when no time is awaited.
func (s *schedule) next() (at time.Time, ok bool) {
	soonest := func(t time.Time) {
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	if s.over() {
		return at, false
	}
	if s.adopting != nil {
		soonest(s.adopting.deadline)
		return at, ok
	}
	for _, r := range s.regions {
		if r.phase == stopping && r.settled() && s.goal.restarts() {
			soonest(r.restartAt)
		}
	}
	if !s.waitingSince.IsZero() {
		soonest(s.waitingSince.Add(s.cfg.slotRequestTimeout))
	}
	return at, ok
}

// tick is the event that time has passed.
func (s *schedule) tick(now time.Time) []action { return s.advance(now) }

// delay moves all deadlines by d: this process was paused for that long, and what others sent meanwhile
// is still to be read. Nobody may be declared dead for it.
func (s *schedule) delay(d time.Duration) {
	if s.adopting != nil {
		s.adopting.deadline = s.adopting.deadline.Add(d)
	}
	if !s.waitingSince.IsZero() {
		s.waitingSince = s.waitingSince.Add(d)
	}
}

// resourceManagerKnown is the event that a ResourceManager took the job's requirements, or that none is
// known any more.
func (s *schedule) resourceManagerKnown(now time.Time, known bool) []action {
	s.resourceManager = known
	return s.advance(now)
}

// requirements are what the ResourceManager has to know: how many slots the job needs, and which
// allocations it counts as its own. During adoption those of the ledger are, whoever has reported yet. A job
// that has ended needs none: a ResourceManager that hears of it only now must not lease any for it.
func (s *schedule) requirements() (need int, held []id.Allocation) {
	if s.over() {
		return 0, nil
	}
	held = s.slots.allocations()
	if s.adopting != nil {
		for _, e := range s.executions {
			if e.place != (place{}) && !slices.Contains(held, e.place.allocation) {
				held = append(held, e.place.allocation)
			}
		}
	}
	return s.slots.need, held
}

// storingCheckpoint is the event that the fate of a checkpoint is being decided.
func (s *schedule) storingCheckpoint() { s.storing = true }

// checkpointStored is the event that it has been: latest is the newest completed checkpoint now.
func (s *schedule) checkpointStored(now time.Time, latest *checkpoint.Completed) []action {
	s.storing, s.latest = false, latest
	if latest != nil {
		s.unreadable = nil
	}
	return s.advance(now)
}

// watchCheckpoints says when checkpoints can be taken, and asks for the last one.
func (s *schedule) watchCheckpoints() {
	if s.goal.kind != "" || s.over() {
		return
	}
	running, drained := true, true
	for _, e := range s.executions {
		running = running && (e.state == protocol.Running || e.state == protocol.Finished && !s.checkpoints())
		// One that finished under an earlier leader, in a commit that was taken back, is not reported as drained.
		drained = drained && (e.drained || e.state == protocol.Finished)
	}
	if !running {
		return
	}
	if !s.checkpointing {
		s.checkpointing, s.lastAsked = true, false
		first := s.graph.Checkpointing.Interval
		if s.adopted {
			first = 0
		}
		s.adopted = false
		s.do(beginCheckpoints{tasks: s.tasks(), first: first})
	}
	if drained && !s.lastAsked {
		s.lastAsked = true
		s.do(lastCheckpoint{})
	}
}

func (s *schedule) tasks() []checkpoint.Task {
	tasks := make([]checkpoint.Task, len(s.executions))
	for i, e := range s.executions {
		tasks[i] = checkpoint.Task{Attempt: e.attempt, Source: e.vertex.Source}
	}
	return tasks
}

// suspend stops checkpoints, if they are on.
func (s *schedule) suspend(reason string) {
	if s.checkpointing {
		s.checkpointing = false
		s.do(suspendCheckpoints{reason})
	}
}

// changeState derives the job's state for users.
func (s *schedule) changeState(now time.Time) {
	if s.over() {
		return
	}
	state := protocol.JobRunning
	switch {
	case s.adopting != nil:
		state = protocol.JobReconciling
	case s.goal.kind == haservices.CancelIntent:
		state = protocol.JobCancelling
	case s.goal.kind == haservices.FailIntent:
		state = protocol.JobFailing
	case s.ledger.Wave == 0:
		state = protocol.JobCreated
	default:
		for _, r := range s.regions {
			if r.phase == stopping {
				state = protocol.JobRestarting
			}
		}
	}
	s.setState(now, state)
}

func (s *schedule) setState(now time.Time, state protocol.JobState) {
	if s.state == state {
		return
	}
	s.state, s.modified = state, now
	if _, reached := s.stateTimes[state]; !reached {
		s.stateTimes[state] = now
	}
}

// send gives each TaskManager that is connected its part of a list of executions, in a stable order.
func send(list []*execution, do func(m member, attempts []id.ExecutionAttempt)) {
	var order []member
	byMember := map[member][]id.ExecutionAttempt{}
	for _, e := range list {
		if _, seen := byMember[e.place.member]; !seen {
			order = append(order, e.place.member)
		}
		byMember[e.place.member] = append(byMember[e.place.member], e.attempt)
	}
	for _, m := range order {
		do(m, byMember[m])
	}
}

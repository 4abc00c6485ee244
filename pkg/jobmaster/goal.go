package jobmaster

import (
	"slices"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// goal is where the job as a whole is going; a zero kind means that it runs. It is stored as an intent
// before anything is done for it, so that the next leader goes on with it.
type goal struct {
	kind haservices.IntentKind
	// stored: the store has it. Nothing is done before.
	stored bool
	// told: the tasks have been told.
	told    bool
	failure *protocol.Failure
	// dropping: a finish intent is being taken back because tasks have to run again. No region restarts and
	// no failure is taken off a TaskManager's hands before that is durable, so that "finish intent, and the
	// TaskManager has nothing of the attempt any more" always means that it finished.
	dropping bool
	// refused are the failures that were not taken for that reason.
	refused []refusal
}

// refusal is a part of a report that has to wait.
type refusal struct {
	from       member
	executions []protocol.Execution
}

// restarts reports whether failed regions are to run again.
func (g goal) restarts() bool {
	return !g.dropping && (g.kind == "" || g.kind == haservices.FinishIntent)
}

// ending reports whether the job is on its way to CANCELED or FAILED.
func (g goal) ending() bool {
	return g.kind == haservices.CancelIntent || g.kind == haservices.FailIntent
}

// cancel is the event that a user wants the job cancelled. Cancelling twice, or a job that is failing,
// changes nothing. It reports whether the intent is durable already.
func (s *schedule) cancel(now time.Time) (stored bool, out []action, err error) {
	switch {
	case s.state == protocol.JobCanceled:
		return true, nil, nil
	case s.over():
		return false, nil, protocol.ErrJobEnded
	}
	if !s.goal.ending() {
		s.setGoal(now, haservices.CancelIntent, nil)
	}
	return s.goal.stored, s.advance(now), nil
}

// failAll is the event that all tasks have to be restarted, for a reason that is no task's.
func (s *schedule) failAll(now time.Time, failure protocol.Failure) []action {
	if !s.over() && s.adopting == nil {
		s.record(now, failure, nil)
		s.restart(now, s.regions, &failure)
	}
	return s.advance(now)
}

// giveUp fails the job.
func (s *schedule) giveUp(now time.Time, cause *protocol.Failure) {
	if !s.goal.ending() {
		s.setGoal(now, haservices.FailIntent, cause)
	}
}

// setGoal sets a goal and has it stored.
func (s *schedule) setGoal(now time.Time, kind haservices.IntentKind, cause *protocol.Failure) {
	s.goal = goal{kind: kind, failure: cause, dropping: s.goal.dropping}
	s.do(storeIntent{haservices.Intent{Kind: kind, At: now, Failure: cause}})
}

// unfinish takes the finish intent back.
func (s *schedule) unfinish() {
	if s.goal.kind == haservices.FinishIntent && !s.goal.dropping {
		s.goal.dropping = true
		s.do(dropIntent{})
	}
}

// intentStored answers storeIntent.
func (s *schedule) intentStored(now time.Time, kind haservices.IntentKind) []action {
	if s.goal.kind == kind {
		s.goal.stored = true
	}
	return s.advance(now)
}

// intentDropped answers dropIntent.
func (s *schedule) intentDropped(now time.Time) []action {
	refused := s.goal.refused
	s.goal.dropping, s.goal.refused = false, nil
	if s.goal.kind == haservices.FinishIntent {
		s.goal = goal{}
	}
	for _, r := range refused {
		s.apply(now, r.from, r.executions)
	}
	return s.advance(now)
}

// unfinished has regions run again that are finished in part or whole although the final commit was taken
// back: only all tasks together can take another last checkpoint. Committing again is harmless.
func (s *schedule) unfinished(now time.Time) {
	if s.goal.kind != "" || s.over() || !s.checkpoints() {
		return
	}
	var again []*region
	for _, r := range s.regions {
		for _, e := range r.executions {
			if e.state == protocol.Finished && r.phase == up && !slices.Contains(again, r) {
				again = append(again, r)
			}
		}
	}
	if len(again) > 0 {
		s.again(now, again, now, "the final commit begins again")
	}
}

// finalCheckpoint answers lastCheckpoint: what the drained tasks prepared can be committed.
func (s *schedule) finalCheckpoint(now time.Time) []action {
	if s.goal.kind == "" && s.checkpointing && s.lastAsked {
		s.setGoal(now, haservices.FinishIntent, nil)
	}
	return s.advance(now)
}

// pursueGoal does what the goal wants once it is durable, and notices when the job has got there.
func (s *schedule) pursueGoal(now time.Time) {
	undecided := s.storing && s.discards() // whether what the tasks have prepared is complete
	if s.goal.kind != "" && s.goal.stored && !s.goal.told && !s.goal.dropping && !undecided {
		s.goal.told = true
		if s.goal.ending() {
			s.suspend("job is being " + endingWord(s.goal.kind))
			s.stop(now, s.regions)
		} else {
			s.finish()
		}
	}
	settled, finished := true, true
	for _, e := range s.executions {
		settled = settled && e.settled()
		finished = finished && e.state == protocol.Finished
	}
	switch {
	case finished && !s.goal.ending():
		s.end(now, protocol.JobFinished)
	case settled && s.goal.told && s.goal.kind == haservices.CancelIntent:
		s.end(now, protocol.JobCanceled)
	case settled && s.goal.told && s.goal.kind == haservices.FailIntent:
		s.end(now, protocol.JobFailed)
	}
}

// discards reports whether sinks are to delete what they have prepared and nothing will ever commit: the
// job is on its way to an end after which nobody can restore it.
func (s *schedule) discards() bool {
	return s.goal.ending() && s.unreadable == nil &&
		discardable(s.graph, s.goal.kind == haservices.FailIntent)
}

// discardable reports whether what the sinks of a job have prepared is void when it has failed, or was cancelled:
// its checkpoints do not outlive it.
func discardable(g *jobgraph.JobGraph, failed bool) bool {
	return slices.ContainsFunc(g.Vertices, func(v jobgraph.Vertex) bool { return v.Commits }) &&
		(g.Checkpointing.Interval <= 0 || !g.Checkpointing.Retention.Keeps(failed))
}

// latestID is the newest completed checkpoint, 0 for none.
func (s *schedule) latestID() int64 {
	if s.latest == nil {
		return 0
	}
	return s.latest.ID
}

func endingWord(k haservices.IntentKind) string {
	if k == haservices.CancelIntent {
		return "cancelled"
	}
	return "failed"
}

// finish tells drained attempts to commit and end.
func (s *schedule) finish() {
	var open []*execution
	for _, e := range s.executions {
		if !e.state.Terminal() {
			e.mayFinish = true
			open = append(open, e)
		}
	}
	send(open, func(m member, list []attemptID) { s.do(finishTasks{m, list}) })
}

func (s *schedule) end(now time.Time, state protocol.JobState) {
	s.suspend("job has ended")
	s.wave = nil
	s.setState(now, state)
	s.do(jobEnded{state})
}

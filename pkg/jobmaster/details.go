package jobmaster

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// waitingFor says in words what the job waits for, or nothing.
func (s *schedule) waitingFor(now time.Time) string {
	switch {
	case s.over():
		return ""
	case s.adopting != nil:
		var names []string
		for _, m := range s.awaited() {
			names = append(names, string(m.id))
		}
		return "reports of TaskManagers " + strings.Join(names, ", ") + " about the tasks that they run"
	case len(s.short()) > 0:
		if !s.resourceManager {
			return s.slotsMissing() + "; no ResourceManager is known"
		}
		return s.slotsMissing()
	}
	for _, r := range s.regions {
		if r.phase == stopping && r.settled() && s.goal.restarts() && now.Before(r.restartAt) {
			return fmt.Sprintf("restart in %s", r.restartAt.Sub(now).Round(10*time.Millisecond))
		}
	}
	return ""
}

// details is all that users can ask about the job, without checkpoints.
func (s *schedule) details(now time.Time) protocol.JobDetails {
	d := protocol.JobDetails{
		Overview: protocol.JobOverview{
			ID: s.graph.ID, Name: s.graph.Name, State: s.state, Start: s.cfg.submitted, LastModified: s.modified,
			Tasks: map[protocol.TaskState]int{}, Restarts: s.ledger.Restarts, Adoptions: s.ledger.Adoptions,
		},
		Graph:      *s.graph,
		Failures:   slices.Clone(s.ledger.Failures),
		StateTimes: maps.Clone(s.stateTimes),
		Waiting:    s.waitingFor(now),
	}
	if s.over() {
		d.Overview.End = s.modified
	}
	for _, e := range s.executions {
		d.Overview.Tasks[e.state]++
		d.Subtasks = append(d.Subtasks, protocol.SubtaskDetails{
			Execution: protocol.Execution{
				Attempt: e.attempt, State: e.state, Failure: e.failure, Drained: e.drained,
				Allocation: e.place.allocation, StartedAt: e.startedAt, Metrics: e.metrics,
			},
			TaskManager: e.place.id, Host: hostOf(e.place.address), EndedAt: e.endedAt,
		})
	}
	return d
}

// beforeResult describes a job without a result: one that has ended is still about to end, as the next leader may
// have to end it once more.
func beforeResult(d protocol.JobDetails) protocol.JobDetails {
	before := map[protocol.JobState]protocol.JobState{
		protocol.JobFinished: protocol.JobRunning, protocol.JobCanceled: protocol.JobCancelling, protocol.JobFailed: protocol.JobFailing,
	}
	if state, ended := before[d.Overview.State]; ended {
		delete(d.StateTimes, d.Overview.State)
		d.Overview.State, d.Overview.End, d.Waiting = state, time.Time{}, "the result of the job to be stored"
	}
	return d
}

// hostOf is host:port of an RPC address, or empty.
func hostOf(address string) string {
	a, err := rpc.ParseAddress(address)
	if err != nil {
		return ""
	}
	return a.HostPort
}

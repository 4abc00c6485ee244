package simulation

import (
	"fmt"

	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/taskmanager/taskmanagertest"
)

// checkFences: at each moment one epoch of a component could write, and epochs rose.
func checkFences(w *world) error { return embedded.CheckAudit(w.ha.Audit()) }

// checkJob verifies the life of one job by what its tasks went through.
func (s *schedule) checkJob(job *submission) (errs []error) {
	w, jobID := s.world, job.graph.ID
	events := w.tasks.Events(jobID)
	if job.settled && !s.taskManagerFaults {
		if n := w.tasks.Restarts(jobID); n > 0 {
			errs = append(errs, fmt.Errorf("%d tasks were restarted by faults of the control plane", n))
		}
		for _, kind := range []taskmanagertest.Kind{taskmanagertest.Failed, taskmanagertest.Cancelled} {
			if n := w.tasks.Count(jobID, kind); n > 0 && !job.cancelled {
				errs = append(errs, fmt.Errorf("%d tasks were %s by faults of the control plane", n, kind))
			}
		}
	}
	errs = append(errs, checkCheckpoints(events)...)
	errs = append(errs, checkOneAttempt(events)...)
	if job.drained && !job.cancelled && !s.taskManagerFaults {
		errs = append(errs, checkEnd(events, job.tasks())...)
	}
	return errs
}

// checkCheckpoints: what a task acknowledges and what it is told to be complete rises, and no restart
// goes back behind a checkpoint that some task was told to be complete.
func checkCheckpoints(events []taskmanagertest.Event) (errs []error) {
	acknowledged, completed := map[id.ExecutionAttempt]int64{}, map[id.ExecutionAttempt]int64{}
	var newest int64
	for _, e := range events {
		switch e.Kind {
		case taskmanagertest.Acknowledged:
			if e.Checkpoint <= acknowledged[e.Attempt] {
				errs = append(errs, fmt.Errorf("%s after checkpoint %d", e, acknowledged[e.Attempt]))
			}
			acknowledged[e.Attempt] = e.Checkpoint
		case taskmanagertest.Completed:
			// The same one may be told again: each new leader does so.
			if e.Checkpoint < completed[e.Attempt] {
				errs = append(errs, fmt.Errorf("%s after checkpoint %d", e, completed[e.Attempt]))
			}
			completed[e.Attempt] = e.Checkpoint
			newest = max(newest, e.Checkpoint)
		case taskmanagertest.Started:
			if e.Checkpoint < newest {
				errs = append(errs, fmt.Errorf("%s, but checkpoint %d is complete", e, newest))
			}
		}
	}
	return errs
}

// checkOneAttempt: attempts of one subtask never run at the same time, on whichever TaskManager, and
// their numbers rise.
func checkOneAttempt(events []taskmanagertest.Event) (errs []error) {
	running, highest := map[id.ExecutionAttempt]id.ExecutionAttempt{}, map[id.ExecutionAttempt]int{}
	for _, e := range events {
		subtask := id.ExecutionAttempt{Vertex: e.Attempt.Vertex, Subtask: e.Attempt.Subtask}
		switch e.Kind {
		case taskmanagertest.Started:
			if other, ok := running[subtask]; ok {
				errs = append(errs, fmt.Errorf("%s while %s runs", e, other))
			}
			if last, ok := highest[subtask]; ok && e.Attempt.Attempt <= last {
				errs = append(errs, fmt.Errorf("%s after attempt %d", e, last))
			}
			running[subtask], highest[subtask] = e.Attempt, e.Attempt.Attempt
		case taskmanagertest.Finished, taskmanagertest.Cancelled, taskmanagertest.Failed, taskmanagertest.Lost:
			if running[subtask] == e.Attempt {
				delete(running, subtask)
			}
		}
	}
	return errs
}

// checkEnd: a job whose input ended finished each task once, and none began after that.
func checkEnd(events []taskmanagertest.Event, tasks int) (errs []error) {
	finished := 0
	for _, e := range events {
		switch e.Kind {
		case taskmanagertest.Finished:
			finished++
		case taskmanagertest.Started:
			if finished > 0 {
				errs = append(errs, fmt.Errorf("%s after the job had begun to finish", e))
			}
		}
	}
	if finished != tasks {
		errs = append(errs, fmt.Errorf("%d of %d tasks finished", finished, tasks))
	}
	return errs
}

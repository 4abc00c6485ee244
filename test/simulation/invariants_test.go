package simulation

import (
	"fmt"
	"strings"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/taskmanager/taskmanagertest"
)

// check verifies what must hold whatever happened.
func (s *schedule) check() {
	w := s.world
	if err := embedded.CheckAudit(w.ha.Audit()); err != nil {
		w.t.Error(err) // two epochs of a component could write
	}
	for _, v := range append(w.tasks.Violations(), w.witness.violations...) {
		w.t.Error(v)
	}
	for _, errs := range [][]error{w.checkLeaders(), w.checkStored(), w.checkPointers()} {
		for _, err := range errs {
			w.t.Error(err)
		}
	}
	results := w.results()
	for _, job := range s.jobs {
		for _, err := range s.checkJob(job, results[job.graph.ID]) {
			w.t.Errorf("job %s: %v", job.graph.ID, err)
		}
	}
}

// checkLeaders: a process accepts messages as a leader only under epochs that it won.
func (w *world) checkLeaders() (errs []error) {
	won := map[leadership]bool{}
	for _, r := range w.ha.Audit() {
		if r.Operation == "lead" {
			won[leadership{r.Process, r.Component, r.Epoch}] = true
		}
	}
	for l := range w.witness.led {
		if !won[l] {
			errs = append(errs, fmt.Errorf("%s accepted messages to the leader of %s in epoch %d, which it did not win", l.process, l.of, l.epoch))
		}
	}
	return errs
}

// results says when the result of each job was stored.
func (w *world) results() map[id.Job]time.Time {
	at := map[id.Job]time.Time{}
	for _, r := range w.ha.Audit() {
		name, ok := strings.CutPrefix(r.Path, "job-results/")
		if job, err := id.ParseJob(name); ok && err == nil && r.Operation == "create" && r.Err == nil && at[job].IsZero() {
			at[job] = r.At
		}
	}
	return at
}

// checkJob verifies the life of one job by what its tasks went through. result is when its result was
// stored, zero if never.
func (s *schedule) checkJob(job *submission, result time.Time) (errs []error) {
	w, jobID := s.world, job.graph.ID
	events := w.tasks.Events(jobID)
	if job.settled && !s.dataPlaneFaults {
		if n := w.tasks.Restarts(jobID); n > 0 {
			errs = append(errs, fmt.Errorf("%d tasks were restarted by faults of the control plane", n))
		}
		for _, kind := range []taskmanagertest.Kind{taskmanagertest.Failed, taskmanagertest.Cancelled, taskmanagertest.Lost} {
			if n := w.tasks.Count(jobID, kind); n > 0 && !job.cancelled {
				errs = append(errs, fmt.Errorf("%d tasks were %s by faults of the control plane", n, kind))
			}
		}
	}
	errs = append(errs, checkCheckpoints(events)...)
	errs = append(errs, s.checkNotices(job, events)...)
	errs = append(errs, s.checkOneAttempt(events)...)
	if job.drained && !job.cancelled && !s.dataPlaneFaults {
		errs = append(errs, checkEnd(events, job.tasks())...)
	}
	switch {
	case job.ends() && result.IsZero():
		errs = append(errs, fmt.Errorf("it has ended, and no result was stored"))
	case !job.ends() && !result.IsZero():
		errs = append(errs, fmt.Errorf("a result was stored although nobody ended it"))
	}
	for _, e := range events {
		if e.Kind == taskmanagertest.Started && !result.IsZero() && e.At.After(result) {
			errs = append(errs, fmt.Errorf("%s after the result was stored", e))
		}
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

// checkNotices: before a source takes part in a checkpoint it has been told that the one before is
// complete, if that was stored and the source took part in it, whichever leader stored it. No task is
// told to discard what belongs to a checkpoint that is stored, nor to commit what none covers.
func (s *schedule) checkNotices(job *submission, events []taskmanagertest.Event) (errs []error) {
	stored := map[int64]bool{}
	for _, r := range s.world.ha.Audit() {
		dir, n, ok := checkpointPath(r.Path)
		if ok && r.Operation == "create" && r.Err == nil && strings.Contains(dir, job.graph.ID.String()) {
			stored[n] = true
		}
	}
	// last stored checkpoint that a task acknowledged, whether it came after the end of the input, and the
	// last one that the task was told of.
	last, told := map[id.ExecutionAttempt]int64{}, map[id.ExecutionAttempt]int64{}
	drained, covered := map[id.ExecutionAttempt]bool{}, map[id.ExecutionAttempt]bool{}
	for _, e := range events {
		v := job.graph.Vertex(e.Attempt.Vertex)
		switch e.Kind {
		case taskmanagertest.Completed:
			told[e.Attempt] = max(told[e.Attempt], e.Checkpoint)
		case taskmanagertest.Discarded:
			if last[e.Attempt] > e.Checkpoint {
				errs = append(errs, fmt.Errorf("%s, and checkpoint %d is complete", e, last[e.Attempt]))
			}
		case taskmanagertest.Acknowledged:
			if v.Source && last[e.Attempt] > told[e.Attempt] {
				errs = append(errs, fmt.Errorf("%s, and it was never told that checkpoint %d is complete", e, last[e.Attempt]))
			}
			if stored[e.Checkpoint] {
				last[e.Attempt], covered[e.Attempt] = e.Checkpoint, drained[e.Attempt]
			}
		case taskmanagertest.Drained:
			drained[e.Attempt] = true
		case taskmanagertest.Finished:
			if job.graph.Checkpointing.Interval > 0 && !covered[e.Attempt] {
				errs = append(errs, fmt.Errorf("%s, and no checkpoint covers the end of its input", e))
			}
		}
	}
	return errs
}

// checkOneAttempt: attempts of one subtask never run at the same time, on whichever TaskManager unless it was
// isolated, and their numbers rise.
func (s *schedule) checkOneAttempt(events []taskmanagertest.Event) (errs []error) {
	running, highest := map[id.ExecutionAttempt]id.ExecutionAttempt{}, map[id.ExecutionAttempt]int{}
	at := map[id.ExecutionAttempt]id.TaskManager{}
	for _, e := range events {
		subtask := id.ExecutionAttempt{Vertex: e.Attempt.Vertex, Subtask: e.Attempt.Subtask}
		switch e.Kind {
		case taskmanagertest.Started:
			if other, ok := running[subtask]; ok && !s.isolated[at[other]] {
				errs = append(errs, fmt.Errorf("%s while %s runs", e, other))
			}
			if last, ok := highest[subtask]; ok && e.Attempt.Attempt <= last {
				errs = append(errs, fmt.Errorf("%s after attempt %d", e, last))
			}
			running[subtask], highest[subtask], at[e.Attempt] = e.Attempt, e.Attempt.Attempt, e.TaskManager
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

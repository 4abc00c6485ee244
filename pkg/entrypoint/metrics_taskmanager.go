package entrypoint

import (
	"context"
	"strconv"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/metrics"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/taskmanager"
)

// counter names one counter of one attempt.
type counter struct {
	job     id.Job
	attempt id.ExecutionAttempt
	name    string
}

// rateMemory is how long the rates of an attempt that is gone are kept.
const rateMemory = 10 * time.Minute

// workFigures are those of the tasks of a TaskManager.
func workFigures(host string, name id.TaskManager, tm *taskmanager.TaskManager) metrics.Source {
	var rates metrics.Meters[counter]
	return func(ctx context.Context, to *metrics.Sheet) {
		now, orphaned := time.Now(), 0
		for _, job := range tm.Jobs(ctx) {
			if job.Orphaned {
				orphaned++
			}
			for _, t := range job.Tasks {
				taskFigures(to, &rates, []string{host, string(name)}, job, t, now)
			}
		}
		rates.Forget(now.Add(-rateMemory))
		to.Gauge("orphaned_jobs", "Jobs whose tasks run here while no job master is heard.", float64(orphaned))
	}
}

func taskFigures(to *metrics.Sheet, rates *metrics.Meters[counter], place []string, job taskmanager.JobOverview, t taskmanager.TaskOverview, now time.Time) {
	a, m := t.Attempt, t.Metrics
	figures := to.Of(metrics.Task, append(place[:len(place):len(place)], job.ID.String(), job.Name, a.Vertex.String(), t.Vertex,
		a.String(), strconv.Itoa(a.Attempt), strconv.Itoa(a.Subtask))...)
	rate := func(name string, value int64) float64 {
		return rates.Rate(counter{job.ID, a, name}, float64(value), now)
	}
	for _, c := range []struct {
		name  string
		value int64
	}{
		{"numRecordsIn", m.RecordsIn}, {"numRecordsOut", m.RecordsOut}, {"numBytesIn", m.BytesIn}, {"numBytesOut", m.BytesOut},
	} {
		figures.Set(c.name, float64(c.value))
		figures.Set(c.name+"PerSecond", rate(c.name, c.value))
	}
	for _, c := range []struct {
		total, share string
		millis       int64
	}{
		{"accumulateBusyTimeMs", "busyTimeMsPerSecond", m.BusyMillis},
		{"accumulateIdleTimeMs", "idleTimeMsPerSecond", m.IdleMillis},
		{"accumulateBackPressuredTimeMs", "backPressuredTimeMsPerSecond", m.BackPressuredMillis},
	} {
		figures.Set(c.total, float64(c.millis))
		figures.Set(c.share, min(1000, rate(c.total, c.millis)))
	}
	if isSource(m) {
		to.Gauge("task_longest_gap_seconds", "Longest pause between two records that a source has emitted.",
			float64(m.MaxGapMillis)/1000, "job_id", job.ID.String(), "task_attempt_id", a.String())
	}
}

// isSource: only sources count what they emit without anything coming in.
func isSource(m protocol.TaskMetrics) bool { return m.RecordsIn == 0 && m.RecordsOut > 0 }

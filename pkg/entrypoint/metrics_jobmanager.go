package entrypoint

import (
	"context"
	"time"

	"github.com/tamias-project/tamias/pkg/dispatcher"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/metrics"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/resourcemanager"
)

// clusterFigures are those of the components that lead in this process; a standby has none of them.
func clusterFigures(host string, rm *resourcemanager.ResourceManager, d *dispatcher.Dispatcher) metrics.Source {
	return func(ctx context.Context, to *metrics.Sheet) {
		if list, leading := rm.Overview(ctx); leading {
			slotFigures(to.Of(metrics.JobManager, host), list)
		}
		if jobs, leading := d.Jobs(ctx); leading {
			to.Of(metrics.JobManager, host).Set("numRunningJobs", float64(len(jobs)))
			now := time.Now()
			for _, job := range jobs {
				jobFigures(to, host, job, now)
			}
		}
		if l, ok := d.Leadership(ctx); ok {
			leadershipFigures(to, l)
		}
	}
}

func slotFigures(figures metrics.Figures, list protocol.TaskManagerList) {
	total, free := 0, 0
	for _, tm := range list.TaskManagers {
		total += len(tm.Slots)
		for _, slot := range tm.Slots {
			if slot.Allocation.IsZero() {
				free++
			}
		}
	}
	figures.Set("numRegisteredTaskManagers", float64(len(list.TaskManagers)))
	figures.Set("taskSlotsTotal", float64(total))
	figures.Set("taskSlotsAvailable", float64(free))
}

func jobFigures(to *metrics.Sheet, host string, d protocol.JobDetails, now time.Time) {
	o := d.Overview
	figures := to.Of(metrics.Job, host, o.ID.String(), o.Name)
	figures.Set("numRestarts", float64(o.Restarts))
	timeFigures(figures, d, now)
	checkpointFigures(figures, d.Checkpoints)
	restarted := 0
	for _, t := range d.Subtasks {
		restarted += t.Execution.Attempt.Attempt
	}
	job := []string{"job_id", o.ID.String(), "job_name", o.Name}
	to.Count("job_restarted_tasks_total", "Restarts of tasks of a job, each task counted.", float64(restarted), job...)
	to.Count("job_adoptions_total", "Leaders that took a job over while its tasks ran.", float64(o.Adoptions), job...)
}

// stateTimes are Flink's names of the time in a state.
var stateTimes = map[protocol.JobState]string{
	protocol.JobInitializing: "initializingTime", protocol.JobCreated: "createdTime", protocol.JobRunning: "runningTime",
	protocol.JobRestarting: "restartingTime", protocol.JobFailing: "failingTime", protocol.JobCancelling: "cancellingTime",
}

// timeFigures are about the present state. A job runs since the last of its tasks was started: that its
// leader changed meanwhile does not show.
func timeFigures(figures metrics.Figures, d protocol.JobDetails, now time.Time) {
	since := d.Overview.LastModified
	if d.Overview.State == protocol.JobRunning {
		since = time.Time{}
		for _, t := range d.Subtasks {
			if t.Execution.StartedAt.After(since) {
				since = t.Execution.StartedAt
			}
		}
	}
	lasting := 0.0
	if !since.IsZero() {
		lasting = float64(now.Sub(since).Milliseconds())
	}
	for state, name := range stateTimes {
		value := 0.0
		if state == d.Overview.State {
			value = lasting
		}
		figures.Set(name, value)
	}
	uptime, downtime := 0.0, 0.0
	switch d.Overview.State {
	case protocol.JobRunning:
		uptime = lasting
	case protocol.JobRestarting, protocol.JobFailing:
		downtime = lasting
	}
	figures.Set("uptime", uptime)
	figures.Set("downtime", downtime)
}

func checkpointFigures(figures metrics.Figures, c protocol.CheckpointsSummary) {
	figures.Set("numberOfCompletedCheckpoints", float64(c.Completed))
	figures.Set("numberOfFailedCheckpoints", float64(c.Failed))
	figures.Set("numberOfInProgressCheckpoints", float64(c.InProgress))
	figures.Set("totalNumberOfCheckpoints", float64(c.Completed+c.Failed+c.InProgress))
	last := protocol.CheckpointInfo{ID: -1, Bytes: -1}
	took, ended := -1.0, -1.0
	if c.Latest != nil {
		last = *c.Latest
		took, ended = float64(last.Ended.Sub(last.Triggered).Milliseconds()), float64(last.Ended.UnixMilli())
	}
	figures.Set("lastCompletedCheckpointId", float64(last.ID))
	figures.Set("lastCheckpointDuration", took)
	figures.Set("lastCheckpointCompletedTimestamp", ended)
	figures.Set("lastCheckpointSize", float64(last.Bytes))
	figures.Set("lastCheckpointFullSize", float64(last.Bytes))
}

// leadershipFigures count since the cluster began, so they go on from leader to leader.
func leadershipFigures(to *metrics.Sheet, l protocol.Leadership) {
	totals := l.History.Totals
	for _, kind := range []haservices.Kind{haservices.Dispatcher, haservices.ResourceManager, haservices.RestServer} {
		component := string(kind)
		to.Count("leader_changes_total", "How often leadership passed on.", float64(totals.Changes[component]), "component", component)
		to.Count("leaderless_seconds_total", "Time between the loss of a leader and the confirmation of the next one.",
			totals.Leaderless[component].Seconds(), "component", component)
	}
	to.Count("adoptions_total", "Job masters that took over a job whose tasks ran.", float64(totals.Adoptions))
	to.Count("adopted_tasks_total", "Tasks that ran on when the master of their job changed.", float64(totals.AdoptedTasks))
	to.Count("lost_tasks_total", "Tasks that did not run on when the master of their job changed.", float64(totals.LostTasks))
	for _, t := range l.Leaders {
		if t.Job.IsZero() {
			to.Gauge("leader_epoch", "Epoch of the present leader of a component.", float64(t.Epoch), "component", t.Component)
		}
	}
}

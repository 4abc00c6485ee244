package rest

import (
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

type webConfig struct {
	RefreshInterval int64  `json:"refresh-interval"` // milliseconds
	TimezoneName    string `json:"timezone-name"`
	TimezoneOffset  int    `json:"timezone-offset"` // milliseconds
	FlinkVersion    string `json:"flink-version"`
	FlinkRevision   string `json:"flink-revision"`
	Features        struct {
		WebSubmit  bool `json:"web-submit"`
		WebCancel  bool `json:"web-cancel"`
		WebRescale bool `json:"web-rescale"`
		WebHistory bool `json:"web-history"`
	} `json:"features"`
}

func (s *Server) webConfig(*http.Request) (c webConfig, err error) {
	zone, offset := time.Now().Zone()
	c.RefreshInterval = s.cfg.RefreshInterval.Milliseconds()
	c.TimezoneName, c.TimezoneOffset = zone, offset*1000
	c.FlinkVersion, c.FlinkRevision = s.cfg.Version, s.cfg.Commit
	c.Features.WebCancel = !s.cfg.HideCancel
	return c, nil
}

type clusterOverview struct {
	TaskManagers   int    `json:"taskmanagers"`
	SlotsTotal     int    `json:"slots-total"`
	SlotsAvailable int    `json:"slots-available"`
	JobsRunning    int    `json:"jobs-running"`
	JobsFinished   int    `json:"jobs-finished"`
	JobsCancelled  int    `json:"jobs-cancelled"`
	JobsFailed     int    `json:"jobs-failed"`
	FlinkVersion   string `json:"flink-version"`
	FlinkCommit    string `json:"flink-commit"`
}

func (s *Server) overview(r *http.Request) (clusterOverview, error) {
	var jobs protocol.JobList
	var workers protocol.TaskManagerList
	g, ctx := errgroup.WithContext(r.Context())
	g.Go(func() (err error) {
		jobs, err = ask(ctx, s.dispatcher, protocol.ListJobs, protocol.Empty{})
		return err
	})
	g.Go(func() (err error) {
		workers, err = ask(ctx, s.resourceManager, protocol.ListTaskManagers, protocol.Empty{})
		return err
	})
	if err := g.Wait(); err != nil {
		return clusterOverview{}, err
	}
	o := clusterOverview{TaskManagers: len(workers.TaskManagers), FlinkVersion: s.cfg.Version, FlinkCommit: s.cfg.Commit}
	for _, tm := range workers.TaskManagers {
		o.SlotsTotal += len(tm.Slots)
		o.SlotsAvailable += freeSlots(tm.Slots)
	}
	for _, j := range jobs.Jobs {
		switch j.State {
		case protocol.JobFinished:
			o.JobsFinished++
		case protocol.JobCanceled:
			o.JobsCancelled++
		case protocol.JobFailed:
			o.JobsFailed++
		default:
			o.JobsRunning++
		}
	}
	return o, nil
}

type jobIDs struct {
	Jobs []jobID `json:"jobs"`
}

type jobID struct {
	ID     id.Job            `json:"id"`
	Status protocol.JobState `json:"status"`
}

func (s *Server) jobIDs(r *http.Request) (jobIDs, error) {
	list, err := ask(r.Context(), s.dispatcher, protocol.ListJobs, protocol.Empty{})
	answer := jobIDs{Jobs: []jobID{}}
	for _, j := range list.Jobs {
		answer.Jobs = append(answer.Jobs, jobID{j.ID, j.State})
	}
	return answer, err
}

type jobsOverview struct {
	Jobs []jobLine `json:"jobs"`
}

// jobLine is Flink's JobDetails: what a list shows of a job. Java clients need every number.
type jobLine struct {
	ID               id.Job            `json:"jid"`
	Name             string            `json:"name"`
	JobType          string            `json:"jobType"`
	SchedulerType    string            `json:"schedulerType"`
	StartTime        int64             `json:"start-time"`
	EndTime          int64             `json:"end-time"`
	Duration         int64             `json:"duration"`
	State            protocol.JobState `json:"state"`
	LastModification int64             `json:"last-modification"`
	Tasks            map[string]int    `json:"tasks"`
	PendingOperators int               `json:"pending-operators"`
}

const (
	jobType       = "STREAMING"
	schedulerType = "Default"
)

func (s *Server) jobsOverview(r *http.Request) (jobsOverview, error) {
	list, err := ask(r.Context(), s.dispatcher, protocol.ListJobs, protocol.Empty{})
	answer, now := jobsOverview{Jobs: []jobLine{}}, time.Now()
	for _, j := range list.Jobs {
		answer.Jobs = append(answer.Jobs, lineOf(j, now))
	}
	return answer, err
}

func lineOf(j protocol.JobOverview, now time.Time) jobLine {
	tasks, total := map[string]int{}, 0
	for _, state := range taskStates {
		tasks[strings.ToLower(string(state))] = j.Tasks[state]
		total += j.Tasks[state]
	}
	tasks["total"] = total
	return jobLine{
		ID: j.ID, Name: j.Name, JobType: jobType, SchedulerType: schedulerType, State: j.State,
		StartTime: millis(j.Start), EndTime: millis(j.End), Duration: duration(j.Start, j.End, now),
		LastModification: millis(j.LastModified), Tasks: tasks,
	}
}

// taskStates are all states that Flink's clients expect a count for.
var taskStates = []protocol.TaskState{
	protocol.Created, protocol.Scheduled, protocol.Deploying, protocol.Running, protocol.Finished,
	protocol.Canceling, protocol.Canceled, protocol.Failed, protocol.Reconciling, protocol.Initializing,
}

// jobStates are all states that Flink's clients expect a time for.
var jobStates = []protocol.JobState{
	protocol.JobInitializing, protocol.JobCreated, protocol.JobRunning, protocol.JobFailing, protocol.JobFailed,
	protocol.JobCancelling, protocol.JobCanceled, protocol.JobFinished, protocol.JobRestarting,
	protocol.JobSuspended, protocol.JobReconciling,
}

// millis is t as milliseconds since 1970, -1 for not yet.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return t.UnixMilli()
}

// duration is the time from start to end in milliseconds, until now while end is zero, -1 before start.
func duration(start, end, now time.Time) int64 {
	switch {
	case start.IsZero():
		return -1
	case end.IsZero():
		end = now
	}
	return max(0, end.Sub(start).Milliseconds())
}

package rest

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// describe is ours: everything about a job, as the tamias command line reads it.
func (s *Server) describe(r *http.Request) (protocol.JobDetails, error) {
	job, err := jobParameter(r)
	if err != nil {
		return protocol.JobDetails{}, err
	}
	d, err := ask(r.Context(), s.dispatcher, protocol.DescribeJob, protocol.DescribeJobRequest{Job: job})
	return d, unknownJob(job, err)
}

// unknownJob makes the text that clients expect of an error for a job that is not there.
func unknownJob(job id.Job, err error) error {
	if errors.Is(err, protocol.ErrUnknownJob) {
		return notFound("Job %s not found", job)
	}
	return err
}

type jobDetails struct {
	ID               id.Job                      `json:"jid"`
	ApplicationID    id.Job                      `json:"application-id"`
	Name             string                      `json:"name"`
	IsStoppable      bool                        `json:"isStoppable"`
	State            protocol.JobState           `json:"state"`
	JobType          string                      `json:"job-type"`
	SchedulerType    string                      `json:"schedulerType"`
	StartTime        int64                       `json:"start-time"`
	EndTime          int64                       `json:"end-time"`
	Duration         int64                       `json:"duration"`
	MaxParallelism   int                         `json:"maxParallelism"`
	Now              int64                       `json:"now"`
	Timestamps       map[protocol.JobState]int64 `json:"timestamps"`
	Vertices         []vertexLine                `json:"vertices"`
	StatusCounts     map[protocol.TaskState]int  `json:"status-counts"`
	Plan             plan                        `json:"plan"`
	PendingOperators int                         `json:"pending-operators"`
	// Ours; other clients skip it.
	Restarts       int    `json:"restarts"`
	Adoptions      int    `json:"adoptions"`
	JobMasterEpoch uint64 `json:"job-master-epoch"`
}

func (s *Server) jobDetails(r *http.Request) (jobDetails, error) {
	d, err := s.describe(r)
	if err != nil {
		return jobDetails{}, err
	}
	o, now := d.Overview, time.Now()
	answer := jobDetails{
		ID: o.ID, ApplicationID: o.ID, Name: o.Name, State: o.State, JobType: jobType, SchedulerType: schedulerType,
		StartTime: millis(o.Start), EndTime: millis(o.End), Duration: duration(o.Start, o.End, now),
		MaxParallelism: d.Graph.MaxParallelism, Now: now.UnixMilli(),
		Timestamps: map[protocol.JobState]int64{}, Vertices: []vertexLine{}, StatusCounts: map[protocol.TaskState]int{},
		Plan: planOf(d.Graph), Restarts: o.Restarts, Adoptions: o.Adoptions, JobMasterEpoch: d.JobMasterEpoch,
	}
	for _, state := range jobStates {
		answer.Timestamps[state] = max(0, millis(d.StateTimes[state])) // 0 = never reached
	}
	for _, state := range taskStates {
		answer.StatusCounts[state] = 0
	}
	for _, v := range d.Graph.Vertices {
		line := vertexLineOf(d, v, now)
		answer.Vertices = append(answer.Vertices, line)
		answer.StatusCounts[line.Status]++
	}
	return answer, nil
}

type jobStatus struct {
	Status protocol.JobState `json:"status"`
}

func (s *Server) jobStatus(r *http.Request) (jobStatus, error) {
	d, err := s.describe(r)
	return jobStatus{d.Overview.State}, err
}

type plan struct {
	ID    id.Job     `json:"jid"`
	Name  string     `json:"name"`
	Type  string     `json:"type"`
	Nodes []planNode `json:"nodes"`
}

type planNode struct {
	ID                  id.Vertex   `json:"id"`
	Parallelism         int         `json:"parallelism"`
	Operator            string      `json:"operator"`
	OperatorStrategy    string      `json:"operator_strategy"`
	Description         string      `json:"description"`
	Inputs              []planInput `json:"inputs,omitempty"`
	OptimizerProperties struct{}    `json:"optimizer_properties"`
}

type planInput struct {
	Num          int                `json:"num"`
	ID           id.Vertex          `json:"id"`
	ShipStrategy jobgraph.Partition `json:"ship_strategy"`
	Exchange     string             `json:"exchange"`
}

type jobPlan struct {
	Plan plan `json:"plan"`
}

func (s *Server) jobPlan(r *http.Request) (jobPlan, error) {
	d, err := s.describe(r)
	return jobPlan{planOf(d.Graph)}, err
}

// planOf lists the vertices sinks first, as Flink does.
func planOf(g jobgraph.JobGraph) plan {
	p := plan{ID: g.ID, Name: g.Name, Type: jobType, Nodes: []planNode{}}
	for i := len(g.Vertices) - 1; i >= 0; i-- {
		v := g.Vertices[i]
		node := planNode{ID: v.ID, Parallelism: v.Parallelism, Description: descriptionOf(v)}
		for _, e := range g.Edges {
			if e.To == v.ID {
				node.Inputs = append(node.Inputs, planInput{e.Input, e.From, e.Partition, "pipelined_bounded"})
			}
		}
		p.Nodes = append(p.Nodes, node)
	}
	return p
}

type jobConfig struct {
	ID              id.Job          `json:"jid"`
	Name            string          `json:"name"`
	ExecutionConfig executionConfig `json:"execution-config"`
}

type executionConfig struct {
	RestartStrategy string            `json:"restart-strategy"`
	JobParallelism  int               `json:"job-parallelism"`
	ObjectReuseMode bool              `json:"object-reuse-mode"`
	UserConfig      map[string]string `json:"user-config"`
}

func (s *Server) jobConfig(r *http.Request) (jobConfig, error) {
	d, err := s.describe(r)
	c := jobConfig{ID: d.Overview.ID, Name: d.Overview.Name, ExecutionConfig: executionConfig{
		RestartStrategy: restartSentence(d.Graph),
		JobParallelism:  d.Graph.DefaultParallelism,
		UserConfig:      maps.Clone(d.Graph.Config),
	}}
	if c.ExecutionConfig.UserConfig == nil {
		c.ExecutionConfig.UserConfig = map[string]string{}
	}
	for key := range c.ExecutionConfig.UserConfig {
		c.ExecutionConfig.UserConfig[key] = config.Mask(key, c.ExecutionConfig.UserConfig[key])
	}
	return c, err
}

func restartSentence(g jobgraph.JobGraph) string {
	switch g.Restart.Kind {
	case jobgraph.RestartNone:
		return "Restart deactivated."
	case jobgraph.RestartFixedDelay:
		return fmt.Sprintf("Restart with fixed delay (%s). #%d restart attempts.", g.Restart.Delay, g.Restart.Attempts)
	case jobgraph.RestartExponentialDelay:
		return "Restart with exponential delay."
	default:
		return "Cluster level default restart strategy"
	}
}

type jobResult struct {
	Status struct {
		ID string `json:"id"`
	} `json:"status"`
	Result *executionResult `json:"job-execution-result"`
}

type executionResult struct {
	ID                id.Job            `json:"id"`
	ApplicationID     id.Job            `json:"application-id"`
	ApplicationStatus string            `json:"application-status"`
	Name              string            `json:"name"`
	StartTime         int64             `json:"start-time"`
	EndTime           int64             `json:"end-time"`
	NetRuntime        int64             `json:"net-runtime"`
	Accumulators      map[string]string `json:"accumulator-results"`
	FailureCause      *throwable        `json:"failure-cause,omitempty"`
}

func (s *Server) jobResult(r *http.Request) (jobResult, error) {
	var answer jobResult
	d, err := s.describe(r)
	if err != nil {
		return answer, err
	}
	o := d.Overview
	if !o.State.Terminal() {
		answer.Status.ID = "IN_PROGRESS"
		return answer, nil
	}
	answer.Status.ID = "COMPLETED"
	answer.Result = &executionResult{
		ID: o.ID, ApplicationID: o.ID, Name: o.Name, StartTime: millis(o.Start), EndTime: millis(o.End),
		NetRuntime: max(0, duration(o.Start, o.End, time.Now())), Accumulators: map[string]string{},
	}
	switch o.State {
	case protocol.JobFinished:
		answer.Result.ApplicationStatus = "SUCCEEDED"
	case protocol.JobCanceled:
		answer.Result.ApplicationStatus = "CANCELED"
		answer.Result.FailureCause = newThrowable("org.apache.flink.runtime.client.JobCancellationException", "Job was cancelled.", "")
	default:
		answer.Result.ApplicationStatus = "FAILED"
		answer.Result.FailureCause = newThrowable("org.apache.flink.runtime.client.JobExecutionException", "Job execution failed.", "")
		if len(d.Failures) > 0 {
			f := d.Failures[0].Failure
			answer.Result.FailureCause = newThrowable(failureClass(f), f.Message, f.Stack)
		}
	}
	return answer, nil
}

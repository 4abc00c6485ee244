package protocol

import (
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
)

// Calls to the leading Dispatcher; REST endpoints of all JobManagers make them.
var (
	SubmitJob   = Call[SubmitJobRequest, Empty]{"SubmitJob"}
	CancelJob   = Call[CancelJobRequest, Empty]{"CancelJob"}
	ListJobs    = Call[Empty, JobList]{"ListJobs"}
	DescribeJob = Call[DescribeJobRequest, JobDetails]{"DescribeJob"}
	// StopCluster ends the JobManager process in an orderly way (DELETE /cluster).
	StopCluster = Call[Empty, Empty]{"StopCluster"}
)

// SubmitJobRequest is a job whose binary is in the blob store already. The answer means that the job
// is stored durably and will run even if the leader dies now. Submitting the same ID again is
// harmless: with the same graph it succeeds without effect, also after the job has ended.
type SubmitJobRequest struct {
	Graph jobgraph.JobGraph `cbor:"1,keyasint"`
}

// CancelJobRequest cancels a job. Cancelling a job that is being cancelled succeeds.
type CancelJobRequest struct {
	Job id.Job `cbor:"1,keyasint"`
}

// DescribeJobRequest asks for everything about a job.
type DescribeJobRequest struct {
	Job id.Job `cbor:"1,keyasint"`
}

// JobState is Flink's JobStatus.
type JobState string

const (
	JobInitializing JobState = "INITIALIZING"
	JobCreated      JobState = "CREATED"
	JobRunning      JobState = "RUNNING"
	JobFailing      JobState = "FAILING"
	JobFailed       JobState = "FAILED"
	JobCancelling   JobState = "CANCELLING"
	JobCanceled     JobState = "CANCELED"
	JobFinished     JobState = "FINISHED"
	JobRestarting   JobState = "RESTARTING"
	JobSuspended    JobState = "SUSPENDED"
	JobReconciling  JobState = "RECONCILING"
)

// Terminal reports whether a job in this state has ended for all leaders to come.
func (s JobState) Terminal() bool {
	return s == JobFailed || s == JobCanceled || s == JobFinished
}

// JobList lists running and finished jobs.
type JobList struct {
	Jobs []JobOverview `cbor:"1,keyasint"`
}

// JobOverview is one line of a job list.
type JobOverview struct {
	ID    id.Job   `cbor:"1,keyasint" json:"id"`
	Name  string   `cbor:"2,keyasint" json:"name"`
	State JobState `cbor:"3,keyasint" json:"state"`
	// Start is when the job was submitted, End zero while it runs.
	Start        time.Time `cbor:"4,keyasint" json:"start"`
	End          time.Time `cbor:"5,keyasint" json:"end"`
	LastModified time.Time `cbor:"6,keyasint" json:"last-modified"`
	// Tasks counts subtasks by state.
	Tasks map[TaskState]int `cbor:"7,keyasint" json:"tasks"`
	// Restarts counts restarts of regions since the job was submitted, as far as known.
	Restarts int `cbor:"8,keyasint" json:"restarts"`
	// Adoptions counts the leaders that took the job over while it ran.
	Adoptions int `cbor:"9,keyasint" json:"adoptions"`
}

// JobDetails is all that users can ask about a job.
type JobDetails struct {
	Overview    JobOverview        `cbor:"1,keyasint" json:"overview"`
	Graph       jobgraph.JobGraph  `cbor:"2,keyasint" json:"graph"`
	Subtasks    []SubtaskDetails   `cbor:"3,keyasint" json:"subtasks"`
	Checkpoints CheckpointsSummary `cbor:"4,keyasint" json:"checkpoints"`
	// Failures are newest first, at most 16.
	Failures []JobFailure `cbor:"5,keyasint" json:"failures"`
	// StateTimes says when the job first reached each state.
	StateTimes map[JobState]time.Time `cbor:"6,keyasint" json:"state-times"`
	// JobMasterEpoch is the epoch of the JobMaster that answers, 0 when the job has ended.
	JobMasterEpoch uint64 `cbor:"7,keyasint" json:"job-master-epoch"`
	// Waiting is what the job waits for, in words, or empty.
	Waiting string `cbor:"8,keyasint" json:"waiting,omitempty"`
}

// SubtaskDetails is the current attempt of one subtask.
type SubtaskDetails struct {
	Execution   Execution      `cbor:"1,keyasint" json:"execution"`
	TaskManager id.TaskManager `cbor:"2,keyasint" json:"task-manager"`
	Host        string         `cbor:"3,keyasint" json:"host"`
	EndedAt     time.Time      `cbor:"4,keyasint" json:"ended-at"`
}

// JobFailure is one failure in a job's history.
type JobFailure struct {
	At          time.Time      `cbor:"1,keyasint" json:"at"`
	Failure     Failure        `cbor:"2,keyasint" json:"failure"`
	Task        string         `cbor:"3,keyasint" json:"task"`
	TaskManager id.TaskManager `cbor:"4,keyasint" json:"task-manager"`
}

// CheckpointsSummary says how a job's checkpoints went under the current master.
type CheckpointsSummary struct {
	Completed  int              `cbor:"1,keyasint" json:"completed"`
	Failed     int              `cbor:"2,keyasint" json:"failed"`
	InProgress int              `cbor:"3,keyasint" json:"in-progress"`
	Restored   int              `cbor:"4,keyasint" json:"restored"`
	Latest     *CheckpointInfo  `cbor:"5,keyasint,omitempty" json:"latest,omitempty"`
	History    []CheckpointInfo `cbor:"6,keyasint,omitempty" json:"history,omitempty"`
	// LatestRestored is what the running tasks started from, nil when they started from nothing.
	LatestRestored *RestoredCheckpoint `cbor:"7,keyasint,omitempty" json:"latest-restored,omitempty"`
}

// RestoredCheckpoint is a checkpoint that tasks have started from.
type RestoredCheckpoint struct {
	ID int64 `cbor:"1,keyasint" json:"id"`
	// At is zero when it happened under an earlier leader.
	At   time.Time `cbor:"2,keyasint" json:"at"`
	Path string    `cbor:"3,keyasint" json:"path"`
}

// CheckpointInfo is one checkpoint, for users.
type CheckpointInfo struct {
	ID        int64     `cbor:"1,keyasint" json:"id"`
	Status    string    `cbor:"2,keyasint" json:"status"` // IN_PROGRESS, COMPLETED, FAILED
	Triggered time.Time `cbor:"3,keyasint" json:"triggered"`
	Ended     time.Time `cbor:"4,keyasint" json:"ended"`
	Bytes     int64     `cbor:"5,keyasint" json:"bytes"`
	Path      string    `cbor:"6,keyasint" json:"path"`
	Failure   string    `cbor:"7,keyasint,omitempty" json:"failure,omitempty"`
}

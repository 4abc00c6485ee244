package haservices

import (
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// Ledger is what a JobMaster is about to deploy: written once for each deployment wave, before the
// first message to a TaskManager. The next JobMaster compares it with what TaskManagers report.
type Ledger struct {
	// Wave counts the deployments of a job from 1.
	Wave       int               `json:"wave"`
	Executions []LedgerExecution `json:"executions"`
	// Restarts counts restarts of regions since the job began; a restart strategy goes on with it.
	Restarts int `json:"restarts"`
	// RestoredFrom is the checkpoint that the latest wave started from, 0 for none.
	RestoredFrom int64 `json:"restored-from"`
	// Adoptions counts the JobMasters that took the job over while it ran.
	Adoptions int                   `json:"adoptions"`
	Failures  []protocol.JobFailure `json:"failures,omitempty"`
}

// LedgerExecution says which attempt of a subtask is deployed where. The executions of a Ledger are all
// subtasks of the job, once each.
type LedgerExecution struct {
	Attempt     id.ExecutionAttempt `json:"attempt"`
	Allocation  id.Allocation       `json:"allocation"`
	TaskManager id.TaskManager      `json:"task-manager"`
	Instance    id.Instance         `json:"instance"`
	// Address is the TaskManager's RPC address.
	Address string `json:"address"`
}

// IntentKind is what a JobMaster has been told, or has decided, to do with a whole job.
type IntentKind string

const (
	// CancelIntent: the user cancelled the job. The next JobMaster goes on cancelling.
	CancelIntent IntentKind = "cancel"
	// FailIntent: the restart strategy gave up. The next JobMaster goes on failing the job.
	FailIntent IntentKind = "fail"
	// FinishIntent: the final commit has begun. The next JobMaster goes on committing.
	FinishIntent IntentKind = "finish"
)

// Intent is written before a JobMaster acts on it and outlives that JobMaster.
type Intent struct {
	Kind    IntentKind        `json:"kind"`
	At      time.Time         `json:"at"`
	Failure *protocol.Failure `json:"failure,omitempty"`
}

// JobResult is how a job ended. It exists from the moment when the job must never run again.
type JobResult struct {
	Details protocol.JobDetails `json:"details"`
	// Dirty is true until everything that belonged to the running job has been cleaned up.
	Dirty bool `json:"dirty"`
}

package protocol

import (
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
)

// Calls from the leading ResourceManager to a TaskManager.
var (
	RequestSlot              = Call[RequestSlotRequest, SlotReport]{"RequestSlot"}
	ResourceManagerHeartbeat = Call[ResourceManagerHeartbeatRequest, SlotReport]{"ResourceManagerHeartbeat"}
)

// Calls from a job's JobMaster to a TaskManager. All are fenced by the JobMaster's token.
var (
	PrepareJob         = Call[PrepareJobRequest, PreparedJob]{"PrepareJob"}
	DeployTasks        = Call[DeployTasksRequest, Empty]{"DeployTasks"}
	CancelTasks        = Call[CancelTasksRequest, Empty]{"CancelTasks"}
	TriggerCheckpoint  = Call[TriggerCheckpointRequest, Empty]{"TriggerCheckpoint"}
	CompleteCheckpoint = Call[CompleteCheckpointRequest, Empty]{"CompleteCheckpoint"}
	AbortCheckpoint    = Call[AbortCheckpointRequest, Empty]{"AbortCheckpoint"}
	FinishTasks        = Call[FinishTasksRequest, Empty]{"FinishTasks"}
	ReleaseSlots       = Call[ReleaseSlotsRequest, Empty]{"ReleaseSlots"}
	ReleaseJob         = Call[ReleaseJobRequest, Empty]{"ReleaseJob"}
	JobMasterHeartbeat = Call[JobMasterHeartbeatRequest, JobReport]{"JobMasterHeartbeat"}
)

// RequestSlotRequest leases a slot to a job. Repeating it is harmless. The answer shows all slots; a slot
// that is taken is answered with ErrSlotTaken and the RM learns the truth from the next report.
type RequestSlotRequest struct {
	Slot       int           `cbor:"1,keyasint"`
	Job        id.Job        `cbor:"2,keyasint"`
	Allocation id.Allocation `cbor:"3,keyasint"`
}

// ResourceManagerHeartbeatRequest asks for a SlotReport.
type ResourceManagerHeartbeatRequest struct {
	Instance id.Instance `cbor:"1,keyasint"`
}

// PrepareJobRequest makes sure that the TaskManager has the job's binary and a running process of it.
type PrepareJobRequest struct {
	Job   id.Job            `cbor:"1,keyasint"`
	Graph jobgraph.JobGraph `cbor:"2,keyasint"`
	// BlobServer is host:port of the blob server to fetch Graph.Binary from when neither the local cache nor
	// the HA storage directory has it.
	BlobServer string `cbor:"3,keyasint"`
}

// PreparedJob tells where the job process listens for records of other job processes.
type PreparedJob struct {
	DataAddress string `cbor:"1,keyasint"`
}

// DeployTasksRequest starts attempts. An attempt that already runs is left alone.
type DeployTasksRequest struct {
	Job   id.Job           `cbor:"1,keyasint"`
	Tasks []TaskDeployment `cbor:"2,keyasint"`
}

// CancelTasksRequest ends attempts; unknown ones are ignored. The answer comes at once, the terminal
// states follow by TaskStateChanged.
type CancelTasksRequest struct {
	Job      id.Job                `cbor:"1,keyasint"`
	Attempts []id.ExecutionAttempt `cbor:"2,keyasint"`
	// Discard: the job has ended for good, and its checkpoints go with it. Sinks commit what they prepared up to
	// checkpoint Completed, and delete the rest: it will never be committed. Attempts that have ended already, in a
	// process that still runs, do so too. A restart never sets it: the next attempts clean up.
	Discard bool `cbor:"3,keyasint,omitempty"`
	// Completed is the newest completed checkpoint, 0 for none. Only with Discard.
	Completed int64 `cbor:"4,keyasint,omitempty"`
	// Sinks are subtasks that commit, as if they were deployed once more from checkpoint Completed: only Attempt
	// and Restore are set. Those of which no attempt has opened in this process are opened for a moment: so they
	// commit, and discard, what attempts in processes that are gone have prepared. Only with Discard.
	Sinks []TaskDeployment `cbor:"5,keyasint,omitempty"`
}

// TriggerCheckpointRequest makes source attempts emit a barrier.
type TriggerCheckpointRequest struct {
	Job        id.Job                `cbor:"1,keyasint"`
	Checkpoint int64                 `cbor:"2,keyasint"`
	Sources    []id.ExecutionAttempt `cbor:"3,keyasint"`
	// Dir receives the state files of this checkpoint.
	Dir string `cbor:"4,keyasint"`
	// Epoch of the JobMaster, part of state file names so that two masters never share a name.
	Epoch uint64 `cbor:"5,keyasint"`
}

// CompleteCheckpointRequest is cumulative: every checkpoint up to this ID is complete or will never be.
type CompleteCheckpointRequest struct {
	Job        id.Job `cbor:"1,keyasint"`
	Checkpoint int64  `cbor:"2,keyasint"`
	// Attempts that took part. Others are not told.
	Attempts []id.ExecutionAttempt `cbor:"3,keyasint"`
}

// AbortCheckpointRequest gives up checkpoints First..Last (inclusive): aligned channels are unblocked.
type AbortCheckpointRequest struct {
	Job   id.Job `cbor:"1,keyasint"`
	First int64  `cbor:"2,keyasint"`
	Last  int64  `cbor:"3,keyasint"`
}

// FinishTasksRequest ends drained attempts: what they prepared is committed, then they are FINISHED.
type FinishTasksRequest struct {
	Job      id.Job                `cbor:"1,keyasint"`
	Attempts []id.ExecutionAttempt `cbor:"2,keyasint"`
}

// ReleaseSlotsRequest gives slots back to the ResourceManager; tasks in them must be gone.
type ReleaseSlotsRequest struct {
	Job         id.Job          `cbor:"1,keyasint"`
	Allocations []id.Allocation `cbor:"2,keyasint"`
}

// ReleaseJobRequest ends a job at this TaskManager: process, slots, local files. Idempotent.
type ReleaseJobRequest struct {
	Job    id.Job `cbor:"1,keyasint"`
	Reason string `cbor:"2,keyasint"`
	// Discard are the attempts that ended before the job did and whose sinks discard, before the process is
	// ended, what they prepared beyond checkpoint Completed: see CancelTasksRequest.
	Discard   []id.ExecutionAttempt `cbor:"3,keyasint,omitempty"`
	Completed int64                 `cbor:"4,keyasint,omitempty"`
	// Sinks: see CancelTasksRequest. If the job's process has ended it is started once more for them.
	Sinks []TaskDeployment `cbor:"5,keyasint,omitempty"`
	// Prepare says how to start a process for Sinks at a TaskManager that has nothing of the job, and needs no slot
	// for that: the TaskManager that ran them is gone. Else nil.
	Prepare *PrepareJobRequest `cbor:"6,keyasint,omitempty"`
}

// JobMasterHeartbeatRequest asks for a JobReport. It destroys nothing.
type JobMasterHeartbeatRequest struct {
	Job id.Job `cbor:"1,keyasint"`
}

// JobReport is all that a TaskManager has of a job.
type JobReport struct {
	Allocations []id.Allocation `cbor:"1,keyasint"`
	// Executions that run, and terminal ones that no master has taken yet.
	Executions []Execution `cbor:"2,keyasint"`
}

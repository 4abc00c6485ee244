package protocol

import (
	"time"

	"github.com/tamias-project/tamias/pkg/id"
)

// Calls from a TaskManager to the JobMaster of a job.
var (
	RegisterAtJobMaster   = Call[RegisterAtJobMasterRequest, RegisteredAtJobMaster]{"RegisterAtJobMaster"}
	OfferSlots            = Call[OfferSlotsRequest, OfferedSlots]{"OfferSlots"}
	TaskStateChanged      = Call[TaskStateChangedRequest, Empty]{"TaskStateChanged"}
	AcknowledgeCheckpoint = Call[AcknowledgeCheckpointRequest, Empty]{"AcknowledgeCheckpoint"}
	DeclineCheckpoint     = Call[DeclineCheckpointRequest, Empty]{"DeclineCheckpoint"}
)

// RegisterAtJobMasterRequest connects a TaskManager that holds slots of the job with the job's
// leader, and reports what it runs: a new JobMaster adopts from it.
type RegisterAtJobMasterRequest struct {
	Job         id.Job         `cbor:"1,keyasint"`
	TaskManager id.TaskManager `cbor:"2,keyasint"`
	Instance    id.Instance    `cbor:"3,keyasint"`
	// Address is the TaskManager's RPC address.
	Address string    `cbor:"4,keyasint"`
	Report  JobReport `cbor:"5,keyasint"`
}

// RegisteredAtJobMaster answers what to do with the reported executions. Those in neither list stay
// as they are and are asked about again. Terminal executions of the report are taken: the TaskManager
// may forget them.
type RegisteredAtJobMaster struct {
	Cancel []id.ExecutionAttempt `cbor:"1,keyasint"`
	// RejectedSlots are free for the ResourceManager; tasks in them are cancelled.
	RejectedSlots     []id.Allocation `cbor:"2,keyasint"`
	HeartbeatInterval time.Duration   `cbor:"3,keyasint"`
	HeartbeatTimeout  time.Duration   `cbor:"4,keyasint"`
	// Process is the answering process (rpc.Transport.Process), so that its end can be watched for. Zero
	// means that only silence tells.
	Process id.Instance `cbor:"5,keyasint"`
}

// OfferSlotsRequest offers slots that were leased to the job.
type OfferSlotsRequest struct {
	Job         id.Job          `cbor:"1,keyasint"`
	TaskManager id.TaskManager  `cbor:"2,keyasint"`
	Instance    id.Instance     `cbor:"3,keyasint"`
	Allocations []id.Allocation `cbor:"4,keyasint"`
}

// OfferedSlots lists the offers that the job does not want; the TaskManager frees them.
type OfferedSlots struct {
	Rejected []id.Allocation `cbor:"1,keyasint"`
}

// TaskStateChangedRequest reports new states; an answer without error means that the master has taken
// them. It is repeated until then, so a master sees each at least once and in order for each attempt.
type TaskStateChangedRequest struct {
	Job         id.Job         `cbor:"1,keyasint"`
	TaskManager id.TaskManager `cbor:"2,keyasint"`
	Instance    id.Instance    `cbor:"3,keyasint"`
	Executions  []Execution    `cbor:"4,keyasint"`
}

// AcknowledgeCheckpointRequest says that an attempt has saved its part of a checkpoint durably.
type AcknowledgeCheckpointRequest struct {
	Job        id.Job              `cbor:"1,keyasint"`
	Attempt    id.ExecutionAttempt `cbor:"2,keyasint"`
	Checkpoint int64               `cbor:"3,keyasint"`
	State      []OperatorState     `cbor:"4,keyasint"`
	Metrics    CheckpointMetrics   `cbor:"5,keyasint"`
	// TaskManager and Instance say who tells it.
	TaskManager id.TaskManager `cbor:"6,keyasint"`
	Instance    id.Instance    `cbor:"7,keyasint"`
}

// CheckpointMetrics says what one attempt's part of a checkpoint cost.
type CheckpointMetrics struct {
	// Bytes of state written.
	Bytes int64 `cbor:"1,keyasint" json:"bytes"`
	// AlignMillis between the first and the last barrier; SyncMillis with the task stopped; AsyncMillis of
	// writing in the background.
	AlignMillis int64 `cbor:"2,keyasint" json:"align-ms"`
	SyncMillis  int64 `cbor:"3,keyasint" json:"sync-ms"`
	AsyncMillis int64 `cbor:"4,keyasint" json:"async-ms"`
}

// DeclineCheckpointRequest says that an attempt cannot take part in a checkpoint.
type DeclineCheckpointRequest struct {
	Job        id.Job              `cbor:"1,keyasint"`
	Attempt    id.ExecutionAttempt `cbor:"2,keyasint"`
	Checkpoint int64               `cbor:"3,keyasint"`
	Reason     string              `cbor:"4,keyasint"`
	// TaskManager and Instance say who tells it.
	TaskManager id.TaskManager `cbor:"5,keyasint"`
	Instance    id.Instance    `cbor:"6,keyasint"`
}

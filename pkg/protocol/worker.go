package protocol

import (
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
)

// Calls from a TaskManager to one of its job processes, over a Unix socket. The TaskManager has
// checked the master's token already; checkpoint messages still carry the epoch.
var (
	StartWorker              = Call[StartWorkerRequest, PreparedJob]{"StartWorker"}
	WorkerDeploy             = Call[DeployTasksRequest, Empty]{"Deploy"}
	WorkerCancel             = Call[CancelTasksRequest, Empty]{"Cancel"}
	WorkerTriggerCheckpoint  = Call[TriggerCheckpointRequest, Empty]{"TriggerCheckpoint"}
	WorkerCompleteCheckpoint = Call[CompleteCheckpointRequest, Empty]{"CompleteCheckpoint"}
	WorkerAbortCheckpoint    = Call[AbortCheckpointRequest, Empty]{"AbortCheckpoint"}
	WorkerFinish             = Call[FinishTasksRequest, Empty]{"Finish"}
	// WorkerEvents is a long poll: it answers when there are events after the given number.
	WorkerEvents = Call[WorkerEventsRequest, WorkerEventsAnswer]{"Events"}
	// WorkerMetrics reads the counters of all attempts.
	WorkerMetrics = Call[Empty, WorkerMetricsAnswer]{"Metrics"}
)

// StartWorkerRequest is the first call: the graph that the job was submitted with.
type StartWorkerRequest struct {
	Graph jobgraph.JobGraph `cbor:"1,keyasint"`
	// BindHost and Host are where the data port listens and what peers dial.
	BindHost string `cbor:"2,keyasint"`
	Host     string `cbor:"3,keyasint"`
}

// WorkerEventsRequest asks for events with a number above After; those up to After are forgotten.
type WorkerEventsRequest struct {
	After int64 `cbor:"1,keyasint"`
}

// WorkerEventsAnswer holds events in order.
type WorkerEventsAnswer struct {
	Events []WorkerEvent `cbor:"1,keyasint"`
}

// WorkerEvent has exactly one of its members set.
type WorkerEvent struct {
	// Number counts from 1 in each process.
	Number int64 `cbor:"1,keyasint"`
	// State is a change of one attempt's state (Allocation is filled in by the TaskManager).
	State       *Execution                    `cbor:"2,keyasint,omitempty"`
	Acknowledge *AcknowledgeCheckpointRequest `cbor:"3,keyasint,omitempty"`
	Decline     *DeclineCheckpointRequest     `cbor:"4,keyasint,omitempty"`
}

// WorkerMetricsAnswer holds the counters of each attempt.
type WorkerMetricsAnswer struct {
	Attempts []AttemptMetrics `cbor:"1,keyasint"`
}

// AttemptMetrics pairs an attempt with its counters.
type AttemptMetrics struct {
	Attempt id.ExecutionAttempt `cbor:"1,keyasint"`
	Metrics TaskMetrics         `cbor:"2,keyasint"`
}

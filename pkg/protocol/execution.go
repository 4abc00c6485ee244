package protocol

import (
	"time"

	"github.com/tamias-project/tamias/pkg/id"
)

// TaskState is the state of one execution attempt. Flink's ExecutionState.
type TaskState string

const (
	Created      TaskState = "CREATED"
	Scheduled    TaskState = "SCHEDULED"
	Deploying    TaskState = "DEPLOYING"
	Initializing TaskState = "INITIALIZING"
	Running      TaskState = "RUNNING"
	Finished     TaskState = "FINISHED"
	Canceling    TaskState = "CANCELING"
	Canceled     TaskState = "CANCELED"
	Failed       TaskState = "FAILED"
	Reconciling  TaskState = "RECONCILING"
)

// Terminal reports whether an attempt in this state will never change again.
func (s TaskState) Terminal() bool { return s == Finished || s == Canceled || s == Failed }

// Failure is why something failed, as shown to users.
type Failure struct {
	// Message is one line.
	Message string `cbor:"1,keyasint" json:"message"`
	// Stack is the goroutine stack of a panic in user code, or empty.
	Stack string `cbor:"2,keyasint" json:"stack,omitempty"`
	// Process is true when the whole job process ended.
	Process bool `cbor:"3,keyasint" json:"process,omitempty"`
	// Consequence is true when the task only lost a peer: what ended that one is the cause.
	Consequence bool `cbor:"4,keyasint,omitempty" json:"consequence,omitempty"`
}

func (f *Failure) Error() string { return f.Message }

// Execution is what a TaskManager says of one attempt: in reports, registrations and state changes.
type Execution struct {
	Attempt id.ExecutionAttempt `cbor:"1,keyasint" json:"attempt"`
	State   TaskState           `cbor:"2,keyasint" json:"state"`
	// Failure is set when State is Failed.
	Failure *Failure `cbor:"3,keyasint,omitempty" json:"failure,omitempty"`
	// Drained: the attempt has seen the end of all its inputs, has flushed, and waits for the final commit.
	Drained    bool          `cbor:"4,keyasint,omitempty" json:"drained,omitempty"`
	Allocation id.Allocation `cbor:"5,keyasint" json:"allocation"`
	StartedAt  time.Time     `cbor:"6,keyasint" json:"started-at"`
	Metrics    TaskMetrics   `cbor:"7,keyasint" json:"metrics"`
}

// TaskMetrics are the counters of one attempt since it started. Flink's IOMetrics.
type TaskMetrics struct {
	RecordsIn  int64 `cbor:"1,keyasint" json:"records-in"`
	RecordsOut int64 `cbor:"2,keyasint" json:"records-out"`
	BytesIn    int64 `cbor:"3,keyasint" json:"bytes-in"`
	BytesOut   int64 `cbor:"4,keyasint" json:"bytes-out"`
	// BusyMillis, IdleMillis and BackPressuredMillis are accumulated milliseconds.
	BusyMillis          int64 `cbor:"5,keyasint" json:"busy-ms"`
	IdleMillis          int64 `cbor:"6,keyasint" json:"idle-ms"`
	BackPressuredMillis int64 `cbor:"7,keyasint" json:"back-pressured-ms"`
	// MaxGapMillis is the longest pause between two records that a source emitted, in milliseconds; what a
	// failover drill looks at.
	MaxGapMillis int64 `cbor:"8,keyasint" json:"max-gap-ms"`
}

// Channel is one end of a connection between two subtasks, seen from the other end.
type Channel struct {
	// Peer is the attempt at the far end. Data of any other attempt of that subtask is refused.
	Peer id.ExecutionAttempt `cbor:"1,keyasint"`
	// Address is host:port of the far end's job process.
	Address string `cbor:"2,keyasint"`
}

// TaskDeployment says all that a job process needs to run one attempt. Flink's
// TaskDeploymentDescriptor.
type TaskDeployment struct {
	Attempt    id.ExecutionAttempt `cbor:"1,keyasint"`
	Allocation id.Allocation       `cbor:"2,keyasint"`
	// Inputs[i][s] is the channel from producer subtask s of the vertex's i-th incoming edge; a Forward edge
	// has exactly one channel.
	Inputs [][]Channel `cbor:"3,keyasint"`
	// Outputs[o][s] is the channel to consumer subtask s of the vertex's o-th outgoing edge, in the order of
	// JobGraph.Edges; a Forward edge has exactly one channel.
	Outputs [][]Channel `cbor:"4,keyasint"`
	// Restore is the state to start from: what the subtasks of this vertex had saved that covers this
	// subtask's key groups. Nil for a start from nothing.
	Restore *RestoredState `cbor:"5,keyasint,omitempty"`
}

// RestoredState is a subtask's share of a completed checkpoint.
type RestoredState struct {
	Checkpoint int64           `cbor:"1,keyasint"`
	Operators  []OperatorState `cbor:"2,keyasint"`
}

// OperatorState is what one subtask of one operator saved in one checkpoint.
type OperatorState struct {
	// UID is the operator's.
	UID string `cbor:"1,keyasint" json:"uid"`
	// Subtask that saved it.
	Subtask int `cbor:"2,keyasint" json:"subtask"`
	// Keyed state in files, by ranges of key groups.
	Keyed []KeyedState `cbor:"3,keyasint,omitempty" json:"keyed,omitempty"`
	// Raw is small state that is not keyed, in the operator's own encoding: source offsets, pending commits.
	Raw []byte `cbor:"4,keyasint,omitempty" json:"raw,omitempty"`
}

// KeyedState is a file with the keyed state of some key groups.
type KeyedState struct {
	// File is a URI.
	File string `cbor:"1,keyasint" json:"file"`
	// Size in bytes.
	Size int64 `cbor:"2,keyasint" json:"size"`
	// First and Last key group, both inclusive.
	First int `cbor:"3,keyasint" json:"first"`
	Last  int `cbor:"4,keyasint" json:"last"`
}

// Package jobgraph says what a job is: chains of operators (vertices), the exchanges between them
// (edges), and how the job wants to be checkpointed and restarted. It is plain data: made by the
// stream package in the user's binary, sent to the Dispatcher, stored as JSON in the HA storage
// directory, read by JobMaster and job processes.
package jobgraph

import (
	"time"

	"github.com/tamias-project/tamias/pkg/id"
)

// JobGraph is one job as submitted.
type JobGraph struct {
	ID   id.Job `json:"id"`
	Name string `json:"name"`
	// Vertices are in topological order, sources first.
	Vertices []Vertex `json:"vertices"`
	Edges    []Edge   `json:"edges"`
	// MaxParallelism is the number of key groups. Flink's pipeline.max-parallelism; default 128.
	MaxParallelism int           `json:"max-parallelism"`
	Checkpointing  Checkpointing `json:"checkpointing"`
	Restart        Restart       `json:"restart"`
	// BufferTimeout bounds how long a record waits in a half-full batch; 0 flushes each record, negative
	// only full batches. Flink's execution.buffer-timeout; default 100 ms.
	BufferTimeout time.Duration `json:"buffer-timeout"`
	// Binary is the user's program. Each job process is started from it with Args and Env, and must
	// build this same graph again.
	Binary Binary            `json:"binary"`
	Args   []string          `json:"args,omitempty"`
	Env    map[string]string `json:"env,omitempty"`
	// DefaultParallelism is what operators without a parallelism of their own got: the process that builds
	// the graph again needs it.
	DefaultParallelism int `json:"default-parallelism"`
	// Config holds the configuration that the client sent along, shown to users, not interpreted.
	Config map[string]string `json:"config,omitempty"`
}

// Binary names a blob.
type Binary struct {
	// Key is the blob's key: the lower-case hex SHA-256 of its content.
	Key string `json:"key" cbor:"1,keyasint"`
	// Size in bytes.
	Size int64 `json:"size" cbor:"2,keyasint"`
}

// Vertex is a chain of operators that runs as one task for each subtask. Flink's JobVertex.
type Vertex struct {
	ID          id.Vertex  `json:"id"`
	Name        string     `json:"name"`
	Parallelism int        `json:"parallelism"`
	Operators   []Operator `json:"operators"`
	// Source is true for vertices without inputs: barriers start there.
	Source bool `json:"source"`
	// Commits is true when an operator takes part in two-phase commit: the job's end needs a final commit.
	Commits bool `json:"commits"`
}

// Operator is one member of a chain. UID addresses its state across versions of the job.
type Operator struct {
	UID  string `json:"uid"`
	Name string `json:"name"`
}

// Partition says which subtask of the receiver gets a record.
type Partition string

const (
	// Forward sends subtask i to subtask i; both sides have the same parallelism.
	Forward Partition = "FORWARD"
	// Hash sends by key group.
	Hash Partition = "HASH"
	// Rebalance sends round-robin.
	Rebalance Partition = "REBALANCE"
	// Broadcast sends each record to every subtask.
	Broadcast Partition = "BROADCAST"
)

// Edge is an exchange from one vertex to another. Flink's JobEdge.
type Edge struct {
	From id.Vertex `json:"from"`
	To   id.Vertex `json:"to"`
	// Input numbers the edges that arrive at To from 0, in the order of JobGraph.Edges.
	Input     int       `json:"input"`
	Partition Partition `json:"partition"`
}

// Checkpointing is when and where a job's state is saved. An Interval of 0 turns it off.
type Checkpointing struct {
	// Interval is the pause between triggers. Flink's execution.checkpointing.interval; unset or 0 = off.
	Interval time.Duration `json:"interval"`
	// Timeout aborts a checkpoint that is not complete by then. Default 10 min.
	Timeout time.Duration `json:"timeout"`
	// MinPause is the least pause between the end of one checkpoint and the next trigger. Default 0.
	MinPause time.Duration `json:"min-pause"`
	// Dir is where state goes: DIR/<jobid>/chk-<n>. Flink's execution.checkpointing.dir. The Dispatcher fills
	// it in from its own configuration when the client left it empty.
	Dir string `json:"dir"`
	// Retained completed checkpoints, at least 1. Flink's execution.checkpointing.num-retained; default 1.
	Retained int `json:"retained"`
	// TolerableFailures in a row before the job fails. Default 0; a leader change never counts.
	TolerableFailures int `json:"tolerable-failures"`
	// Retention says when the job's checkpoint directory outlives the job. Flink's
	// execution.checkpointing.externalized-checkpoint-retention.
	Retention Retention `json:"retention,omitempty"`
}

// Retention is what becomes of the checkpoints of a job that has ended. Those of a finished job are
// always deleted. Flink's ExternalizedCheckpointRetention.
type Retention string

const (
	// RetainNothing deletes them, Flink's NO_EXTERNALIZED_CHECKPOINTS and the default.
	RetainNothing Retention = ""
	// DeleteOnCancellation keeps them when the job failed.
	DeleteOnCancellation Retention = "DELETE_ON_CANCELLATION"
	// RetainOnCancellation keeps them when the job failed or was cancelled.
	RetainOnCancellation Retention = "RETAIN_ON_CANCELLATION"
)

// Keeps reports whether the checkpoints of a job that has failed, or was cancelled, outlive it.
func (r Retention) Keeps(failed bool) bool {
	return r == RetainOnCancellation || failed && r == DeleteOnCancellation
}

// RestartKind is a restart strategy. Flink's restart-strategy.type.
type RestartKind string

const (
	// RestartDefault means exponential-delay with checkpoints and none without.
	RestartDefault RestartKind = ""
	// RestartNone fails the job at the first failure.
	RestartNone RestartKind = "none"
	// RestartFixedDelay restarts Attempts times, Delay after each failure.
	RestartFixedDelay RestartKind = "fixed-delay"
	// RestartFailureRate restarts up to MaxPerInterval times within any Interval, Delay after each failure.
	RestartFailureRate RestartKind = "failure-rate"
	// RestartExponentialDelay restarts for ever with growing delays.
	RestartExponentialDelay RestartKind = "exponential-delay"
)

// Restart is what follows a failure of tasks. It never applies to the loss of a JobManager.
type Restart struct {
	Kind RestartKind `json:"kind"`
	// Attempts and Delay belong to fixed-delay, Delay to failure-rate as well; defaults 1 and 1 s.
	Attempts int           `json:"attempts"`
	Delay    time.Duration `json:"delay"`
	// MaxPerInterval and Interval belong to failure-rate; defaults 1 and 1 min.
	MaxPerInterval int           `json:"max-per-interval,omitempty"`
	Interval       time.Duration `json:"interval,omitempty"`
	// The rest belongs to exponential-delay; defaults 100 ms, 1 min, 1.5, 1 h, 0.1.
	InitialBackoff time.Duration `json:"initial-backoff"`
	MaxBackoff     time.Duration `json:"max-backoff"`
	Multiplier     float64       `json:"multiplier"`
	ResetAfter     time.Duration `json:"reset-after"`
	Jitter         float64       `json:"jitter"`
}

// Vertex returns the vertex with that ID, or nil.
func (g *JobGraph) Vertex(v id.Vertex) *Vertex {
	for i := range g.Vertices {
		if g.Vertices[i].ID == v {
			return &g.Vertices[i]
		}
	}
	return nil
}

// Slots is the number of slots that the job needs: subtask i of every vertex shares slot i.
func (g *JobGraph) Slots() int {
	n := 0
	for _, v := range g.Vertices {
		n = max(n, v.Parallelism)
	}
	return n
}

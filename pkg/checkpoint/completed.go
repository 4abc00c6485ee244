// Package checkpoint holds what a checkpoint is: the coordinator that decides when checkpoints begin,
// complete and are given up (pure: no goroutine, clock or I/O), and the form in which a completed one
// is stored. Used by the JobMaster, and by the runner that executes a job in one process.
package checkpoint

import (
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// Completed is a checkpoint that every subtask has saved its part of: the content of its _metadata file.
// Flink's CompletedCheckpoint.
type Completed struct {
	Job id.Job `json:"job"`
	// ID rises with each checkpoint of a job, also across leaders; it is never used twice.
	ID        int64     `json:"id"`
	Triggered time.Time `json:"triggered"`
	Completed time.Time `json:"completed"`
	// Epoch of the JobMaster that completed it.
	Epoch uint64 `json:"epoch"`
	// Path is the directory of this checkpoint: DIR/<jobid>/chk-<n>.
	Path string `json:"path"`
	// Vertices holds the state of every subtask.
	Vertices []VertexState `json:"vertices"`
	// Bytes of state in all.
	Bytes int64 `json:"bytes"`
}

// VertexState is what the subtasks of one vertex saved.
type VertexState struct {
	Vertex      id.Vertex `json:"vertex"`
	Parallelism int       `json:"parallelism"`
	// Operators of all subtasks, ordered by subtask.
	Operators []protocol.OperatorState `json:"operators"`
}

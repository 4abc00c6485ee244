package worker

import (
	"context"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/shuffle"
)

// The environment in which a job's binary is started.
const (
	// EnvMode says what a program's Execute does: one of the Mode constants.
	EnvMode = "TAMIAS_MODE"
	// EnvPlanFile names the file that ModePlan writes.
	EnvPlanFile = "TAMIAS_PLAN_FILE"
	// EnvParallelism is the parallelism of operators that set none, in decimal.
	EnvParallelism = "TAMIAS_PARALLELISM"
	// EnvMaxParallelism is the number of key groups of a job that sets none, in decimal.
	EnvMaxParallelism = "TAMIAS_MAX_PARALLELISM"
	// EnvBufferTimeout is the buffer timeout of a job that sets none, as in "100ms"; negative sends full
	// batches only.
	EnvBufferTimeout = "TAMIAS_BUFFER_TIMEOUT"

	// ModeLocal runs the job in this process: what happens when a program is started by hand.
	ModeLocal = ""
	// ModePlan writes the job graph as JSON and ends.
	ModePlan = "plan"
	// ModeWorker serves a TaskManager through go-plugin.
	ModeWorker = "worker"
)

// Program is the user's program as the worker sees it.
type Program interface {
	// Graph is the job graph as this process built it. Vertices, edges and parallelism must be those that
	// the job was submitted with.
	Graph() *jobgraph.JobGraph
	// NewChain makes the operators of one subtask. It is called on any goroutine and must not block.
	NewChain(vertex id.Vertex) (Chain, error)
}

// Chain is the operators of one subtask, from the input or the source to the outputs and sinks. All
// methods are called on the task's goroutine. Errors fail the task; so do panics. A method that waits
// returns soon when its ctx ends.
type Chain interface {
	// Open makes the operators ready and restores their state. Close follows also when it fails.
	Open(ctx context.Context, task *Task) error
	// Poll reads a batch from the source and passes it through the chain. ctx is the task's; the source
	// waits for records only as long as read lasts: its end is no error, the source is dry then. Only called
	// for chains that begin with a source.
	Poll(ctx, read context.Context) (Polled, error)
	// Consume passes a frame of records through the chain. The frame is not used after the return. Only
	// called for chains that begin with an input.
	Consume(ctx context.Context, input int, frame []byte) error
	// Flush lets sinks write what they have gathered: no input waits.
	Flush(ctx context.Context) error
	// Drain passes on what operators emit at the end of the input. No record follows.
	Drain(ctx context.Context) error
	// Snapshot prepares all operators for a checkpoint and returns their state. It is the part of a
	// checkpoint that stops the task.
	Snapshot(ctx context.Context, checkpoint int64) ([]OperatorSnapshot, error)
	// Commit makes visible what sinks have prepared up to a checkpoint.
	Commit(ctx context.Context, checkpoint int64) error
	// Finish prepares and commits what is left after Drain: the job ends.
	Finish(ctx context.Context) error
	// Close releases everything. Nothing becomes visible by it, and what was prepared stays.
	Close() error
	// Discard follows Close, if at all, when the job has ended for good: sinks commit what they prepared up to
	// checkpoint completed (0 for none) and delete the rest. Called once, on any goroutine.
	Discard(ctx context.Context, completed int64) error
	// CleanUp is called alone, in place of all others, when the job has ended for good and the process of the
	// latest attempt is gone: sinks are opened with what they had prepared for task.Restore, which commits it and
	// deletes what earlier attempts have left, and closed. Called once, on any goroutine.
	CleanUp(ctx context.Context, task *Task) error
}

// Polled tells what Poll did.
type Polled struct {
	// Records read.
	Records int
	// Dry: the source had no more for now.
	Dry bool
	// End: the source has reached the end of its input.
	End bool
	// Reading is the time spent in the source; Gap is how much longer than the source's pace the pause
	// before this batch was.
	Reading, Gap time.Duration
}

// Task is what a chain is given to work with.
type Task struct {
	Graph   *jobgraph.JobGraph
	Vertex  *jobgraph.Vertex
	Attempt id.ExecutionAttempt
	// Outputs are the vertex's outgoing edges, in the order of JobGraph.Edges. The worker sends barriers and
	// ends; the chain sends full frames.
	Outputs []*shuffle.Output
	// Restore is nil for a start from nothing.
	Restore *protocol.RestoredState
	// OpenFile opens a state file.
	OpenFile func(ctx context.Context, uri string) (io.ReadCloser, error)
	Log      *zap.Logger
}

// OperatorSnapshot is the state of one operator at a checkpoint.
type OperatorSnapshot struct {
	// UID is the operator's.
	UID string
	// Raw is small state in the operator's own encoding.
	Raw []byte
	// Keyed is nil for operators without keyed state.
	Keyed KeyedSnapshot
	// First and Last key group of Keyed, both inclusive.
	First, Last int
}

// KeyedSnapshot is keyed state that stays as it was while the task goes on.
type KeyedSnapshot interface {
	// Write writes the state and returns the number of bytes. It is called once, on another goroutine.
	Write(w io.Writer) (int64, error)
	// Release ends the snapshot. It is called once, on any goroutine, also when Write was not.
	Release()
}

package stream

import (
	"context"

	"go.uber.org/zap"
)

// Source is where records of type T come from. One value describes the source for the whole job; each
// subtask opens a Reader of its own. Flink's Source with a static split assignment.
//
// The input is cut into splits: files, partitions, shares of a number range. When a job starts from
// nothing, every subtask calls Splits, sorts the answer by ID and takes splits subtask, subtask+p,
// subtask+2p, ... of it, p being the parallelism. When it starts from a checkpoint, Splits is not called:
// what reader i had left then goes to subtask i, or to subtask i modulo p after a change of parallelism.
type Source[T any] interface {
	// Splits lists the parts of the input. It is called in every subtask, possibly on several machines, and
	// must answer alike in all of them. An error fails the task.
	Splits(ctx context.Context, parallelism int) ([]Split, error)
	// Open returns the reader of one subtask's splits, which may be none: that reader's first Read returns
	// io.EOF if the source is bounded. Each split is to be read from its Position on. An error fails the
	// task. ctx lasts until the reader has been closed.
	Open(ctx context.Context, task Subtask, splits []Split) (Reader[T], error)
}

// Checker is a Source or Sink that can tell, without any input or output, that its settings are wrong. Execute
// then returns the error of Check at once, instead of running a job that fails and restarts again and again.
type Checker interface{ Check() error }

// Split is a part of a source's input that one subtask reads.
type Split struct {
	// ID tells the split from the others of its source. It is the same on every run and machine.
	ID string
	// Position says where to read on, in the source's own encoding. Nil is the start.
	Position []byte
}

// Reader reads the splits of one subtask. All its methods are called on the task's goroutine, one at a
// time.
type Reader[T any] interface {
	// Read fills records from the front and returns how many it filled, like io.Reader. It returns as soon
	// as it has one record and would have to wait for the next: a short count tells the runtime to send on
	// what it has gathered. While there is nothing to read it waits; when ctx ends meanwhile it returns 0 and
	// ctx.Err() without losing anything, and will be called again with another context (checkpoints
	// interrupt it so). It returns io.EOF, with the last records or after them, at the end of a bounded
	// input; it may then still be asked for Snapshot. Any other error fails the task. What is in records
	// beforehand has no meaning; Read may reuse memory that it finds there, but must not keep the slice.
	Read(ctx context.Context, records []T) (int, error)
	// Snapshot returns the splits that are not read to their end, with positions behind the last record
	// that Read has returned. The answer is saved with a checkpoint.
	Snapshot() ([]Split, error)
	// Close releases what the reader holds. It is called once, also after errors.
	Close() error
}

// Subtask tells a reader or a writer whose part it plays.
type Subtask struct {
	// JobID is 32 hex digits; JobName is what the job was executed as.
	JobID, JobName string
	// Operator and UID are those of the source or sink.
	Operator, UID string
	// Index is this subtask's number, from 0 to Parallelism-1.
	Index, Parallelism int
	// Attempt counts the starts of this subtask from 0. Job, UID, Index and Attempt together never repeat.
	Attempt int
	// Log writes to the log of the TaskManager, with job and attempt.
	Log *zap.Logger
}

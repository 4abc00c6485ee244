package stream

import "context"

// Sink is where records of type T leave the job. One value describes the sink for the whole job; each
// subtask opens a Writer of its own. What a plain writer has written stays written when the job goes
// back to a checkpoint, so records after it arrive at least once. See TwoPhaseSink for exactly once.
type Sink[T any] interface {
	// Open returns the writer of one subtask. restored is nil except for a TwoPhaseSink. An error fails the
	// task. ctx lasts until the writer has been closed.
	Open(ctx context.Context, task Subtask, restored []Prepared) (Writer[T], error)
}

// Writer writes the records of one subtask. All its methods are called on the task's goroutine, one at a
// time.
type Writer[T any] interface {
	// Write takes records in order. It must not keep the slice. When ctx ends it returns soon; an error
	// fails the task.
	Write(ctx context.Context, records []T) error
	// Close releases what the writer holds, without making anything visible. It is called once, also after
	// errors and when the task is cancelled.
	Close() error
}

// Flusher is a Writer that gathers records. Flush is called at each checkpoint, when no input waits, and
// at the end of the input; records written before are out when it returns.
type Flusher interface {
	Flush(ctx context.Context) error
}

// TwoPhaseSink is a Sink whose records become visible exactly once, with the completion of the checkpoint
// that covers them. Its writers must be TwoPhaseWriters.
type TwoPhaseSink[T any] interface {
	Sink[T]
	// TwoPhase marks the sink; it does nothing.
	TwoPhase()
}

// TwoPhaseWriter prepares records at a checkpoint and makes them visible when the checkpoint has been
// completed. Flink's TwoPhaseCommitSinkFunction.
//
// A checkpoint that was prepared may never complete: what was prepared for it is then committed with the
// next one that does. After a failure the task is opened with what the latest completed checkpoint had
// prepared; everything written or prepared later must stay invisible for ever.
type TwoPhaseWriter[T any] interface {
	Writer[T]
	// PreCommit makes everything written so far durable but invisible, and returns a description of all
	// that is prepared and not committed yet, of this and of earlier checkpoints. Nil means nothing. The
	// next records belong to the next checkpoint. When the job ends it is called once more, with
	// FinalCheckpoint.
	PreCommit(ctx context.Context, checkpoint int64) ([]byte, error)
	// Commit makes visible what was prepared for checkpoints up to and including this one. It is called for
	// the newest completed checkpoint, so numbers may be left out, and the same number may come again: then
	// it does nothing. An error fails the task, which will repeat the commit when it is opened again.
	Commit(ctx context.Context, checkpoint int64) error
}

// Discarder is a TwoPhaseWriter that can take back what it has prepared, so that a job that was cancelled or
// has failed leaves nothing behind. Where the process of a writer has died before the job ended, the sink is opened
// once more instead, as after a failure, and closed.
type Discarder interface {
	// Discard deletes everything that is not committed: the job has ended for good, and nothing of it will be
	// committed any more. It is called once, after Close and, when a checkpoint has completed that this writer had
	// not heard of, after one more Commit; on any goroutine. It is not called when the job restarts or when its
	// process dies.
	Discard(ctx context.Context) error
}

// FinalCheckpoint is above all checkpoints: PreCommit and Commit with it end a job whose input has ended.
const FinalCheckpoint int64 = 1<<63 - 1

// Prepared is what a TwoPhaseWriter had prepared when a checkpoint was taken. The checkpoint has been
// completed, so Open commits it before it returns; it may have been committed already.
type Prepared struct {
	Checkpoint int64
	// Subtask that prepared it. After a change of parallelism it may be another than the one that opens it
	// now; each Prepared is given to exactly one.
	Subtask int
	// State is what PreCommit returned.
	State []byte
}

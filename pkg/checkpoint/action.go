package checkpoint

import (
	"fmt"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// Action is something that a Coordinator wants its owner to do. String is one line for logs and
// transcripts. No action ever deletes state: files of checkpoints that were given up belong to a sweeper.
type Action interface{ String() string }

// AskID: take the next ID from the job's counter, then call IDAssigned or IDRefused.
type AskID struct{}

// Trigger: tell the source attempts to emit the barrier of a checkpoint.
type Trigger struct {
	Checkpoint int64
	// Dir receives the state files.
	Dir     string
	Sources []id.ExecutionAttempt
}

// Store: write the checkpoint durably, then call Stored. This is the commit point.
type Store struct{ Completed *Completed }

// Complete: tell the attempts that the checkpoint, and all before it, is complete.
type Complete struct {
	Checkpoint int64
	Attempts   []id.ExecutionAttempt
}

// Abort: tell all attempts that checkpoints First..Last (inclusive) will never complete.
type Abort struct {
	First, Last int64
	Reason      string
}

// FailTasks: more checkpoints failed in a row than the job tolerates, so its tasks have to be restarted.
type FailTasks struct{ Failure protocol.Failure }

// Final: the last checkpoint of a drained job is complete.
type Final struct{ Checkpoint int64 }

func (AskID) String() string { return "ask for an id" }

func (a Trigger) String() string {
	return fmt.Sprintf("trigger %d at %s into %s", a.Checkpoint, attempts(a.Sources), a.Dir)
}

func (a Store) String() string {
	return fmt.Sprintf("store %d (%d bytes)", a.Completed.ID, a.Completed.Bytes)
}

func (a Complete) String() string {
	return fmt.Sprintf("complete %d at %s", a.Checkpoint, attempts(a.Attempts))
}

func (a Abort) String() string { return fmt.Sprintf("abort %d..%d: %s", a.First, a.Last, a.Reason) }

func (a FailTasks) String() string { return "fail tasks: " + a.Failure.Message }

func (a Final) String() string { return fmt.Sprintf("final checkpoint %d", a.Checkpoint) }

// attempts prints attempts with a short form of their vertex.
func attempts(list []id.ExecutionAttempt) string {
	s := "["
	for i, a := range list {
		if i > 0 {
			s += " "
		}
		s += fmt.Sprintf("%s_%d_%d", a.Vertex.String()[:2], a.Subtask, a.Attempt)
	}
	return s + "]"
}

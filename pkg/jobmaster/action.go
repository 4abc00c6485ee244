package jobmaster

import (
	"time"

	"github.com/tamias-project/tamias/pkg/checkpoint"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// action is something that a schedule wants the endpoint to do. Actions are carried out in their order;
// those that change what later leaders see (writeLedger, storeIntent, dropIntent) are answered by an
// event, and until then the schedule does nothing that depends on them.
type action interface{ isAction() }

// member is one process life of a TaskManager.
type member struct {
	id       id.TaskManager
	instance id.Instance
}

type (
	// writeLedger is answered by ledgerWritten.
	writeLedger struct{ ledger haservices.Ledger }
	// prepareJob is answered by prepared.
	prepareJob struct {
		wave int
		to   member
	}
	// deployTasks is answered by deployed. It may be repeated: a TaskManager leaves attempts alone that run.
	deployTasks struct {
		to    member
		tasks []protocol.TaskDeployment
	}
	// cancelTasks is answered by the attempts' terminal states.
	cancelTasks struct {
		to       member
		attempts []id.ExecutionAttempt
		// discard what was prepared beyond checkpoint completed: the job ends for good.
		discard   bool
		completed int64
	}
	// finishTasks is answered by the attempts' terminal states.
	finishTasks struct {
		to       member
		attempts []id.ExecutionAttempt
	}
	// releaseSlots gives slots back that the job does not need.
	releaseSlots struct {
		to          member
		allocations []id.Allocation
	}
	// storeIntent is answered by intentStored.
	storeIntent struct{ intent haservices.Intent }
	// dropIntent is answered by intentDropped.
	dropIntent struct{}
	// declareSlots: what requirements returns has changed.
	declareSlots struct{}
	// beginCheckpoints: all tasks run.
	beginCheckpoints struct {
		tasks []checkpoint.Task
		first time.Duration
	}
	// suspendCheckpoints: not all tasks run any more.
	suspendCheckpoints struct{ reason string }
	// lastCheckpoint: all tasks have drained. It is answered by finalCheckpoint.
	lastCheckpoint struct{}
	// adoptionOver: the attempts run on under this leader; they are told again which checkpoint is complete
	// and which ones never will be.
	adoptionOver struct {
		attempts []id.ExecutionAttempt
		took     time.Duration
	}
	// jobEnded: the job has reached a terminal state. It is the last action of a schedule.
	jobEnded struct{ state protocol.JobState }
)

func (writeLedger) isAction()        {}
func (prepareJob) isAction()         {}
func (deployTasks) isAction()        {}
func (cancelTasks) isAction()        {}
func (finishTasks) isAction()        {}
func (releaseSlots) isAction()       {}
func (storeIntent) isAction()        {}
func (dropIntent) isAction()         {}
func (declareSlots) isAction()       {}
func (beginCheckpoints) isAction()   {}
func (suspendCheckpoints) isAction() {}
func (lastCheckpoint) isAction()     {}
func (adoptionOver) isAction()       {}
func (jobEnded) isAction()           {}

package protocol

import "errors"

// Errors that callers branch on. They cross the wire as their code in Codes, so errors.Is works on the
// far side.
var (
	// ErrUnknownJob: no job with that ID runs or has ended here. Check the ID.
	ErrUnknownJob = errors.New("unknown job")
	// ErrJobEnded: the job has reached a terminal state; nothing can be done to it any more.
	ErrJobEnded = errors.New("job has already ended")
	// ErrJobConflict: another job graph was submitted under this ID. Choose another ID.
	ErrJobConflict = errors.New("another job has this ID")
	// ErrInvalidJob: the job graph cannot run; the message says why. Do not retry.
	ErrInvalidJob = errors.New("invalid job")
	// ErrNotReady: the leader is still recovering. Retry.
	ErrNotReady = errors.New("leader is still recovering")
	// ErrUnknownTaskManager: the receiver does not know this TaskManager instance. Register again.
	ErrUnknownTaskManager = errors.New("unknown task manager")
	// ErrUnknownJobMaster: the receiver does not know the JobMaster. Register again.
	ErrUnknownJobMaster = errors.New("unknown job master")
	// ErrSlotTaken: the slot is leased to another allocation. Read the next slot report.
	ErrSlotTaken = errors.New("slot is taken")
	// ErrUnknownAllocation: the TaskManager does not hold this slot for the job. Ask for another.
	ErrUnknownAllocation = errors.New("unknown allocation")
)

// Codes names the errors on the wire. A code is never reused.
var Codes = map[string]error{
	"unknown-job":          ErrUnknownJob,
	"job-ended":            ErrJobEnded,
	"job-conflict":         ErrJobConflict,
	"invalid-job":          ErrInvalidJob,
	"not-ready":            ErrNotReady,
	"unknown-task-manager": ErrUnknownTaskManager,
	"unknown-job-master":   ErrUnknownJobMaster,
	"slot-taken":           ErrSlotTaken,
	"unknown-allocation":   ErrUnknownAllocation,
}

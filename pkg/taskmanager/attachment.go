package taskmanager

import (
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// attachmentState says how a job at this TaskManager stands to its master.
type attachmentState string

const (
	// waiting: slots are leased, no master has been heard yet; nothing runs that an orphan timeout could end.
	waiting attachmentState = "WAITING"
	// attached: the master is heard.
	attached attachmentState = "ATTACHED"
	// orphaned: the master is silent, gone, or unknown. Tasks run on, slots stay.
	orphaned attachmentState = "ORPHANED"
	// expired: orphaned for too long. Tasks have been ended and slots freed; what became of the tasks is
	// still told to a master that comes late.
	expired attachmentState = "EXPIRED"
)

// attachment is the state machine of one job at a TaskManager: WAITING -> ATTACHED(epoch) <-> ORPHANED ->
// EXPIRED. It has no goroutine or clock. The epoch of the fence only rises, whatever the state.
type attachment struct {
	state attachmentState
	fence *rpc.FollowerFence
	// heardAt is the last valid contact with a master.
	heardAt time.Time
	// silence turns ATTACHED into ORPHANED: the heartbeat timeout that the master announced, 0 before.
	silence time.Duration
	// orphanTimeout turns ORPHANED into EXPIRED, counted from the last valid contact.
	orphanTimeout time.Duration
}

// heard takes in a sign of life of the master with that token. It returns an error that wraps
// rpc.ErrFenced, and changes nothing, for a master of the past.
func (a *attachment) heard(token id.FencingToken, now time.Time) error {
	if err := a.fence.Observe(token); err != nil {
		return err
	}
	a.heardAt = now
	if a.state != expired {
		a.state = attached
	}
	return nil
}

// lost takes in that the master with that token is certainly gone.
func (a *attachment) lost(token id.FencingToken) {
	if a.state == attached && a.fence.Highest() == token {
		a.state = orphaned
	}
}

// leased takes in a new slot for the job: a job that had expired begins anew.
func (a *attachment) leased(now time.Time) {
	if a.state == expired {
		a.state, a.heardAt, a.silence = waiting, now, 0
	}
}

// tick lets time pass. It reports true at the moment when the job expires.
func (a *attachment) tick(now time.Time) bool {
	if a.state == attached && a.silence > 0 && now.Sub(a.heardAt) >= a.silence {
		a.state = orphaned
	}
	if a.state != orphaned || now.Sub(a.heardAt) < a.orphanTimeout {
		return false
	}
	a.state, a.heardAt = expired, now
	return true
}

// excuse shifts the last contact by a time in which nobody could be heard by our own fault.
func (a *attachment) excuse(deaf time.Duration) { a.heardAt = a.heardAt.Add(deaf) }

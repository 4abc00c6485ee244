package worker

import (
	"time"

	"github.com/tamias-project/tamias/pkg/shuffle"
)

// aligner decides what barriers mean for a task with several channels. It is pure: the task blocks and
// unblocks channels as told. Flink's SingleCheckpointBarrierHandler.
//
// One checkpoint is aligned at a time. IDs rise, so a barrier with a higher ID means that the one being
// aligned has been given up, and a barrier with a lower one comes too late.
type aligner struct {
	channels int
	current  shuffle.Barrier // Checkpoint 0: none
	arrived  int
	from     []bool // channels that current has arrived on
	started  time.Time
	last     int64  // the highest ID that is decided: taken, given up or overtaken
	epoch    uint64 // the highest seen
	aborted  []checkpointRange
}

func newAligner(channels int) *aligner {
	return &aligner{channels: channels, from: make([]bool, channels)}
}

// verdict is what follows a barrier.
type verdict struct {
	// overtaken is a checkpoint that was being aligned and is given up, or 0. Blocked channels are to be
	// unblocked first.
	overtaken int64
	// block: hold the channel of this barrier back.
	block bool
	// complete: the barrier has arrived everywhere. Unblock, and take the snapshot.
	complete bool
	// took is the time between the first and the last barrier of complete.
	took time.Duration
}

// barrier says that b has arrived on a channel.
func (a *aligner) barrier(channel int, b shuffle.Barrier, now time.Time) (v verdict) {
	if !a.admit(b) || b.Checkpoint < a.current.Checkpoint {
		return v
	}
	if b.Checkpoint > a.current.Checkpoint {
		if v.overtaken = a.current.Checkpoint; v.overtaken > 0 {
			a.decide(v.overtaken)
		}
		a.current, a.arrived, a.started = b, 0, now
		clear(a.from)
	}
	if a.from[channel] {
		return v
	}
	a.from[channel] = true
	if a.arrived++; a.arrived < a.channels {
		v.block = true
		return v
	}
	v.complete, v.took = true, now.Sub(a.started)
	a.decide(b.Checkpoint)
	return v
}

// admit reports whether a checkpoint may still be taken. Sources, which align nothing, ask only this.
func (a *aligner) admit(b shuffle.Barrier) bool {
	if b.Checkpoint <= a.last || b.Epoch < a.epoch {
		return false
	}
	a.epoch = b.Epoch
	for _, r := range a.aborted {
		if r.holds(b.Checkpoint) {
			return false
		}
	}
	return true
}

// decide notes that nothing more is to be done for n, or for any before it.
func (a *aligner) decide(n int64) {
	a.last = max(a.last, n)
	a.current, a.arrived = shuffle.Barrier{}, 0
	kept := a.aborted[:0]
	for _, r := range a.aborted {
		if r.last > a.last {
			kept = append(kept, r)
		}
	}
	a.aborted = kept
}

// abort gives checkpoints up, also ones whose barriers are still to come. It reports whether one of them
// was being aligned: then blocked channels are to be unblocked.
func (a *aligner) abort(r checkpointRange) (unblock bool) {
	if r.last > a.last {
		a.aborted = append(a.aborted, r)
	}
	if a.current.Checkpoint > 0 && r.holds(a.current.Checkpoint) {
		a.decide(a.current.Checkpoint)
		return true
	}
	return false
}

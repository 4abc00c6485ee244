package taskmanager

import (
	"fmt"
	"slices"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// slotTable says which slots are leased to which job. It has no goroutine or clock. Flink's
// TaskSlotTable.
type slotTable struct {
	slots []slot
	// version rises with every change; reports carry it so that the ResourceManager can order them.
	version int64
}

type slot struct {
	protocol.Slot
	// leased is when the ResourceManager leased the slot.
	leased time.Time
	// accepted: a JobMaster has taken the offer. From then on only a JobMaster, or the job's expiry, frees
	// the slot.
	accepted bool
}

func newSlotTable(n int) *slotTable {
	t := &slotTable{slots: make([]slot, n), version: 1}
	for i := range t.slots {
		t.slots[i].Index = i
	}
	return t
}

// lease gives slot index to a job. A repeated request succeeds without effect; ErrSlotTaken when the slot
// belongs to another allocation.
func (t *slotTable) lease(r protocol.RequestSlotRequest, now time.Time) error {
	if r.Slot < 0 || r.Slot >= len(t.slots) {
		return fmt.Errorf("%w: there is no slot %d, only %d slots", protocol.ErrSlotTaken, r.Slot, len(t.slots))
	}
	if i := t.find(r.Allocation); i >= 0 && i != r.Slot {
		return fmt.Errorf("%w: allocation %s has slot %d", protocol.ErrSlotTaken, r.Allocation, i)
	}
	s := &t.slots[r.Slot]
	switch {
	case s.Allocation == r.Allocation && s.Job == r.Job:
		return nil
	case !s.Allocation.IsZero():
		return fmt.Errorf("%w: slot %d belongs to allocation %s of job %s", protocol.ErrSlotTaken, r.Slot, s.Allocation, s.Job)
	}
	s.Allocation, s.Job, s.leased, s.accepted = r.Allocation, r.Job, now, false
	t.version++
	return nil
}

// find returns the slot with that allocation, or -1.
func (t *slotTable) find(a id.Allocation) int {
	return slices.IndexFunc(t.slots, func(s slot) bool { return s.Allocation == a && !a.IsZero() })
}

// holds reports whether allocation a is leased to j.
func (t *slotTable) holds(j id.Job, a id.Allocation) bool {
	i := t.find(a)
	return i >= 0 && t.slots[i].Job == j
}

// accept notes that a JobMaster has taken the slots of j among as.
func (t *slotTable) accept(j id.Job, as []id.Allocation) {
	for i := range t.slots {
		if s := &t.slots[i]; s.Job == j && slices.Contains(as, s.Allocation) {
			s.accepted = true
		}
	}
}

// release frees one slot of j. It reports whether there was something to free.
func (t *slotTable) release(j id.Job, a id.Allocation) bool {
	i := t.find(a)
	if i < 0 || t.slots[i].Job != j {
		return false
	}
	t.slots[i] = slot{Slot: protocol.Slot{Index: i}}
	t.version++
	return true
}

// releaseJob frees all slots of j and returns how many there were.
func (t *slotTable) releaseJob(j id.Job) int {
	n := 0
	for _, a := range t.of(j) {
		if t.release(j, a) {
			n++
		}
	}
	return n
}

// of lists the allocations of j by slot.
func (t *slotTable) of(j id.Job) []id.Allocation {
	return t.collect(func(s slot) bool { return s.Job == j })
}

// unoffered lists the allocations of j that no JobMaster has accepted.
func (t *slotTable) unoffered(j id.Job) []id.Allocation {
	return t.collect(func(s slot) bool { return s.Job == j && !s.accepted })
}

// overdue lists the slots of all jobs that no JobMaster has accepted within timeout.
func (t *slotTable) overdue(now time.Time, timeout time.Duration) []protocol.Slot {
	var overdue []protocol.Slot
	for _, s := range t.slots {
		if !s.Allocation.IsZero() && !s.accepted && now.Sub(s.leased) >= timeout {
			overdue = append(overdue, s.Slot)
		}
	}
	return overdue
}

func (t *slotTable) collect(which func(slot) bool) []id.Allocation {
	var as []id.Allocation
	for _, s := range t.slots {
		if !s.Allocation.IsZero() && which(s) {
			as = append(as, s.Allocation)
		}
	}
	return as
}

// report is the state of all slots.
func (t *slotTable) report() []protocol.Slot {
	report := make([]protocol.Slot, len(t.slots))
	for i, s := range t.slots {
		report[i] = s.Slot
	}
	return report
}

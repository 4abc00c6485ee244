package jobmaster

import (
	"fmt"
	"slices"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// slot is one slot that a TaskManager holds for the job.
type slot struct {
	allocation id.Allocation
	owner      member
	address    string
	// index of the subtasks that it holds, -1 while it is free.
	index int
	// taken is the schedule's sequence when the slot was taken in: a report asked for later must list it.
	taken int64
}

// slotPool knows the slots that the job has. Slot i holds subtask i of every vertex, so the job needs as
// many as its highest parallelism.
type slotPool struct {
	need int
	// slots in the order in which they came.
	slots []*slot
}

func (p *slotPool) find(a id.Allocation) *slot {
	for _, s := range p.slots {
		if s.allocation == a {
			return s
		}
	}
	return nil
}

// holder is the slot of subtasks with that index, or nil.
func (p *slotPool) holder(index int) *slot {
	for _, s := range p.slots {
		if s.index == index {
			return s
		}
	}
	return nil
}

// add takes a slot in, free, unless it is there.
func (p *slotPool) add(a id.Allocation, owner member, address string) *slot {
	s := p.find(a)
	if s == nil {
		s = &slot{allocation: a, index: -1}
		p.slots = append(p.slots, s)
	}
	s.owner, s.address = owner, address
	return s
}

// drop forgets the slots of a TaskManager that it had to list by since and does not. It reports whether
// there were any.
func (p *slotPool) drop(owner member, listed []id.Allocation, since int64) bool {
	before := len(p.slots)
	p.slots = slices.DeleteFunc(p.slots, func(s *slot) bool {
		return s.owner == owner && s.taken <= since && !slices.Contains(listed, s.allocation)
	})
	return len(p.slots) < before
}

// wants reports whether the job has use for one more slot.
func (p *slotPool) wants() bool { return len(p.slots) < p.need }

// removeAll forgets the slots of a TaskManager that is lost.
func (p *slotPool) removeAll(owner member) {
	p.slots = slices.DeleteFunc(p.slots, func(s *slot) bool { return s.owner == owner })
}

// surplus takes out and returns free slots beyond what the job needs.
func (p *slotPool) surplus() (out []*slot) {
	for i := len(p.slots) - 1; i >= 0 && len(p.slots) > p.need; i-- {
		if s := p.slots[i]; s.index < 0 {
			p.slots = slices.Delete(p.slots, i, i+1)
			out = append(out, s)
		}
	}
	return out
}

// assign gives the subtasks of an index a slot: the one they have, else the one where they were before,
// else a free one of the TaskManager that holds the fewest of them. It returns nil when no slot is free.
func (p *slotPool) assign(index int, before id.Allocation) *slot {
	if s := p.holder(index); s != nil {
		return s
	}
	if s := p.find(before); s != nil && s.index < 0 {
		s.index = index
		return s
	}
	load := map[member]int{}
	for _, s := range p.slots {
		if s.index >= 0 {
			load[s.owner]++
		}
	}
	var best *slot
	for _, s := range p.slots {
		if s.index < 0 && (best == nil || load[s.owner] < load[best.owner]) {
			best = s
		}
	}
	if best != nil {
		best.index = index
	}
	return best
}

// allocations lists what the job holds.
func (p *slotPool) allocations() []id.Allocation {
	held := make([]id.Allocation, len(p.slots))
	for i, s := range p.slots {
		held[i] = s.allocation
	}
	return held
}

// watchSlots lets regions fail that have waited too long for slots. Time counts only while there is a
// ResourceManager that could give some.
func (s *schedule) watchSlots(now time.Time) {
	var short []*region
	if s.goal.restarts() && !s.over() {
		short = s.short()
	}
	switch {
	case len(short) == 0 || !s.resourceManager:
		s.waitingSince = time.Time{}
	case s.waitingSince.IsZero():
		s.waitingSince = now
	case s.cfg.slotRequestTimeout > 0 && now.Sub(s.waitingSince) >= s.cfg.slotRequestTimeout:
		s.waitingSince = time.Time{}
		failure := protocol.Failure{Message: fmt.Sprintf("%s, after waiting for %s: start more TaskManagers or lower the parallelism",
			s.slotsMissing(), s.cfg.slotRequestTimeout)}
		s.record(now, failure, nil)
		s.restart(now, short, &failure)
		s.settleRegions(now)
		s.pursueGoal(now)
	}
}

// short lists the regions that wait for slots which are not there.
func (s *schedule) short() (list []*region) {
	free := map[int]bool{}
	left := 0
	for _, sl := range s.slots.slots {
		if sl.index < 0 {
			left++
		}
	}
	for _, r := range s.regions {
		if r.phase != waiting {
			continue
		}
		for _, e := range r.executions {
			i := e.attempt.Subtask
			if s.slots.holder(i) == nil && !free[i] {
				free[i] = true
				left--
			}
		}
		if left < 0 {
			list = append(list, r)
		}
	}
	return list
}

func (s *schedule) slotsMissing() string {
	return fmt.Sprintf("the job needs %d slots, has %d", s.slots.need, len(s.slots.slots))
}

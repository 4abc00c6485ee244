package resourcemanager

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// core decides which job gets which slot. It has no goroutine, clock or I/O: events go in by its
// methods, leases come out of match. It starts empty in each term and is filled by what TaskManagers
// and JobMasters say, so it never contradicts them: a slot is free only if its TaskManager says so, and
// what a JobMaster holds is given even if its TaskManager has not been heard of. Flink's
// FineGrainedSlotManager.
type core struct {
	newAllocation func() id.Allocation
	taskManagers  map[id.TaskManager]*taskManager
	jobs          map[id.Job]*job
	// arrivals orders jobs: who came first is served first.
	arrivals int
}

// taskManager is one registered TaskManager.
type taskManager struct {
	registration protocol.RegisterTaskManagerRequest
	version      int64
	slots        []protocol.Slot
	// asked holds the leases that were requested and not yet answered, by slot index.
	asked map[int]lease
	// doubted holds slots that look free but were refused: they wait for the next report.
	doubted map[int]bool
}

// job is one job whose JobMaster has registered.
type job struct {
	id      id.Job
	token   id.FencingToken
	address string
	arrival int
	slots   int // needed, those held included
	held    map[id.Allocation]bool
	// silent: the JobMaster has not been heard of lately. Its requirement is kept, but no new slots are
	// leased for a master that cannot take them.
	silent bool
	// lost counts the slots that each TaskManager gave up while the job still needed them: a TaskManager
	// that cannot reach the JobMaster is asked last.
	lost map[id.TaskManager]int
}

// lease is an action: ask a TaskManager for a slot.
type lease struct {
	TaskManager id.TaskManager
	Instance    id.Instance
	Slot        int
	Job         id.Job
	Allocation  id.Allocation
}

func newCore(newAllocation func() id.Allocation) *core {
	return &core{
		newAllocation: newAllocation,
		taskManagers:  map[id.TaskManager]*taskManager{},
		jobs:          map[id.Job]*job{},
	}
}

// register takes in a TaskManager, known or new, with the slots that it reports.
func (c *core) register(r protocol.RegisterTaskManagerRequest) {
	if old := c.taskManagers[r.ID]; old != nil && old.registration.Instance == r.Instance && r.Version < old.version {
		old.registration = r // a late repetition: newer reports of this process are known
		clear(old.asked)
		return
	}
	c.taskManagers[r.ID] = &taskManager{
		registration: r, version: r.Version, slots: r.Slots, asked: map[int]lease{}, doubted: map[int]bool{},
	}
}

// find returns the TaskManager if that process of it is registered.
func (c *core) find(t id.TaskManager, instance id.Instance) (*taskManager, error) {
	if tm := c.taskManagers[t]; tm != nil && tm.registration.Instance == instance {
		return tm, nil
	}
	return nil, fmt.Errorf("%w: %s (instance %s) is not registered", protocol.ErrUnknownTaskManager, t, instance)
}

// report takes in the state of a TaskManager's slots. Reports overtaken by newer ones are dropped.
func (c *core) report(r protocol.SlotReport) error {
	tm, err := c.find(r.ID, r.Instance)
	if err != nil {
		return err
	}
	if r.Version < tm.version {
		return nil
	}
	for i, slot := range tm.slots {
		if i < len(r.Slots) && !slot.Allocation.IsZero() && r.Slots[i].Allocation != slot.Allocation {
			c.gaveUp(r.ID, slot)
		}
	}
	tm.version, tm.slots = r.Version, r.Slots
	clear(tm.doubted)
	for i := range tm.asked {
		if i >= len(r.Slots) || !r.Slots[i].Allocation.IsZero() {
			delete(tm.asked, i)
		}
	}
	return nil
}

// gaveUp notes that a TaskManager freed a slot that the job had not given back.
func (c *core) gaveUp(t id.TaskManager, slot protocol.Slot) {
	if j := c.jobs[slot.Job]; j != nil && !j.held[slot.Allocation] && c.givenToAll()[j.id] <= j.slots {
		j.lost[t]++
	}
}

// granted takes in a TaskManager's yes.
func (c *core) granted(l lease, r protocol.SlotReport) {
	tm, err := c.find(l.TaskManager, l.Instance)
	if err != nil {
		return
	}
	if tm.asked[l.Slot] == l {
		delete(tm.asked, l.Slot)
	}
	c.report(r) // same TaskManager, just found
}

// refused takes in a TaskManager's no.
func (c *core) refused(l lease) {
	tm, err := c.find(l.TaskManager, l.Instance)
	if err != nil || tm.asked[l.Slot] != l {
		return
	}
	delete(tm.asked, l.Slot)
	tm.doubted[l.Slot] = true
}

// lose forgets a TaskManager: it is gone, silent, or said farewell.
func (c *core) lose(t id.TaskManager, instance id.Instance) bool {
	if _, err := c.find(t, instance); err != nil {
		return false
	}
	delete(c.taskManagers, t)
	return true
}

// registerJobMaster takes in the leader of a job. Requirements of its predecessor stay until it
// declares its own.
func (c *core) registerJobMaster(r protocol.RegisterJobMasterRequest) error {
	j := c.jobs[r.Job]
	if j == nil {
		c.arrivals++
		j = &job{id: r.Job, token: r.Token, arrival: c.arrivals, held: map[id.Allocation]bool{}, lost: map[id.TaskManager]int{}}
		c.jobs[r.Job] = j
	}
	if err := fence(j, r.Token); err != nil {
		return err
	}
	j.token, j.address, j.silent = r.Token, r.Address, false
	return nil
}

// fence refuses masters of the past, as a follower does.
func fence(j *job, token id.FencingToken) error {
	if token.Epoch() < j.token.Epoch() || token.Epoch() == j.token.Epoch() && token != j.token {
		return fmt.Errorf("%w: the JobMaster of epoch %d is registered for job %s, message has epoch %d",
			rpc.ErrFenced, j.token.Epoch(), j.id, token.Epoch())
	}
	return nil
}

// declare replaces a job's requirement.
func (c *core) declare(r protocol.DeclareRequirementsRequest) error {
	j := c.jobs[r.Job]
	if j == nil {
		return fmt.Errorf("%w: of job %s", protocol.ErrUnknownJobMaster, r.Job)
	}
	if err := fence(j, r.Token); err != nil {
		return err
	}
	if j.token != r.Token {
		return fmt.Errorf("%w: of job %s with epoch %d", protocol.ErrUnknownJobMaster, r.Job, r.Token.Epoch())
	}
	j.slots, j.silent = r.Slots, false
	clear(j.held)
	for _, a := range r.Held {
		j.held[a] = true
	}
	if len(j.held) >= j.slots {
		clear(j.lost)
	}
	return nil
}

// endJob forgets a job that has reached a terminal state. Its slots come back by reports.
func (c *core) endJob(r protocol.DisconnectJobMasterRequest) error {
	j := c.jobs[r.Job]
	if j == nil {
		return nil
	}
	if err := fence(j, r.Token); err != nil {
		return err
	}
	delete(c.jobs, r.Job)
	return nil
}

// silence notes that a JobMaster is not heard.
func (c *core) silence(j id.Job) {
	if j := c.jobs[j]; j != nil {
		j.silent = true
	}
}

// forget drops the requirement of a job whose JobMaster has been silent for too long.
func (c *core) forget(j id.Job) { delete(c.jobs, j) }

// givenToAll counts the slots that each job has or is about to have: those its master holds, those that
// TaskManagers report, and those being asked for.
func (c *core) givenToAll() map[id.Job]int {
	given := make(map[id.Job]int, len(c.jobs))
	for _, j := range c.jobs {
		given[j.id] = len(j.held)
	}
	count := func(of id.Job, a id.Allocation) {
		if j := c.jobs[of]; j != nil && !j.held[a] {
			given[of]++
		}
	}
	for _, tm := range c.taskManagers {
		for _, s := range tm.slots {
			if !s.Allocation.IsZero() {
				count(s.Job, s.Allocation)
			}
		}
		for _, l := range tm.asked {
			count(l.Job, l.Allocation)
		}
	}
	return given
}

// free lists the slots that can be leased.
func (tm *taskManager) free() []int {
	var free []int
	for i, s := range tm.slots {
		_, asked := tm.asked[i]
		if s.Allocation.IsZero() && !asked && !tm.doubted[i] {
			free = append(free, i)
		}
	}
	return free
}

// used counts the slots of tm that j has or asks for.
func (tm *taskManager) used(j id.Job) int {
	n := 0
	for _, s := range tm.slots {
		if s.Job == j && !s.Allocation.IsZero() {
			n++
		}
	}
	for _, l := range tm.asked {
		if l.Job == j {
			n++
		}
	}
	return n
}

// match leases free slots to jobs that miss some, first come first served, and notes the leases as
// asked. A job gets all that it misses or nothing, so two jobs never hold half of what each needs.
func (c *core) match() []lease {
	waiting := c.inOrder(func(j *job) bool { return !j.silent && j.slots > len(j.held) })
	if len(waiting) == 0 {
		return nil // as nearly always: who has what it needs need not be counted
	}
	given := c.givenToAll()
	offers, free := c.offers()
	var leases []lease
	for _, j := range waiting {
		missing := j.slots - given[j.id]
		if missing <= 0 || missing > free {
			continue
		}
		free -= missing
		for range missing {
			leases = append(leases, c.lease(j, offers))
		}
	}
	return leases
}

// inOrder lists the jobs that are wanted, first come first.
func (c *core) inOrder(wanted func(*job) bool) []*job {
	var jobs []*job
	for _, j := range c.jobs {
		if wanted(j) {
			jobs = append(jobs, j)
		}
	}
	slices.SortFunc(jobs, func(a, b *job) int { return a.arrival - b.arrival })
	return jobs
}

// offer is a TaskManager with its free slots.
type offer struct {
	*taskManager
	free []int
}

// offers returns all of them, and how many slots are free.
func (c *core) offers() (offers []*offer, slots int) {
	for _, tm := range c.taskManagers {
		if free := tm.free(); len(free) > 0 {
			offers = append(offers, &offer{tm, free})
			slots += len(free)
		}
	}
	return offers, slots
}

// lease asks for one more slot for j: from the TaskManager that has disappointed it least, then has
// fewest of its slots, then most free ones. Called when a free slot exists.
func (c *core) lease(j *job, offers []*offer) lease {
	var best *offer
	for _, o := range offers {
		if len(o.free) > 0 && (best == nil || j.prefer(o, best) < 0) {
			best = o
		}
	}
	l := lease{
		TaskManager: best.registration.ID, Instance: best.registration.Instance, Slot: best.free[0],
		Job: j.id, Allocation: c.newAllocation(),
	}
	best.asked[l.Slot] = l
	best.free = best.free[1:]
	return l
}

func (j *job) prefer(a, b *offer) int {
	return cmp.Or(
		cmp.Compare(j.lost[a.registration.ID], j.lost[b.registration.ID]),
		cmp.Compare(a.used(j.id), b.used(j.id)),
		-cmp.Compare(len(a.free), len(b.free)),
		cmp.Compare(a.registration.ID, b.registration.ID),
	)
}

// missing lists the requirements that are not met.
func (c *core) missing() []protocol.MissingSlots {
	var missing []protocol.MissingSlots
	given := c.givenToAll()
	for _, j := range c.inOrder(func(j *job) bool { return j.slots > given[j.id] }) {
		missing = append(missing, protocol.MissingSlots{Job: j.id, Slots: j.slots - given[j.id], Needed: j.slots})
	}
	return missing
}

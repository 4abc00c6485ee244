// Package embedded is an HA backend in memory, for tests and simulations: a Cluster is the coordination
// service, and each simulated process gets a Driver from it. It makes its callers suffer what a real
// service does: sessions that end, processes that freeze and thaw, cut links, delays, writes whose
// answer is lost. It uses channels and timers only, so it works inside a testing/synctest bubble.
//
// The Cluster keeps an Audit of every term and every write, accepted or refused, so that a simulation
// can check the fence instead of believing in it.
package embedded

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/internal/nodes"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// Config says how a Cluster behaves.
type Config struct {
	// SessionTimeout is how long the cluster waits for a process that is frozen or cut off before it lets
	// the next contender lead. Default 10 s.
	SessionTimeout time.Duration
	// Detection is how long the loss of a killed process goes unnoticed: successors watch each other, so it
	// is much shorter than a session. Default 100 ms.
	Detection time.Duration
	// Notice is how long a running process does not know that its session has ended: Lost closes that much
	// later, and only the fence stops the process meanwhile. Default 0.
	Notice time.Duration
	Faults Faults
}

// Faults says what happens to single calls. The functions must be safe for concurrent use and must not
// call the Cluster; nil functions do nothing.
type Faults struct {
	// Delay of a call on its way to the cluster, and once more of the answer on its way back.
	Delay func(Call) time.Duration
	// Outcome decides what becomes of a call.
	Outcome func(Call) Outcome
}

// Call is one call of one process.
type Call struct {
	Process string
	// Operation is campaign, observe, publish, read, children, create, set, put or delete.
	Operation string
	// Path of the node, or of the component (haservices.Component.Path).
	Path string
}

// Outcome is what becomes of a call.
type Outcome int

const (
	// Answered: the call is carried out and answered.
	Answered Outcome = iota
	// LoseAnswer: the call is carried out; writes end with ErrUnknownOutcome, others with ErrUnavailable.
	LoseAnswer
	// LoseRequest: the call is not carried out, but the caller learns no more than with LoseAnswer.
	LoseRequest
	// Refuse: the call is not carried out: ErrUnavailable.
	Refuse
)

// Cluster is the coordination service. Its methods may be called on any goroutine.
type Cluster struct {
	cfg Config

	mu        sync.Mutex // guards all below, and the fields of Driver and Term that say so
	nodes     *nodes.Memory
	elections map[haservices.Component]*election
	processes map[string]*Driver
	audit     []Record
	// changed is closed and replaced when something changed that a call may wait for.
	changed chan struct{}
}

// election is one component's leadership.
type election struct {
	component haservices.Component
	epoch     uint64
	queue     []*contender // in the order of arrival
	leader    *Term        // nil while nobody leads
	published haservices.LeaderInformation
	left      departure // of the leader before
}

// contender is one Campaign in an election's queue.
type contender struct {
	driver *Driver
	me     haservices.Contender
	since  time.Time
	term   *Term // set when it has won
	// dropped: the session ended before it won.
	dropped bool
	// abandoned: the Campaign has returned. It stays in the queue for as long as its process cannot tell.
	abandoned bool
}

// NewCluster returns a cluster without nodes and processes.
func NewCluster(cfg Config) *Cluster {
	cfg.SessionTimeout = cmp.Or(cfg.SessionTimeout, 10*time.Second)
	cfg.Detection = cmp.Or(cfg.Detection, 100*time.Millisecond)
	return &Cluster{
		cfg:       cfg,
		nodes:     nodes.NewMemory(),
		elections: map[haservices.Component]*election{},
		processes: map[string]*Driver{},
		changed:   make(chan struct{}),
	}
}

// Driver starts a process. One that runs under the same name is killed.
func (c *Cluster) Driver(process string) *Driver {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.processes[process]; old != nil {
		c.kill(old)
	}
	d := &Driver{cluster: c, name: process, terms: map[haservices.Component]*Term{}, contending: map[haservices.Component]bool{}}
	c.processes[process] = d
	return d
}

// ExpireSession ends the session of a process, which goes on and learns of it after Config.Notice.
func (c *Cluster) ExpireSession(process string) {
	c.with(process, func(d *Driver) { c.expire(d) })
}

// Freeze makes every call of a process wait until Thaw, as SIGSTOP would; after the session timeout its
// leaderships pass on. It learns of that after the thaw.
func (c *Cluster) Freeze(process string) {
	c.with(process, func(d *Driver) { d.frozen = true; c.silent(d, c.cfg.SessionTimeout) })
}

// Thaw ends Freeze.
func (c *Cluster) Thaw(process string) {
	c.with(process, func(d *Driver) { d.frozen = false; c.back(d) })
}

// Disconnect makes every call of a process fail with ErrUnavailable until Reconnect; after the session
// timeout its leaderships pass on, and it knows by its own clock.
func (c *Cluster) Disconnect(process string) {
	c.with(process, func(d *Driver) { d.cut = true; c.silent(d, c.cfg.SessionTimeout) })
}

// Reconnect ends Disconnect.
func (c *Cluster) Reconnect(process string) {
	c.with(process, func(d *Driver) { d.cut, d.lostSight = false, false; c.back(d) })
}

// Kill ends a process: none of its calls has an effect or returns before its context ends, and after
// Config.Detection its leaderships pass on.
func (c *Cluster) Kill(process string) {
	c.with(process, c.kill)
}

// with calls f with the lock held and the process of that name, if there is one.
func (c *Cluster) with(process string, f func(*Driver)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.processes[process]; d != nil {
		f(d)
		c.notify()
	}
}

// kill needs c.mu.
func (c *Cluster) kill(d *Driver) {
	if d.dead {
		return
	}
	d.dead = true
	d.stopTimer()
	c.silent(d, c.cfg.Detection)
	c.notify()
}

// silent ends d's session after the timeout unless back is called before; a timeout that runs already
// stays as it is. It needs c.mu.
func (c *Cluster) silent(d *Driver, timeout time.Duration) {
	if d.timer != nil {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(timeout, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if d.timer == timer { // else the process came back while this function waited for the lock
			c.expire(d)
		}
	})
	d.timer, d.silentSince = timer, time.Now()
}

// back lets a process go on that was frozen or cut off, if it is neither now. It needs c.mu.
func (c *Cluster) back(d *Driver) {
	if !d.frozen && !d.dead {
		c.tell(d)
	}
	if !d.running() {
		return
	}
	d.stopTimer()
	for _, t := range d.terms {
		if t.resigned {
			c.end(t, protocol.Resigned)
		}
	}
	for _, e := range c.elections {
		c.promote(e)
	}
}

// expire ends d's session: its contenders leave the queues and its terms are over. It needs c.mu.
func (c *Cluster) expire(d *Driver) {
	d.lostSight = d.cut
	for _, e := range c.elections {
		e.queue = slices.DeleteFunc(e.queue, func(k *contender) bool {
			k.dropped = k.dropped || k.driver == d
			return k.driver == d
		})
	}
	for _, t := range d.terms {
		c.end(t, d.lossReason())
	}
	for _, e := range c.elections {
		c.promote(e)
	}
	switch {
	case d.frozen || d.dead:
	case c.cfg.Notice > 0 && !d.cut:
		time.AfterFunc(c.cfg.Notice, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if !d.frozen && !d.dead {
				c.tell(d)
			}
		})
	default:
		c.tell(d)
	}
	c.notify()
}

// tell closes Lost of d's terms that are over. It needs c.mu.
func (c *Cluster) tell(d *Driver) {
	for component, t := range d.terms {
		if t.over {
			t.closeLost()
			delete(d.terms, component)
		}
	}
}

// end takes the leadership of t back, in the eyes of the cluster. It needs c.mu.
func (c *Cluster) end(t *Term, why protocol.SuccessionReason) {
	if t.over {
		return
	}
	t.over = true
	e := c.election(t.component)
	if e.leader == t {
		e.leader, e.published = nil, haservices.LeaderInformation{}
		e.left = departure{process: t.how.Leader, why: why, at: time.Now(), lastHeard: t.driver.silentSince}
	}
	c.promote(e)
	c.notify()
}

// promote lets the first in the queue lead if nobody does. It needs c.mu.
func (c *Cluster) promote(e *election) {
	for e.leader == nil && len(e.queue) > 0 {
		k := e.queue[0]
		if !k.driver.running() {
			return // it cannot raise the epoch: wait for it, or for the end of its session
		}
		e.queue = e.queue[1:]
		if k.abandoned {
			continue
		}
		e.epoch++
		k.term = newTerm(k.driver, e.component, e.succession(k))
		e.leader = k.term
		// A term that is over and of which the process has not been told is forgotten here: it learns now.
		if old := k.driver.terms[e.component]; old != nil {
			old.closeLost()
		}
		k.driver.terms[e.component] = k.term
		c.record(Record{Process: k.driver.name, Component: e.component, Epoch: e.epoch, Operation: "lead"})
		c.notify()
	}
}

// election needs c.mu.
func (c *Cluster) election(component haservices.Component) *election {
	e := c.elections[component]
	if e == nil {
		e = &election{component: component}
		c.elections[component] = e
	}
	return e
}

// notify wakes all calls that wait. It needs c.mu.
func (c *Cluster) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// await calls ok with c.mu held, now and after each change, until it returns true or ctx ends.
func (c *Cluster) await(ctx context.Context, ok func() bool) error {
	for {
		c.mu.Lock()
		done, changed := ok(), c.changed
		c.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// Driver is a simulated process's access to its Cluster. It starts no goroutine.
type Driver struct {
	cluster *Cluster
	name    string

	// Guarded by cluster.mu.
	frozen, cut, dead, closed bool
	closing                   bool // Close has begun
	// lostSight: cut off for a session timeout; by its own clock the process knows no leader any more.
	lostSight bool
	timer     *time.Timer // runs towards the end of the session, nil while the process is heard
	// silentSince is when timer began to run, zero while the process is heard.
	silentSince time.Time
	terms       map[haservices.Component]*Term
	// contending holds the components with a Campaign under way.
	contending map[haservices.Component]bool
}

var _ haservices.Driver = (*Driver)(nil)

// Name is the process's name.
func (d *Driver) Name() string { return d.name }

// running needs cluster.mu.
func (d *Driver) running() bool { return !d.frozen && !d.cut && !d.dead && !d.closed }

// stopTimer needs cluster.mu.
func (d *Driver) stopTimer() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer, d.silentSince = nil, time.Time{}
	}
}

// ready waits until the process can make a call at all: a frozen one cannot, a dead one never.
func (d *Driver) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.cluster.await(ctx, func() bool { return !d.frozen && !d.dead || d.closed })
}

func (d *Driver) delay(ctx context.Context, call Call) error {
	if d.cluster.cfg.Faults.Delay == nil {
		return ctx.Err()
	}
	select {
	case <-time.After(d.cluster.cfg.Faults.Delay(call)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// do makes one call: f runs in the cluster, under its lock. lost is the error for an answer that does
// not come.
func (d *Driver) do(ctx context.Context, operation, path string, lost error, f func() error) error {
	call, outcome := Call{d.name, operation, path}, Answered
	if d.cluster.cfg.Faults.Outcome != nil {
		outcome = d.cluster.cfg.Faults.Outcome(call)
	}
	if err := d.ready(ctx); err != nil {
		return err
	}
	if err := d.delay(ctx, call); err != nil {
		return err
	}
	if err := d.ready(ctx); err != nil {
		return err
	}
	err, done := d.arrive(outcome, f)
	if !done {
		return err
	}
	if d.delay(ctx, call) != nil || d.ready(ctx) != nil {
		return fmt.Errorf("%w: %w", lost, ctx.Err())
	}
	d.cluster.mu.Lock()
	defer d.cluster.mu.Unlock()
	if d.closed {
		return haservices.ErrClosed
	}
	if d.cut || outcome != Answered {
		return lost
	}
	return err
}

// arrive carries the call out unless a fault stops it before.
func (d *Driver) arrive(outcome Outcome, f func() error) (err error, done bool) {
	d.cluster.mu.Lock()
	defer d.cluster.mu.Unlock()
	switch {
	case d.closed:
		return haservices.ErrClosed, false
	case d.cut || d.frozen || d.dead || outcome == Refuse:
		return haservices.ErrUnavailable, false
	case outcome == LoseRequest:
		return nil, true
	}
	return f(), true
}

// Campaign implements haservices.Driver: contenders lead in the order in which they came.
func (d *Driver) Campaign(ctx context.Context, c haservices.Component, me haservices.Contender) (haservices.Term, error) {
	if err := d.claim(c); err != nil {
		return nil, err
	}
	defer d.release(c)
	for {
		term, err := d.stand(ctx, c, me)
		if term != nil {
			return term, nil
		}
		if err != nil && !errors.Is(err, haservices.ErrUnavailable) {
			return nil, err
		}
		if err := d.cluster.await(ctx, func() bool { return d.running() || d.closed }); err != nil {
			return nil, err
		}
	}
}

func (d *Driver) claim(c haservices.Component) error {
	d.cluster.mu.Lock()
	defer d.cluster.mu.Unlock()
	switch t := d.terms[c]; {
	case d.closed:
		return haservices.ErrClosed
	case d.contending[c], t != nil && !t.resigned && !t.over:
		return fmt.Errorf("campaign for %s: this process contends already", c)
	}
	d.contending[c] = true
	return nil
}

func (d *Driver) release(c haservices.Component) {
	d.cluster.mu.Lock()
	defer d.cluster.mu.Unlock()
	delete(d.contending, c)
}

// stand joins the queue and waits. Neither a term nor an error means that the session ended meanwhile.
func (d *Driver) stand(ctx context.Context, c haservices.Component, me haservices.Contender) (haservices.Term, error) {
	k := &contender{driver: d, me: me, since: time.Now()}
	err := d.do(ctx, "campaign", c.Path(), haservices.ErrUnavailable, func() error {
		e := d.cluster.election(c)
		e.queue = append(e.queue, k)
		d.cluster.promote(e)
		return nil
	})
	if err == nil {
		err = d.cluster.await(ctx, func() bool {
			return d.closed || !d.frozen && !d.dead && (k.term != nil || k.dropped)
		})
	}
	d.cluster.mu.Lock()
	defer d.cluster.mu.Unlock()
	if err == nil && k.term != nil && !d.closed {
		return k.term, nil
	}
	d.leave(k, c)
	if d.closed {
		return nil, haservices.ErrClosed
	}
	return nil, err
}

// leave takes k out of the queue, or gives up what it has won. It needs cluster.mu.
func (d *Driver) leave(k *contender, c haservices.Component) {
	k.abandoned = true
	if k.term != nil {
		k.term.resigned = true
		k.term.closeLost()
	}
	if !d.running() {
		return // the cluster learns of it when the process runs again, or when its session ends
	}
	e := d.cluster.election(c)
	e.queue = slices.DeleteFunc(e.queue, func(other *contender) bool { return other == k })
	if k.term != nil {
		d.cluster.end(k.term, protocol.Resigned)
	}
}

// Observe implements haservices.Driver.
func (d *Driver) Observe(ctx context.Context, c haservices.Component, tell func(haservices.LeaderInformation)) error {
	var last, seen haservices.LeaderInformation
	if err := ctx.Err(); err != nil {
		return err
	}
	for {
		look := func() bool {
			seen = d.sees(c, last)
			return d.closed || !d.frozen && !d.dead && seen != last
		}
		if err := d.cluster.await(ctx, look); err != nil {
			return err
		}
		if err := d.delay(ctx, Call{d.name, "observe", c.Path()}); err != nil {
			return err
		}
		// Read again: during the delay it may have changed, or the process been frozen.
		d.cluster.mu.Lock()
		news := look()
		closed := d.closed
		d.cluster.mu.Unlock()
		if closed {
			return haservices.ErrClosed
		}
		if news {
			last = seen
			tell(seen)
		}
	}
}

// sees is the leader that the process can know now. It needs cluster.mu.
func (d *Driver) sees(c haservices.Component, last haservices.LeaderInformation) haservices.LeaderInformation {
	switch {
	case d.lostSight:
		return haservices.LeaderInformation{}
	case d.cut:
		return last
	}
	return d.cluster.election(c).published
}

// Read implements haservices.Driver.
func (d *Driver) Read(ctx context.Context, path string) (n haservices.Node, err error) {
	err = d.do(ctx, "read", path, haservices.ErrUnavailable, func() (err error) {
		n, err = d.cluster.nodes.Read(path)
		return err
	})
	if err != nil {
		return haservices.Node{}, fmt.Errorf("read node %s: %w", path, err)
	}
	return n, nil
}

// Children implements haservices.Driver.
func (d *Driver) Children(ctx context.Context, path string) (names []string, err error) {
	err = d.do(ctx, "children", path, haservices.ErrUnavailable, func() (err error) {
		names, err = d.cluster.nodes.Children(path)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list nodes below %s: %w", path, err)
	}
	return names, nil
}

// Close implements haservices.Driver. A process that is frozen or cut off cannot say goodbye: its
// session ends by timeout.
func (d *Driver) Close() error {
	c := d.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.closed {
		return nil
	}
	if d.running() {
		d.stopTimer()
		d.closing = true
		c.expire(d)
	}
	d.closed = true
	for component, t := range d.terms {
		t.closeLost()
		delete(d.terms, component)
		if !t.over {
			defer c.silent(d, c.cfg.SessionTimeout)
			d.terms[component] = t
		}
	}
	c.notify()
	return nil
}

package local

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/internal/nodes"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// Campaign implements haservices.Driver. Whichever contender comes first after the leader's end leads.
func (d *Driver) Campaign(ctx context.Context, c haservices.Component, me haservices.Contender) (haservices.Term, error) {
	if err := d.member.Enter(ctx); err != nil {
		return nil, err
	}
	defer d.member.Leave()
	if err := d.member.Claim(c); err != nil {
		return nil, err
	}
	t, err := d.contend(ctx, c, me)
	if err != nil {
		d.member.Withdraw(c)
		return nil, fmt.Errorf("campaign for %s: %w", c, err)
	}
	if !d.member.Settle(c, t) {
		t.Resign(ctx)
		return nil, haservices.ErrClosed
	}
	return t, nil
}

// hasty is how often a contender tries anew within hastyPause of each other once it knows that the leader
// is gone: a child process that the leader was just starting may hold the lock for a moment.
const (
	hasty      = 100
	hastyPause = 2 * time.Millisecond
)

func (d *Driver) contend(ctx context.Context, c haservices.Component, me haservices.Contender) (*Term, error) {
	l := d.latch(c)
	changes := d.events.Subscribe(l.dir)
	defer changes.Cancel()
	g := guard{driver: d, latch: l, me: me, ended: make(chan struct{}, 1)}
	defer g.stop()
	tries, noticed := 0, time.Now()
	for {
		changes.Refresh()
		t, err := d.tryToLead(c, l, me, noticed)
		switch {
		case err == nil:
			return t, nil
		case errors.Is(err, errHeld):
			changes.Refresh() // try has made the directory
			g.watch(ctx, l.holder())
		case !errors.Is(err, errGone):
			return nil, err
		}
		pause := d.cfg.PollInterval
		if tries > 0 {
			tries--
			pause = min(pause, hastyPause)
		}
		timer := time.NewTimer(pause)
		select {
		case <-changes.Wake:
			if tries == 0 {
				noticed = time.Now()
			}
		case <-g.ended:
			tries, noticed = hasty, time.Now()
		case <-timer.C:
			if tries == 0 {
				noticed = time.Now()
			}
		case <-d.member.Closed():
			err = haservices.ErrClosed
		case <-ctx.Done():
			err = ctx.Err()
		}
		timer.Stop()
		if errors.Is(err, haservices.ErrClosed) || ctx.Err() != nil {
			return nil, err
		}
	}
}

// tryToLead takes the lock and raises the epoch, or returns errHeld or errGone.
func (d *Driver) tryToLead(c haservices.Component, l latch, me haservices.Contender, noticed time.Time) (*Term, error) {
	lock, err := l.try()
	if err != nil {
		return nil, err
	}
	epoch, err := l.raise(lock)
	var how haservices.Succession
	if err == nil {
		how = d.succession(l, epoch, me, noticed)
		err = l.describe(holder{
			Contender: me, Epoch: epoch, Since: how.Won, Owner: nodes.Self(),
			Predecessor: how.Predecessor, Reason: how.Reason, LastHeard: how.LastHeard, Detected: how.Detected,
		})
	}
	if err != nil {
		l.release(lock)
		return nil, err
	}
	d.leaders.Withdraw(c, nil) // what a dead leader left
	return newTerm(d, c, l, lock, how), nil
}

// guard watches the holder of a lock on behalf of one contender.
type guard struct {
	driver *Driver
	latch  latch
	me     haservices.Contender
	ended  chan struct{} // told once when the watched process has ended

	watched holder
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

// watch turns to h, unless it watches h already. h may be nil.
func (g *guard) watch(ctx context.Context, h *holder) {
	if h == nil || g.cancel != nil && h.Owner == g.watched.Owner && h.Epoch == g.watched.Epoch {
		return
	}
	g.stop()
	g.watched = *h
	if h.Owner == nodes.Self() || !h.Owner.Here() {
		return // this very process, or none that can be recognised
	}
	ctx, g.cancel = context.WithCancel(ctx)
	g.wg.Go(func() { g.awaitEnd(ctx, *h) })
	if g.driver.cfg.AwaitGone != nil && h.Address != "" {
		g.wg.Go(func() { g.probe(ctx, *h) })
	}
}

func (g *guard) stop() {
	if g.cancel != nil {
		g.cancel()
		g.wg.Wait()
		g.cancel = nil
	}
}

func (g *guard) awaitEnd(ctx context.Context, h holder) {
	err := h.Owner.AwaitEnd(ctx)
	switch {
	case err == nil:
		select {
		case g.ended <- struct{}{}:
		default:
		}
	case ctx.Err() == nil:
		g.driver.cfg.Log.Warn("leader's process cannot be watched", zap.Int("pid", h.PID), zap.Error(err))
	}
}

// probe shoots the holder when it does not answer any more although its process is there.
func (g *guard) probe(ctx context.Context, h holder) {
	cfg := g.driver.cfg
	refused := false // when it was asked last
	for {
		err := cfg.AwaitGone(ctx, h.Address, h.Process, cfg.ProbeTimeout)
		gone := errors.Is(err, rpc.ErrGone)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, rpc.ErrSilent):
			g.shoot(h, err, time.Now().Add(-cfg.ProbeTimeout))
		case gone && refused:
			g.shoot(h, err, time.Time{})
		}
		refused = gone // one that refuses connections is on its way out, or not yet in: it has as long as a silent one
		timer := time.NewTimer(cfg.ProbeTimeout)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// shoot kills the holder, if it still is the holder. A frozen process gives its lock up in no other way.
// lastHeard may be zero.
func (g *guard) shoot(h holder, reason error, lastHeard time.Time) {
	now := g.latch.holder()
	if now == nil || now.Owner != h.Owner || now.Epoch != h.Epoch || !h.Owner.Alive() {
		return
	}
	log := g.driver.cfg.Log.With(zap.Int("pid", h.Owner.PID), zap.String("leader-address", h.Address), zap.Uint64("epoch", h.Epoch))
	left := departure{Contender: h.Contender, Epoch: h.Epoch, Reason: protocol.Shot, At: time.Now(), LastHeard: lastHeard}
	g.driver.noteShot(h.Owner, left)
	g.latch.depart(left)
	if err := h.Owner.Kill(); err != nil {
		log.Error("silent leader could not be killed", zap.Error(err))
		return
	}
	log.Warn("silent leader killed", zap.NamedError("reason", reason))
}

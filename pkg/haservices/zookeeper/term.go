package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
)

// Term implements haservices.Term. It is tied to the session in which it was won and ends with it.
type Term struct {
	driver    *Driver
	session   *session
	candidacy *candidacy
	component haservices.Component
	token     id.FencingToken
	how       haservices.Succession
	epoch     int32 // data version of the latch's parent node
	number    int   // of the connection within the session, when it was won

	lost      chan struct{} // closed when the term is over
	withdrawn chan struct{} // closed when our nodes are gone, or will go with the session
	// publishing holds one value; whoever has taken it may write the leader nodes.
	publishing chan struct{}
	published  chan struct{}      // room for one: wakes run after publish
	stop       context.CancelFunc // ends what run is doing

	// stale are the leader nodes that leaders before had left when the term was won. Owned by who has taken
	// publishing.
	stale []string

	mu      sync.Mutex // guards the fields below
	ended   bool
	why     string // it ended
	address string // published and to be kept so, "" for none
}

var _ haservices.Term = (*Term)(nil)

// newTerm begins the term that k has won, and the goroutine that ends it.
func (d *Driver) newTerm(k *candidacy, how haservices.Succession, token id.FencingToken, epoch int32, stale []string) *Term {
	now, _ := d.client.state()
	t := &Term{
		driver: d, session: k.session, candidacy: k, component: k.component, token: token, how: how, epoch: epoch, number: now.number,
		lost: make(chan struct{}), withdrawn: make(chan struct{}), publishing: make(chan struct{}, 1), published: make(chan struct{}, 1),
		stale: stale,
	}
	t.publishing <- struct{}{}
	running, stop := context.WithCancel(d.ending)
	t.stop = stop
	d.mu.Lock()
	k.claim.term = t
	d.mu.Unlock()
	d.log.Debug("won leadership", logging.Component(k.component.String()), logging.Token(token), logging.Znode(k.node))
	d.background(func(ctx context.Context) {
		defer close(t.withdrawn)
		t.run(running)
		t.withdraw(ctx)
	})
	return t
}

// Token implements haservices.Term.
func (t *Term) Token() id.FencingToken { return t.token }

// Lost implements haservices.Term.
func (t *Term) Lost() <-chan struct{} { return t.lost }

func (t *Term) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended
}

// Why terms end in order; there are others.
const (
	endResigned  = "resigned"
	endSuspended = "connection suspended"
)

// end makes the term over, once.
func (t *Term) end(why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	t.ended, t.why = true, why
	close(t.lost)
	t.stop()
	level := zapcore.InfoLevel
	if why == endResigned {
		level = zapcore.DebugLevel // the election says so
	}
	t.driver.log.Log(level, "leadership ended", logging.Component(t.component.String()), logging.Token(t.token), zap.String("why", why))
}

// run watches what the term depends on, and returns when it is over.
func (t *Term) run(ctx context.Context) {
	c := t.driver.client
	ours, leader := c.watches.follow(t.candidacy.node, true), c.watches.follow(t.driver.leaderPath(t.component), false)
	defer ours.end()
	defer leader.end()
	for {
		now, stateChanged := c.state()
		us, oursChanged := ours.read()
		told, leaderChanged := leader.read()
		alive := us.known && us.session == t.session
		switch {
		case t.over():
			return
		case now.session != t.session:
			t.end("session lost")
		case !c.cfg.TolerateSuspended && (!now.ready || now.number != t.number):
			t.end(endSuspended)
		case alive && !us.exists:
			t.driver.noteEviction(t.component)
			t.end("evicted")
		case alive:
			t.driver.answer(ctx, t.session, t.candidacy.node, us)
			if told.known && told.session == t.session {
				t.repair(ctx, told)
			}
		}
		select {
		case <-stateChanged:
		case <-oursChanged:
		case <-leaderChanged:
		case <-t.published:
		case <-t.session.lost:
			t.end("session lost")
		case <-ctx.Done():
			t.end("closed") // or whatever ended it before
		}
	}
}

// fenced carries out operations if, and only if, this is the latest term of its component and its latch
// node exists. It returns a *refused whose operation counts from 0 for the first one given.
func (t *Term) fenced(ctx context.Context, operations ...any) error {
	if t.over() {
		return haservices.ErrNotLeader
	}
	fence := []any{check(t.candidacy.node, anyVersion), check(t.candidacy.latch, t.epoch)}
	err := t.session.multi(ctx, append(fence, operations...)...)
	var r *refused
	switch {
	case err == nil:
		return nil
	case errors.As(err, &r) && r.operation < len(fence):
		t.end("a write was refused")
		return fmt.Errorf("%w: %w", haservices.ErrNotLeader, r.err)
	case errors.As(err, &r):
		return &refused{r.operation - len(fence), r.err}
	case errors.Is(err, errInFlight):
		return fmt.Errorf("%w: %w", haservices.ErrUnknownOutcome, err)
	default:
		return t.unsent(err)
	}
}

// unsent is what an error of a call that changed nothing means to the caller of a term's method.
func (t *Term) unsent(err error) error {
	switch {
	case errors.Is(err, errLost), t.over() && (errors.Is(err, errInFlight) || errors.Is(err, errUnsent)):
		return fmt.Errorf("%w: %w", haservices.ErrNotLeader, err)
	case errors.Is(err, errInFlight), errors.Is(err, errUnsent):
		return fmt.Errorf("%w: %w", haservices.ErrUnavailable, err)
	default:
		return err
	}
}

// Resign implements haservices.Term.
func (t *Term) Resign(ctx context.Context) {
	t.end(endResigned)
	select {
	case <-t.withdrawn:
	case <-ctx.Done():
	}
}

// withdraw deletes our nodes until they are gone or the session is over, which deletes them too. As long
// as the epoch is ours the leader nodes are ours to delete; afterwards the next leader replaces them.
func (t *Term) withdraw(ctx context.Context) {
	for ctx.Err() == nil {
		err := t.deleteNodes(ctx)
		if err == nil || errors.Is(err, errLost) {
			return
		}
		t.driver.log.Debug("nodes of a term not deleted yet", logging.Component(t.component.String()), zap.Error(err))
		select {
		case <-time.After(firstPause):
		case <-t.session.lost:
			return
		case <-ctx.Done():
		}
	}
}

// leave carries out operations, with a resignation if the term ends in order. A resignation that cannot be
// left, because the component is being cleaned up, is no obstacle.
func (t *Term) leave(ctx context.Context, operations []any) error {
	for _, create := range []bool{false, true} {
		farewell := t.farewell(create)
		if farewell == nil {
			break
		}
		err := t.session.multi(ctx, append(operations, farewell)...)
		if !refusedAt(err, len(operations)) {
			return err
		}
	}
	return t.session.multi(ctx, operations...)
}

func (t *Term) deleteNodes(ctx context.Context) error {
	s, k := t.session, t.candidacy
	var leader []any
	for _, path := range t.driver.leaderPaths(t.component) {
		exists, err := s.exists(ctx, path)
		if err != nil {
			return err
		}
		if exists {
			leader = append(leader, deletion(path, anyVersion))
		}
	}
	err := t.leave(ctx, append([]any{check(k.latch, t.epoch), deletion(k.node, anyVersion)}, leader...))
	switch {
	case err == nil:
		return nil
	case refusedAt(err, 0): // a successor leads already
		leader = nil
	case refusedAt(err, 1): // we were evicted, and nobody leads yet
		if err = s.multi(ctx, append([]any{check(k.latch, t.epoch)}, leader...)...); err == nil || refusedAt(err, 0) {
			return nil
		}
		return err
	default:
		return err
	}
	if err := s.delete(ctx, k.node); err != nil && !errors.Is(err, zk.ErrNoNode) {
		return err
	}
	return nil
}

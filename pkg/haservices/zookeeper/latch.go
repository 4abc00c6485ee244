package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/google/uuid"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
)

// errEvicted: our node in the latch is gone although our session lives.
var errEvicted = errors.New("evicted")

// Campaign implements haservices.Driver.
func (d *Driver) Campaign(ctx context.Context, c haservices.Component, me haservices.Contender) (haservices.Term, error) {
	inner, leave, err := d.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	claim, err := d.claim(c)
	if err != nil {
		return nil, err
	}
	pause := d.cfg.RetryWait
	for {
		var term *Term
		s, err := d.client.ready(inner)
		if err == nil {
			term, err = d.stand(inner, s, c, me, claim)
		}
		switch {
		case term != nil:
			return term, nil
		case inner.Err() != nil:
			d.release(c, claim)
			return nil, d.ended(ctx)
		case errors.Is(err, errLost), errors.Is(err, errUnsent), errors.Is(err, errInFlight):
			continue // with the next session, or in another try of this one
		case errors.Is(err, errEvicted):
			d.noteEviction(c)
			continue
		}
		d.log.Error("campaign failed", logging.Component(c.String()), logging.RetryIn(pause), zap.Error(err))
		select {
		case <-time.After(pause):
		case <-inner.Done():
		}
		pause = min(2*pause, d.cfg.MaxRetryWait)
	}
}

// candidacy is one place in line: one node in a latch, made in one session. Its name holds a GUID that is
// used for nothing else, so whatever node bears it is owned by that session.
type candidacy struct {
	driver    *Driver
	session   *session
	component haservices.Component
	me        haservices.Contender
	latch     string // the parent node
	guid      string
	node      string // "" until it has been created or found
	claim     *stake
	// next: the node before ours is the first one, so that we lead when it is gone.
	next bool
	// noticed is when we learned that the one before us had gone; at first, when we began to stand.
	noticed   time.Time
	suspicion suspicion
	// sent are the requests under way that may create our node.
	sent sync.WaitGroup
	// won is the term that was won together with an eviction. Written by the goroutine that evicts, read by run
	// when that has ended.
	won *Term
}

// stand gets in line and waits until this process leads.
func (d *Driver) stand(ctx context.Context, s *session, c haservices.Component, me haservices.Contender, claim *stake) (*Term, error) {
	k := &candidacy{driver: d, session: s, component: c, me: me, latch: d.latchPath(c), guid: uuid.NewString(), claim: claim, noticed: time.Now()}
	term, err := k.run(ctx)
	if term == nil {
		// The session may live on, and with it the node: an outcome unknown, a caller in a hurry.
		d.background(k.discard)
	}
	return term, err
}

// run may return a term although ctx has ended.
func (k *candidacy) run(ctx context.Context) (*Term, error) {
	if term, err := k.overtake(ctx); term != nil || err != nil {
		return term, err
	}
	if err := k.join(ctx); err != nil {
		return nil, err
	}
	for {
		before, err := k.look(ctx)
		if err != nil {
			return nil, err
		}
		if before != "" {
			err := k.waitFor(ctx, before)
			switch {
			case k.won != nil:
				return k.won, nil
			case err != nil:
				return nil, err
			case !k.next:
				continue
			}
		}
		term, err := k.win(ctx)
		if term != nil || err != nil {
			return term, err
		}
	}
}

// join creates our node. When the answer to that is lost the node may exist: then it is looked for before
// another one is created.
func (k *candidacy) join(ctx context.Context) error {
	for k.node == "" {
		path, err := send(ctx, k, func(ctx context.Context) (string, error) {
			return k.session.create(ctx, k.latch+"/"+latchPrefix(k.guid), k.describe(), zk.FlagEphemeral|zk.FlagSequence)
		})
		switch {
		case err == nil:
			k.node = path
		case errors.Is(err, zk.ErrNoNode):
			err = k.session.ensure(ctx, k.latch)
		case errors.Is(err, errInFlight) && ctx.Err() == nil:
			_, err = k.look(ctx)
		}
		if err != nil && !errors.Is(err, errEvicted) {
			return fmt.Errorf("join latch of %s: %w", k.component, err)
		}
	}
	return nil
}

// send makes a call that may create our node. Whoever leaves before its answer leaves it to discard, which waits
// for its end: else the request might reach the server only after discard has looked for the node.
func send[T any](ctx context.Context, k *candidacy, call func(context.Context) (T, error)) (answer T, err error) {
	if err := k.session.awaitReady(ctx); err != nil {
		return answer, err
	}
	type result struct {
		answer T
		err    error
	}
	results := make(chan result, 1) // room for one: the call ends although nobody waits
	k.sent.Go(func() {
		answer, err := call(k.driver.ending)
		results <- result{answer, err}
	})
	select {
	case r := <-results:
		return r.answer, r.err
	case <-ctx.Done():
		return answer, fmt.Errorf("%w: %w", errInFlight, ctx.Err())
	}
}

// describe is the content of our node.
func (k *candidacy) describe() []byte {
	return encode(latchNode{Contender: k.me, EvictedAlive: k.driver.evictedAlive(k.component)})
}

// look lists the latch, finds our node, and returns the one before it, "" if there is none.
func (k *candidacy) look(ctx context.Context) (before string, err error) {
	names, err := persist(ctx, func() ([]string, error) { return k.session.children(ctx, k.latch) })
	if errors.Is(err, zk.ErrNoNode) {
		err = nil // somebody has cleaned up
	}
	if err != nil {
		return "", fmt.Errorf("list latch of %s: %w", k.component, err)
	}
	last, found := "", false
	for i, p := range line(names) {
		path := k.latch + "/" + p.name
		switch own := strings.HasPrefix(p.name, latchPrefix(k.guid)); {
		case own && !found:
			k.node, before, found = path, last, true
			k.next = i == 1
		case own:
			// A create whose answer was lost was carried out after all, after we had looked.
			if err := k.session.delete(ctx, path); err != nil && !errors.Is(err, zk.ErrNoNode) {
				return "", fmt.Errorf("delete second node in latch of %s: %w", k.component, err)
			}
		}
		last = path
	}
	if !found {
		return "", errEvicted
	}
	return before, nil
}

// persist repeats a call that changes nothing, or nothing more when it is made twice, until it has an
// answer, its session is over or ctx ends. Each time it waits for the connection.
func persist[T any](ctx context.Context, call func() (T, error)) (T, error) {
	for {
		answer, err := call()
		if ctx.Err() != nil || !errors.Is(err, errInFlight) && !errors.Is(err, errUnsent) {
			return answer, err
		}
	}
}

// win raises the epoch, if nobody else has done so meanwhile, and creates our node if there is none yet; with, if
// any, are operations that are carried out together with that or not at all. Neither a term nor an error means:
// look again. What the last leader has published stays until the new one publishes: whoever follows leaders is
// told once of each change.
func (k *candidacy) win(ctx context.Context, with ...any) (*Term, error) {
	s, d := k.session, k.driver
	last, err := k.lastTerm(ctx)
	if err != nil {
		return nil, err
	}
	version := last.latch.stat.Version
	how := k.succession(last)
	how.Won = time.Now().UTC()
	token := id.NewFencingToken(how.Epoch)
	data := encode(leadership{
		Token: token, Epoch: how.Epoch, Contender: k.me, Since: how.Won,
		Predecessor: how.Predecessor, Reason: how.Reason, LastHeard: how.LastHeard, Detected: how.Detected.UTC(),
	})
	place := any(check(k.node, anyVersion))
	joining := k.node == ""
	if joining {
		place = d.client.creation(k.latch+"/"+latchPrefix(k.guid), k.describe(), zk.FlagEphemeral|zk.FlagSequence)
	}
	results, err := send(ctx, k, func(ctx context.Context) ([]zk.MultiResponse, error) {
		return s.transact(ctx, append([]any{place, &zk.SetDataRequest{Path: k.latch, Data: data, Version: version}}, with...))
	})
	switch {
	case err == nil && joining:
		k.node = results[0].String
	case joining && errors.Is(err, errInFlight):
		_, _ = k.look(ctx) // our node may be there; if so, we lead, or shall win once more
		return nil, nil
	case errors.Is(err, errInFlight) && ctx.Err() == nil:
		// The answer was lost. Who leads is written there.
		var now node
		if now, err = persist(ctx, func() (node, error) { return s.get(ctx, k.latch) }); err == nil && string(now.data) != string(data) {
			return nil, nil
		}
	}
	switch {
	case err == nil:
		return d.newTerm(k, how, token, version+1, last.told), nil
	case refusedFor(err, zk.ErrBadVersion), refusedFor(err, zk.ErrNoNode):
		return nil, nil // another contender, an evictor or the end of a session came between
	default:
		return nil, fmt.Errorf("raise epoch of %s: %w", k.component, err)
	}
}

// lastTerm is what the leader before has left.
type lastTerm struct {
	latch    node        // the parent node
	told     []string    // leader nodes that are there
	resigned resignation // zero if nobody has
}

// lastTerm reads all that a winner has to know, in one round trip.
func (k *candidacy) lastTerm(ctx context.Context) (last lastTerm, err error) {
	s, d := k.session, k.driver
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if last.latch, err = persist(ctx, func() (node, error) { return s.get(ctx, k.latch) }); err != nil {
			return fmt.Errorf("read latch of %s: %w", k.component, err)
		}
		return nil
	})
	paths := d.leaderPaths(k.component)
	exist := make([]bool, len(paths))
	for i, path := range paths {
		g.Go(func() (err error) {
			if exist[i], err = persist(ctx, func() (bool, error) { return s.exists(ctx, path) }); err != nil {
				return fmt.Errorf("read leader of %s: %w", k.component, err)
			}
			return nil
		})
	}
	g.Go(func() error {
		n, err := s.get(ctx, d.resignedPath(k.component))
		if err != nil || haservices.DecodeRecord(n.data, &last.resigned) != nil {
			last.resigned = resignation{} // it is for people only
		}
		return nil
	})
	err = g.Wait()
	for i, path := range paths {
		if exist[i] {
			last.told = append(last.told, path)
		}
	}
	return last, err
}

// discard deletes our node, in the background, until it is certain that there is none or until the
// session is over, which deletes it too.
func (k *candidacy) discard(ctx context.Context) {
	k.sent.Wait() // not for long when ctx ends: those requests end with Close too
	for {
		err := k.deleteNodes(ctx)
		if err == nil || errors.Is(err, errLost) || ctx.Err() != nil {
			return
		}
		k.driver.log.Debug("latch node not deleted yet", logging.Component(k.component.String()), zap.Error(err))
		select {
		case <-time.After(firstPause):
		case <-k.session.lost:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (k *candidacy) deleteNodes(ctx context.Context) error {
	names, err := k.session.children(ctx, k.latch)
	if errors.Is(err, zk.ErrNoNode) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, latchPrefix(k.guid)) {
			continue
		}
		if err := k.session.delete(ctx, k.latch+"/"+name); err != nil && !errors.Is(err, zk.ErrNoNode) {
			return err
		}
	}
	return nil
}

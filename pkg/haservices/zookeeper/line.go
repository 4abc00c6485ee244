package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// waitFor returns nil when the node before ours is gone; k.won is set if we lead already. Meanwhile it
// watches the process behind that node, and answers whoever asks for us.
func (k *candidacy) waitFor(ctx context.Context, before string) error {
	ctx, cancel := context.WithCancel(ctx)
	watched, taken := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		k.suspect(ctx, before)
		if k.won != nil {
			close(taken)
		}
	}()
	var noticed time.Time // k.noticed is read by evict until the watching has ended
	defer func() {
		cancel()
		<-watched
		if !noticed.IsZero() {
			k.noticed = noticed
		}
	}()

	w := k.driver.client.watches
	theirs, ours := w.follow(before, true), w.follow(k.node, true)
	defer theirs.end()
	defer ours.end()
	for {
		them, theirsChanged := theirs.read()
		if them.known && them.session == k.session && !them.exists {
			noticed = time.Now()
			return nil
		}
		us, oursChanged := ours.read()
		if us.known && us.session == k.session {
			if !us.exists {
				return errEvicted
			}
			k.driver.answer(ctx, k.session, k.node, us)
		}
		select {
		case <-taken:
			return nil
		case <-theirsChanged:
		case <-oursChanged:
		case <-k.session.lost:
			return errLost
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// suspect watches the process behind a node until ctx ends or the node is deleted, by us if need be.
//
// A process that refuses connections, or whose address is answered by another one, is gone, and its node
// is deleted at once. Silence may mean that it is frozen, or only that the way between us is cut while it
// leads undisturbed; so a silent process is asked through ZooKeeper, and evicted if it has not answered
// there either. Being wrong is harmless: the evicted are fenced, and contend again.
func (k *candidacy) suspect(ctx context.Context, path string) {
	d := k.driver
	for ctx.Err() == nil {
		n, err := persist(ctx, func() (node, error) { return k.session.get(ctx, path) })
		if err != nil {
			return // gone, or the session is over
		}
		var them latchNode
		if err := haservices.DecodeRecord(n.data, &them); err != nil {
			d.log.Warn("latch node not understood", logging.Znode(path), zap.Error(err))
			return
		}
		found, err := k.judge(ctx, path, n, them)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			d.log.Debug("process before us not judged", logging.Znode(path), zap.Error(err))
		case found.why != "":
			k.evict(ctx, path, found, them)
		}
		if k.won != nil {
			return
		}
		select {
		case <-time.After(d.cfg.ProbeTimeout / 4):
		case <-ctx.Done():
		}
	}
}

// verdict is a reason to evict a process.
type verdict struct {
	why    string // "" for none
	reason protocol.SuccessionReason
	// lastHeard is when a silent process was heard last.
	lastHeard time.Time
	// version in which its node may be deleted.
	version int32
	// asked is the transaction that asked a silent process for an answer, 0 for other reasons.
	asked int64
}

// judge waits for a reason to evict them, or until a suspicion has proved wrong.
func (k *candidacy) judge(ctx context.Context, path string, n node, them latchNode) (verdict, error) {
	d := k.driver
	if known := d.knows(them, n.stat); known.why != "" {
		return known, nil
	}
	if d.cfg.AwaitGone == nil || them.Address == "" {
		<-ctx.Done()
		return verdict{}, ctx.Err()
	}
	err := d.cfg.AwaitGone(ctx, them.Address, them.Process, d.cfg.ProbeTimeout/2)
	gone := errors.Is(err, rpc.ErrGone)
	switch {
	case gone && !them.EvictedAlive:
		d.noteEnd(them.Process)
		return verdict{why: "process is gone", reason: protocol.ProcessGone, version: anyVersion}, nil
	case gone, errors.Is(err, rpc.ErrSilent):
		return k.challenge(ctx, path)
	default:
		return verdict{}, err
	}
}

// challenge asks the contender behind a node for an answer through ZooKeeper, and waits for it for half
// the probe timeout. Without one the node is to be deleted in the version that the challenge gave it: an
// answer at the last moment changes the version, and wins.
func (k *candidacy) challenge(ctx context.Context, path string) (verdict, error) {
	word := uuid.NewString()
	n, err := k.session.get(ctx, path)
	if err != nil {
		return verdict{}, err
	}
	// The node is another process's, perhaps of a newer build: what else is in it stays.
	data, err := haservices.PatchRecord(n.data, struct {
		Challenge string `json:"challenge"`
	}{word})
	if err != nil {
		return verdict{}, err
	}
	stat, err := k.session.set(ctx, path, data, n.stat.Version)
	if errors.Is(err, zk.ErrBadVersion) {
		return verdict{}, nil // it has just answered somebody else
	}
	if err != nil {
		return verdict{}, err
	}
	if answered, err := k.awaitAnswer(ctx, path, word); err != nil || answered {
		return verdict{}, err
	}
	return verdict{
		why: "process is silent", reason: protocol.Silent, lastHeard: time.Now().Add(-k.driver.cfg.ProbeTimeout),
		version: stat.Version, asked: stat.Mzxid,
	}, nil
}

func (k *candidacy) awaitAnswer(ctx context.Context, path, word string) (bool, error) {
	before, _ := k.driver.client.state()
	node := k.driver.client.watches.follow(path, true)
	defer node.end()
	timeout := time.NewTimer(k.driver.cfg.ProbeTimeout / 2)
	defer timeout.Stop()
	for {
		r, changed := node.read()
		var them latchNode
		if r.known && haservices.DecodeRecord(r.data, &them) == nil && them.Answer == word {
			return true, nil
		}
		if r.known && r.session == k.session && !r.exists {
			return false, zk.ErrNoNode
		}
		select {
		case <-changed:
		case <-timeout.C:
			if now, _ := k.driver.client.state(); !now.ready || now != before {
				return false, errUnsent // we were not heard ourselves, so its silence means nothing
			}
			return false, nil
		case <-k.session.lost:
			return false, errLost
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// evict deletes a node, provided that we are still in line ourselves; if we are next, it makes us lead in the
// same transaction. waitFor may see the deletion, and end ctx, before the answer is here.
func (k *candidacy) evict(ctx context.Context, path string, found verdict, them latchNode) {
	d := k.driver
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	k.suspects(them, found)
	var err error
	if k.next {
		k.won, err = k.win(ctx, deletion(path, found.version))
	}
	if k.won == nil && err == nil { // not the next one, or something has changed
		err = k.session.multi(ctx, check(k.node, anyVersion), deletion(path, found.version))
	}
	if err != nil {
		var r *refused
		if errors.As(err, &r) {
			k.suspicion = suspicion{} // it has answered, or is gone by other means
		}
		d.log.Debug("latch node not evicted", logging.Znode(path), zap.Error(err))
		return
	}
	if found.asked != 0 {
		d.condemn(them.Process, found.asked)
	}
	d.log.Debug("evicted the contender before us", logging.Component(k.component.String()), zap.String("why", found.why),
		zap.String("host", them.Host), zap.Int("pid", them.PID), logging.Znode(path))
}

// answer tells whoever has challenged our node that we live.
func (d *Driver) answer(ctx context.Context, s *session, path string, r reading) {
	var us latchNode
	if err := haservices.DecodeRecord(r.data, &us); err != nil || us.Challenge == us.Answer {
		return
	}
	us.Answer = us.Challenge
	if _, err := s.set(ctx, path, encode(us), r.stat.Version); err != nil {
		d.log.Debug("challenge not answered", logging.Znode(path), zap.Error(fmt.Errorf("answer: %w", err)))
	}
}

// condemnation remembers that a process did not answer.
type condemnation struct {
	at    time.Time
	asked int64
}

// condemn remembers that a process did not answer a challenge. What else it holds from before then is taken
// without asking again for each component: a frozen leader costs the probe timeout once.
func (d *Driver) condemn(p id.Instance, asked int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for other, c := range d.condemned {
		if now.Sub(c.at) > d.cfg.SessionTimeout {
			delete(d.condemned, other)
		}
	}
	d.condemned[p] = condemnation{at: now, asked: asked}
}

// isCondemned says whether a process was found silent, and when. It is false for nodes that were created
// after the challenge: their creator lives.
func (d *Driver) isCondemned(p id.Instance, created int64) (since time.Time, condemned bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, known := d.condemned[p]
	return c.at, known && created < c.asked && time.Since(c.at) < d.cfg.SessionTimeout
}

// evictions counts how often this process was evicted from one component while it lived.
type evictions struct {
	n    int
	last time.Time
}

// evictionMemory is how long an eviction counts.
const evictionMemory = 10 * time.Minute

// noteEviction is called when our node has vanished while our session lives.
func (d *Driver) noteEviction(c haservices.Component) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.evicted[c]
	if time.Since(e.last) > evictionMemory {
		e.n = 0
	}
	d.evicted[c] = evictions{n: e.n + 1, last: time.Now()}
	d.log.Warn("evicted by the next contender although we live", logging.Component(c.String()), zap.Int("times", e.n+1))
}

// evictedAlive says that we were evicted more than once: not because we were frozen for a while, but
// because our address refuses others.
func (d *Driver) evictedAlive(c haservices.Component) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.evicted[c]
	return e.n > 1 && time.Since(e.last) <= evictionMemory
}

// owns says whether a session is, or was, one of ours.
func (c *client) owns(session int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owned[session]
}

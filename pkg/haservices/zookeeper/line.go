package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/google/uuid"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// waitFor returns nil when the node before ours is gone; k.won is set if we lead already. Meanwhile it
// watches the process behind that node, and answers whoever asks for us.
func (k *candidacy) waitFor(ctx context.Context, before string) error {
	watching, cancel := context.WithCancel(ctx)
	watched, taken := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		// An eviction that has begun goes on when we see the node vanish: it is probably why.
		k.suspect(watching, before, func(found verdict, them latchNode) error { return k.evict(ctx, before, found, them) })
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

// suspect watches the process behind a node until ctx ends or the node is deleted, by evict if need be.
//
// A process that refuses connections, or whose address is answered by another one, is gone, and its node
// is deleted at once. Silence may mean that it is frozen, or only that the way between us is cut while it
// leads undisturbed; so a silent process is asked through ZooKeeper, and evicted if it has not answered
// there either. Being wrong is harmless: the evicted are fenced, and contend again.
func (k *candidacy) suspect(ctx context.Context, path string, evict func(verdict, latchNode) error) {
	d := k.driver
	hasty := firstPause
	for {
		pause := d.cfg.ProbeTimeout / 4
		found, them, err := k.judge(ctx, path)
		if err == nil && found.why != "" && ctx.Err() == nil {
			err = evict(found, them)
		}
		switch {
		case ctx.Err() != nil, k.won != nil, errors.Is(err, zk.ErrNoNode), errors.Is(err, errLost):
			return
		case errors.Is(err, errUnreadable):
			d.log.Warn("process before us not known", logging.Znode(path), zap.Error(err))
			return
		case err != nil:
			// It was our connection, say: what is true of them is perhaps proved at once.
			pause, hasty = min(hasty, pause), min(2*hasty, pause)
			d.log.Debug("process before us not judged, or not evicted", logging.Znode(path), logging.RetryIn(pause), zap.Error(err))
		default:
			hasty = firstPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// errUnreadable: a latch node does not say whose it is.
var errUnreadable = errors.New("latch node not understood")

// verdict is a reason to evict a process.
type verdict struct {
	why    string // "" for none
	proof  error  // what AwaitGone said; nil if nobody asked it
	reason protocol.SuccessionReason
	// lastHeard is when a silent process was heard last.
	lastHeard time.Time
	// version in which its node may be deleted.
	version int32
	// asked is the transaction that asked a silent process for an answer, 0 for other reasons.
	asked int64
}

// judge waits for a reason to evict the contender behind a node, or until a suspicion has proved wrong.
func (k *candidacy) judge(ctx context.Context, path string) (found verdict, them latchNode, err error) {
	d := k.driver
	n, err := persist(ctx, func() (node, error) { return k.session.get(ctx, path) })
	if err != nil {
		return found, them, err
	}
	if err := haservices.DecodeRecord(n.data, &them); err != nil {
		return found, them, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if known := d.knows(them, n.stat); known.why != "" {
		return known, them, nil
	}
	if d.cfg.AwaitGone == nil || them.Address == "" {
		<-ctx.Done()
		return found, them, ctx.Err()
	}
	err = d.cfg.AwaitGone(ctx, them.Address, them.Process, d.cfg.ProbeTimeout/2)
	switch gone := errors.Is(err, rpc.ErrGone); {
	case gone && !them.EvictedAlive:
		return d.gone(them, err), them, nil
	case gone, errors.Is(err, rpc.ErrSilent):
		found, err = k.challenge(ctx, path, them, err)
	}
	return found, them, err
}

// gone is the verdict on a process that has ended.
func (d *Driver) gone(them latchNode, proof error) verdict {
	d.noteEnd(them.Process)
	return verdict{why: "process is gone", proof: proof, reason: protocol.ProcessGone, version: anyVersion}
}

// challenge asks the contender behind a node for an answer through ZooKeeper, and waits for it for half
// the probe timeout. Without one the node is to be deleted in the version that the challenge gave it: an
// answer at the last moment changes the version, and wins. Silent is what made us ask. A process that is being
// killed may be silent before it is gone, as when the kernel waits for one of its writes to a busy disk, so it is
// watched on.
func (k *candidacy) challenge(ctx context.Context, path string, them latchNode, silent error) (verdict, error) {
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
	ctx, cancel := context.WithCancel(ctx)
	gone, watched := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(watched)
		err := k.driver.cfg.AwaitGone(ctx, them.Address, them.Process, k.driver.cfg.ProbeTimeout)
		if errors.Is(err, rpc.ErrGone) && !them.EvictedAlive {
			gone <- err
		}
	}()
	defer func() { cancel(); <-watched }()
	switch err := k.awaitAnswer(ctx, path, word, gone); {
	case errors.Is(err, rpc.ErrGone):
		return k.driver.gone(them, err), nil
	case errors.Is(err, rpc.ErrSilent):
		return verdict{
			why: "process is silent", proof: silent, reason: protocol.Silent, lastHeard: time.Now().Add(-k.driver.cfg.ProbeTimeout),
			version: stat.Version, asked: stat.Mzxid,
		}, nil
	default:
		return verdict{}, err
	}
}

// awaitAnswer returns nil when the contender has answered, rpc.ErrSilent when it has not, what gone gives, or why
// nobody knows.
func (k *candidacy) awaitAnswer(ctx context.Context, path, word string, gone <-chan error) error {
	before, _ := k.driver.client.state()
	node := k.driver.client.watches.follow(path, true)
	defer node.end()
	timeout := time.NewTimer(k.driver.cfg.ProbeTimeout / 2)
	defer timeout.Stop()
	for {
		r, changed := node.read()
		var them latchNode
		if r.known && haservices.DecodeRecord(r.data, &them) == nil && them.Answer == word {
			return nil
		}
		if r.known && r.session == k.session && !r.exists {
			return zk.ErrNoNode
		}
		select {
		case <-changed:
		case err := <-gone:
			return err
		case <-timeout.C:
			if now, _ := k.driver.client.state(); !now.ready || now != before {
				return errUnsent // we were not heard ourselves, so its silence means nothing
			}
			return rpc.ErrSilent
		case <-k.session.lost:
			return errLost
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// evict deletes a node, provided that we are still in line ourselves; if we are next, it makes us lead in the
// same transaction.
func (k *candidacy) evict(ctx context.Context, path string, found verdict, them latchNode) error {
	d := k.driver
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
		return fmt.Errorf("evict: %w", err)
	}
	level := zapcore.DebugLevel
	if found.asked != 0 {
		level = zapcore.WarnLevel // once for each silent process: what else it holds needs no question
		d.condemn(them.Process, found.asked)
	}
	d.log.Log(level, "evicted the contender before us", logging.Component(k.component.String()), zap.String("why", found.why),
		zap.NamedError("proof", found.proof), zap.String("host", them.Host), zap.Int("pid", them.PID), logging.Znode(path))
	return nil
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

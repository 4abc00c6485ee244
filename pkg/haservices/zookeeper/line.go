package zookeeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// waitFor returns nil when the node before ours is gone. Meanwhile it watches the process behind that
// node, and answers whoever asks for us.
func (k *candidacy) waitFor(ctx context.Context, before string) error {
	ctx, cancel := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		k.suspect(ctx, before)
	}()
	defer func() { cancel(); <-watched }()

	w := k.driver.client.watches
	theirs, ours := w.follow(before, true), w.follow(k.node, true)
	defer theirs.end()
	defer ours.end()
	for {
		them, theirsChanged := theirs.read()
		if them.known && them.session == k.session && !them.exists {
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
		if err := json.Unmarshal(n.data, &them); err != nil {
			d.log.Warn("latch node not understood", logging.Znode(path), zap.Error(err))
			return
		}
		why, version, err := k.verdict(ctx, path, n, them)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			d.log.Debug("process before us not judged", logging.Znode(path), zap.Error(err))
		case why != "":
			k.evict(ctx, path, version, them, why)
		}
		select {
		case <-time.After(d.cfg.ProbeTimeout / 4):
		case <-ctx.Done():
		}
	}
}

// verdict waits until there is a reason to evict them, and returns it with the version in which their node
// may be deleted; "" when there was a suspicion that proved wrong.
func (k *candidacy) verdict(ctx context.Context, path string, n node, them latchNode) (why string, version int32, err error) {
	d := k.driver
	switch {
	case d.client.owns(n.stat.EphemeralOwner):
		// Left over from a campaign or a session of ours that has ended.
		return "our own, from before", anyVersion, nil
	case d.cfg.AwaitGone == nil || them.Address == "":
		<-ctx.Done()
		return "", 0, ctx.Err()
	case d.isCondemned(them):
		return "evicted before", anyVersion, nil
	}
	err = d.cfg.AwaitGone(ctx, them.Address, them.Process, d.cfg.ProbeTimeout/2)
	gone := errors.Is(err, rpc.ErrGone)
	switch {
	case gone && !them.EvictedAlive:
		return "process is gone", anyVersion, nil
	case !gone && !errors.Is(err, rpc.ErrSilent):
		return "", 0, err
	}
	version, answered, err := k.challenge(ctx, path)
	if err != nil || answered {
		return "", 0, err
	}
	return "process is silent", version, nil
}

// challenge asks the contender behind a node for an answer through ZooKeeper, and waits for it for half
// the probe timeout. Without one the node is to be deleted in the version that the challenge gave it: an
// answer at the last moment changes the version, and wins.
func (k *candidacy) challenge(ctx context.Context, path string) (version int32, answered bool, err error) {
	word := uuid.NewString()
	n, err := k.session.get(ctx, path)
	if err != nil {
		return 0, false, err
	}
	var them latchNode
	if err := json.Unmarshal(n.data, &them); err != nil {
		return 0, false, err
	}
	them.Challenge = word
	stat, err := k.session.set(ctx, path, encode(them), n.stat.Version)
	if errors.Is(err, zk.ErrBadVersion) {
		return 0, true, nil // it has just answered somebody else
	}
	if err != nil {
		return 0, false, err
	}
	answered, err = k.awaitAnswer(ctx, path, word)
	return stat.Version, answered, err
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
		if r.known && json.Unmarshal(r.data, &them) == nil && them.Answer == word {
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

// evict deletes a node, provided that we are still in line ourselves. waitFor may see the deletion, and end
// ctx, before the answer is here.
func (k *candidacy) evict(ctx context.Context, path string, version int32, them latchNode, why string) {
	d := k.driver
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	err := k.session.multi(ctx, check(k.node, anyVersion), deletion(path, version))
	if err != nil {
		d.log.Debug("latch node not evicted", logging.Znode(path), zap.Error(err))
		return
	}
	if them.Process != k.me.Process {
		d.condemn(them.Process)
	}
	d.log.Info("evicted the contender before us", logging.Component(k.component.String()), zap.String("why", why),
		zap.String("host", them.Host), zap.Int("pid", them.PID), logging.Znode(path))
}

// answer tells whoever has challenged our node that we live.
func (d *Driver) answer(ctx context.Context, s *session, path string, r reading) {
	var us latchNode
	if err := json.Unmarshal(r.data, &us); err != nil || us.Challenge == us.Answer {
		return
	}
	us.Answer = us.Challenge
	if _, err := s.set(ctx, path, encode(us), r.stat.Version); err != nil {
		d.log.Debug("challenge not answered", logging.Znode(path), zap.Error(fmt.Errorf("answer: %w", err)))
	}
}

// condemn remembers that a process was evicted: what else it holds may be taken without waiting for
// another proof.
func (d *Driver) condemn(p id.Instance) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for other, at := range d.condemned {
		if now.Sub(at) > d.cfg.SessionTimeout {
			delete(d.condemned, other)
		}
	}
	if p != (id.Instance{}) {
		d.condemned[p] = now
	}
}

// isCondemned is false for a contender that came back after it had been evicted.
func (d *Driver) isCondemned(them latchNode) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if them.EvictedAlive {
		delete(d.condemned, them.Process)
		return false
	}
	at, known := d.condemned[them.Process]
	return known && time.Since(at) < d.cfg.SessionTimeout
}

// noteEviction is called when our node has vanished while our session lives.
func (d *Driver) noteEviction(c haservices.Component) {
	d.mu.Lock()
	d.evictedAlive = true
	d.mu.Unlock()
	d.log.Warn("evicted by the next contender although we live", logging.Component(c.String()))
}

// owns says whether a session is, or was, one of ours.
func (c *client) owns(session int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owned[session]
}

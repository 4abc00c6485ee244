package zookeeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/logging"
)

// Publish implements haservices.Term.
func (t *Term) Publish(ctx context.Context, address string) error {
	inner, leave, err := t.driver.enter(ctx)
	if err != nil {
		return t.refuse("publish leader of "+t.component.String(), err)
	}
	defer leave()
	if err := t.publish(inner, address); err != nil {
		return fmt.Errorf("publish leader of %s: %w", t.component, err)
	}
	return nil
}

func (t *Term) publish(ctx context.Context, address string) error {
	select {
	case <-t.publishing:
		defer func() { t.publishing <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	t.setAddress("") // nothing to repair while it changes
	if err := t.tell(ctx, address); err != nil {
		return err
	}
	t.setAddress(address)
	select {
	case t.published <- struct{}{}: // run has passed over what changed meanwhile
	default:
	}
	return nil
}

func (t *Term) setAddress(address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.address = address
}

// refuse is the error of a method that could not begin: a closed driver leads nothing.
func (t *Term) refuse(what string, err error) error {
	if errors.Is(err, haservices.ErrClosed) {
		err = fmt.Errorf("%w: %w", haservices.ErrNotLeader, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// tell writes the leader nodes. The caller has taken publishing.
func (t *Term) tell(ctx context.Context, address string) error {
	information := haservices.LeaderInformation{Address: address, Token: t.token}
	contents := [][]byte{encode(information), connectionInfo(information)}
	paths := t.driver.leaderPaths(t.component)
	// As a rule what is there is what was there when the term was won.
	var operations []any
	for _, path := range t.stale {
		operations = append(operations, deletion(path, anyVersion))
	}
	for i, path := range paths {
		operations = append(operations, t.driver.client.creation(path, contents[i], zk.FlagEphemeral))
	}
	t.stale = nil
	err := t.fenced(ctx, operations...)
	if !refusedFor(err, zk.ErrNodeExists) && !refusedFor(err, zk.ErrNoNode) {
		return err
	}
	for i, path := range paths {
		if err := t.replace(ctx, path, contents[i]); err != nil {
			return err
		}
	}
	return nil
}

// replace makes the ephemeral node at path ours with that content. What is there now may belong to a
// session that has not ended yet.
func (t *Term) replace(ctx context.Context, path string, data []byte) error {
	for {
		old, err := t.session.get(ctx, path)
		operations := []any{t.driver.client.creation(path, data, zk.FlagEphemeral)}
		switch {
		case err == nil && old.stat.EphemeralOwner == t.session.owner() && bytes.Equal(old.data, data):
			return t.fenced(ctx)
		case err == nil:
			operations = []any{deletion(path, old.stat.Version), operations[0]}
		case !errors.Is(err, zk.ErrNoNode):
			return t.unsent(err)
		}
		err = t.fenced(ctx, operations...)
		switch {
		case err == nil:
			return nil
		case refusedFor(err, zk.ErrNoNode) && len(operations) == 1:
			if err := t.session.ensure(ctx, parent(path)); err != nil {
				return t.unsent(err)
			}
		case refusedFor(err, zk.ErrNoNode), refusedFor(err, zk.ErrNodeExists), refusedFor(err, zk.ErrBadVersion):
			// It changed since we read it.
		default:
			return err
		}
	}
}

// repair writes the published address again if something else is told, and nothing if nothing was
// published: to erase what others wrote is not ours.
func (t *Term) repair(ctx context.Context, told reading) {
	select {
	case <-t.publishing:
		defer func() { t.publishing <- struct{}{} }()
	default:
		return // it is being written; run looks again afterwards
	}
	t.mu.Lock()
	address := t.address
	t.mu.Unlock()
	want := haservices.LeaderInformation{Address: address, Token: t.token}
	if address == "" || told.exists && bytes.Equal(told.data, encode(want)) {
		return
	}
	if err := t.tell(ctx, address); err != nil {
		t.driver.log.Debug("leader node not repaired", logging.Component(t.component.String()), zap.Error(err))
	}
}

// Observe implements haservices.Driver. While the connection is suspended there is no leader, unless
// suspended connections are tolerated; without a session there is none.
func (d *Driver) Observe(ctx context.Context, c haservices.Component, tell func(haservices.LeaderInformation)) error {
	inner, leave, err := d.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	path := d.leaderPath(c)
	node := d.client.watches.follow(path, false)
	defer node.end()
	var told haservices.LeaderInformation
	var highest uint64
	for {
		r, changed := node.read()
		leader := d.decodeLeader(path, r)
		// After a reconnect a server may tell what was true before: the epoch knows.
		stale := !leader.IsEmpty() && leader.Token.Epoch() < highest
		if leader != told && !stale {
			highest = max(highest, leader.Token.Epoch())
			told = leader
			tell(leader)
		}
		select {
		case <-changed:
		case <-inner.Done():
			return d.ended(ctx)
		}
	}
}

func (d *Driver) decodeLeader(path string, r reading) (leader haservices.LeaderInformation) {
	if !r.known || !r.exists {
		return leader
	}
	if err := haservices.DecodeRecord(r.data, &leader); err != nil {
		d.log.Warn("leader node not understood", logging.Znode(path), zap.Error(err))
		return haservices.LeaderInformation{}
	}
	return leader
}

package zookeeper

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-zookeeper/zk"

	"github.com/tamias-project/tamias/pkg/haservices"
)

// batch is how many nodes one transaction deletes at most.
const batch = 100

// errRaced: what a write had to do with changed between two of its steps. It is tried again.
var errRaced = errors.New("changed meanwhile")

// Write implements haservices.Term.
func (t *Term) Write(ctx context.Context, w haservices.Write) error {
	what := fmt.Sprintf("%s node %s", operationNames[w.Operation], w.Path)
	znode, err := t.driver.absolute(w.Path)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	inner, leave, err := t.driver.enter(ctx)
	if err != nil {
		return t.refuse(what, err)
	}
	defer leave()
	for {
		err := t.write(inner, znode, w)
		switch {
		case errors.Is(err, errRaced) && inner.Err() == nil:
			continue
		case err != nil:
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
}

var operationNames = map[haservices.Operation]string{
	haservices.Create: "create", haservices.Set: "set", haservices.Put: "put", haservices.Delete: "delete",
}

func (t *Term) write(ctx context.Context, znode string, w haservices.Write) error {
	switch w.Operation {
	case haservices.Create:
		return t.create(ctx, znode, w.Data)
	case haservices.Set:
		return t.set(ctx, znode, w.Data, int32(w.Version))
	case haservices.Put:
		return t.put(ctx, znode, w.Data)
	case haservices.Delete:
		return t.deleteTree(ctx, znode, int32(w.Version))
	default:
		return fmt.Errorf("unknown operation %d", w.Operation)
	}
}

func (t *Term) create(ctx context.Context, znode string, data []byte) error {
	err := t.fenced(ctx, t.driver.client.creation(znode, data, 0))
	switch {
	case refusedFor(err, zk.ErrNoNode):
		if err := t.session.ensure(ctx, parent(znode)); err != nil {
			return t.unsent(err)
		}
		return errRaced
	case refusedFor(err, zk.ErrNodeExists):
		same, _, err := t.compare(ctx, znode, data)
		if err == nil && !same {
			err = haservices.ErrExists
		}
		return err
	}
	return err
}

// compare says whether the node holds data, and its version.
func (t *Term) compare(ctx context.Context, znode string, data []byte) (same bool, version int32, err error) {
	n, err := t.session.get(ctx, znode)
	if errors.Is(err, zk.ErrNoNode) {
		return false, 0, errRaced
	}
	if err != nil {
		return false, 0, t.unsent(err)
	}
	return string(n.data) == string(data), n.stat.Version, nil
}

func (t *Term) set(ctx context.Context, znode string, data []byte, version int32) error {
	err := t.fenced(ctx, &zk.SetDataRequest{Path: znode, Data: data, Version: version})
	switch {
	case refusedFor(err, zk.ErrNoNode):
		return haservices.ErrNotFound
	case refusedFor(err, zk.ErrBadVersion):
		same, now, err := t.compare(ctx, znode, data)
		if err == nil && (!same || now != version+1) {
			err = haservices.ErrVersion
		}
		return err
	}
	return err
}

func (t *Term) put(ctx context.Context, znode string, data []byte) error {
	err := t.set(ctx, znode, data, anyVersion)
	if !errors.Is(err, haservices.ErrNotFound) {
		return err
	}
	if err := t.create(ctx, znode, data); !errors.Is(err, haservices.ErrExists) {
		return err
	}
	return errRaced
}

// deleteTree deletes a node and all below it. Most nodes have nothing below them.
func (t *Term) deleteTree(ctx context.Context, znode string, version int32) error {
	err := t.fenced(ctx, deletion(znode, version))
	switch {
	case refusedFor(err, zk.ErrNoNode):
		return nil
	case refusedFor(err, zk.ErrBadVersion):
		return haservices.ErrVersion
	case !refusedFor(err, zk.ErrNotEmpty):
		return err
	}
	below, err := t.descendants(ctx, znode, nil)
	if err != nil {
		return err
	}
	for len(below) > 0 {
		n := min(batch, len(below))
		operations := []any{check(znode, version)}
		for _, path := range below[:n] {
			operations = append(operations, deletion(path, anyVersion))
		}
		err := t.fenced(ctx, operations...)
		switch {
		case refusedAt(err, 0) && refusedFor(err, zk.ErrBadVersion):
			return haservices.ErrVersion
		case refusedFor(err, zk.ErrNoNode), refusedFor(err, zk.ErrNotEmpty):
			return errRaced
		case err != nil:
			return err
		}
		below = below[n:]
	}
	return errRaced // the node itself is left
}

// descendants lists what is below znode, children before their parents.
func (t *Term) descendants(ctx context.Context, znode string, all []string) ([]string, error) {
	names, err := t.session.children(ctx, znode)
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		return nil, t.unsent(err)
	}
	for _, name := range names {
		path := znode + "/" + name
		if all, err = t.descendants(ctx, path, all); err != nil {
			return nil, err
		}
		all = append(all, path)
	}
	return all, nil
}

package haservices

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tamias-project/tamias/pkg/id"
)

// counterNode is the node jobs/<jobid>/checkpoint_id_counter. Nonce tells the writes of two callers apart
// that read the same number: a backend takes an equal write for a repeated one.
type counterNode struct {
	Last  int64  `json:"last"`
	Epoch uint64 `json:"epoch"`
	Nonce string `json:"nonce"`
}

// CheckpointIDCounter numbers the checkpoints of one job. Flink's CheckpointIDCounter.
type CheckpointIDCounter struct {
	services *Services
	election *LeaderElection
	path     string

	mu sync.Mutex // guards given
	// given is the highest number that Next has returned here.
	given int64
}

// Next returns a number that was never returned before, by this or any other leader: from 1, rising,
// perhaps with gaps. ErrNotLeader when token is not that of the present term.
func (c *CheckpointIDCounter) Next(ctx context.Context, token id.FencingToken) (int64, error) {
	n, err := c.next(ctx, token)
	if err != nil {
		return 0, fmt.Errorf("next checkpoint ID (%s): %w", c.path, err)
	}
	return n, nil
}

func (c *CheckpointIDCounter) next(ctx context.Context, token id.FencingToken) (int64, error) {
	for {
		if _, err := c.election.current(token); err != nil {
			return 0, err
		}
		node, version, err := c.read(ctx)
		found := err == nil
		if !found && !errors.Is(err, ErrNotFound) {
			return 0, err
		}
		// A store that has lost writes would give numbers again that tasks have seen, and take no notice of.
		node.Last = max(node.Last, c.highest(0)) + 1
		node.Epoch, node.Nonce = token.Epoch(), id.NewInstance().String()
		w := Write{Operation: Create, Path: c.path, Data: encode(node)}
		if found {
			w.Operation, w.Version = Set, version
		}
		err = c.election.write(ctx, token, w)
		switch {
		case err == nil:
			c.highest(node.Last)
			return node.Last, nil
		case errors.Is(err, ErrExists), errors.Is(err, ErrVersion), errors.Is(err, ErrNotFound):
			continue // another caller of this term was faster, or the answer of a first try was lost
		}
		return 0, err
	}
}

// highest takes a number in, and returns the highest so far.
func (c *CheckpointIDCounter) highest(n int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given = max(c.given, n)
	return c.given
}

func (c *CheckpointIDCounter) read(ctx context.Context) (node counterNode, version int64, err error) {
	n, err := c.services.read(ctx, c.path)
	if err != nil {
		return node, 0, err
	}
	return node, n.Version, decodeNode(c.path, n, &node)
}

// Last returns the highest number that any leader has got, 0 before the first.
func (c *CheckpointIDCounter) Last(ctx context.Context) (int64, error) {
	node, _, err := c.read(ctx)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return 0, fmt.Errorf("last checkpoint ID (%s): %w", c.path, err)
	}
	return node.Last, nil
}

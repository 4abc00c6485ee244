package haservices

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// leadershipPath is the node of the leadership history.
const leadershipPath = "leadership/history"

// leadershipNode is its content: the history itself, or its file.
type leadershipNode struct {
	pointer
	History *protocol.LeadershipHistory `json:"history,omitempty"`
}

// LeadershipStore holds who led what, when and why, for operators; no decision rests on it.
type LeadershipStore struct {
	services *Services
	election *LeaderElection
}

// Put replaces the history. After an error that is ErrUnknownOutcome it may or may not be replaced; with
// any other it is not.
func (s *LeadershipStore) Put(ctx context.Context, token id.FencingToken, h protocol.LeadershipHistory) error {
	if err := s.put(ctx, token, h); err != nil {
		return fmt.Errorf("store leadership history: %w", err)
	}
	return nil
}

func (s *LeadershipStore) put(ctx context.Context, token id.FencingToken, h protocol.LeadershipHistory) error {
	if _, err := s.election.current(token); err != nil {
		return err
	}
	before, err := s.services.read(ctx, leadershipPath)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	var old leadershipNode
	if err == nil {
		switch err := decodeNode(leadershipPath, before, &old); {
		case errors.Is(err, ErrNewerFormat):
			return err
		case err != nil:
			old = leadershipNode{} // damaged: replaced, and its file an orphan
		}
	}
	objects := s.services.objects
	node := leadershipNode{History: &h, pointer: pointer{Epoch: token.Epoch(), Written: time.Now().UTC()}}
	if data := encode(h); len(data) > inlineLimit {
		p, err := objects.write(ctx, objects.leadershipDir(), "history", token, data)
		if err != nil {
			return err
		}
		node = leadershipNode{pointer: p}
	}
	err = s.election.write(ctx, token, Write{Operation: Put, Path: leadershipPath, Data: encode(node)})
	switch {
	case err == nil:
		objects.discard(ctx, old.File)
	case certain(err):
		objects.discard(ctx, node.File)
	}
	return err
}

// Get returns the history, an empty one before the first Put, ErrUnreadable when it is damaged,
// ErrNewerFormat.
func (s *LeadershipStore) Get(ctx context.Context) (h protocol.LeadershipHistory, err error) {
	var node leadershipNode
	err = s.services.follow(ctx, leadershipPath, &node, func() error {
		if node.History != nil {
			h = *node.History
			return nil
		}
		return load(ctx, s.services.objects.files, node.pointer, &h)
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return protocol.LeadershipHistory{}, fmt.Errorf("read leadership history: %w", err)
	}
	return h, nil
}

func (o objects) leadershipDir() string { return filesystem.Join(o.root, "leadership") }

// sweepLeadership deletes files of histories that no node points to.
func (s *Services) sweepLeadership(ctx context.Context, token id.FencingToken) error {
	names, err := s.objects.files.List(ctx, s.objects.leadershipDir())
	if err != nil || len(names) == 0 {
		return err
	}
	p, _, err := s.pointerAt(ctx, leadershipPath)
	if err != nil {
		return err
	}
	for _, name := range names {
		file := filesystem.Join(s.objects.leadershipDir(), name)
		if _, epoch, ok := parseFileName(name); ok && file != p.File && epoch < token.Epoch() {
			s.objects.discard(ctx, file)
		}
	}
	return nil
}

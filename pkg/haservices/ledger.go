package haservices

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
)

// inlineLimit is the size in bytes up to which a record lies in its node instead of a file.
const inlineLimit = 4 << 10

// ledgerNode is the node jobs/<jobid>/executions: the ledger itself, or its file.
type ledgerNode struct {
	pointer
	Wave   int     `json:"wave"`
	Ledger *Ledger `json:"ledger,omitempty"`
}

// LedgerStore holds the execution ledger of one job.
type LedgerStore struct {
	services *Services
	election *LeaderElection
	job      id.Job
}

func (s *LedgerStore) path() string { return jobNode(s.job, "executions") }

// Put replaces the ledger. After an error that is ErrUnknownOutcome it may or may not be replaced; with
// any other it is not.
func (s *LedgerStore) Put(ctx context.Context, token id.FencingToken, l Ledger) error {
	if err := s.put(ctx, token, l); err != nil {
		return fmt.Errorf("store ledger of job %s, wave %d: %w", s.job, l.Wave, err)
	}
	return nil
}

func (s *LedgerStore) put(ctx context.Context, token id.FencingToken, l Ledger) error {
	if _, err := s.election.current(token); err != nil {
		return err
	}
	before, err := s.services.read(ctx, s.path())
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	var old ledgerNode
	if err == nil {
		switch err := decodeNode(s.path(), before, &old); {
		case errors.Is(err, ErrNewerFormat):
			return err
		case err != nil:
			old = ledgerNode{} // damaged: replaced, and its file an orphan
		}
	}
	objects := s.services.objects
	node := ledgerNode{Wave: l.Wave, Ledger: &l, pointer: pointer{Epoch: token.Epoch(), Written: time.Now().UTC()}}
	if data := encode(l); len(data) > inlineLimit {
		p, err := objects.write(ctx, objects.jobDir(s.job), "ledger", token, data)
		if err != nil {
			return err
		}
		node.pointer, node.Ledger = p, nil
	}
	err = s.election.write(ctx, token, Write{Operation: Put, Path: s.path(), Data: encode(node)})
	switch {
	case err == nil:
		objects.discard(ctx, old.File)
	case certain(err):
		objects.discard(ctx, node.File)
	}
	return err
}

// Get returns the ledger: ErrNotFound before the first Put, ErrUnreadable when it is damaged.
func (s *LedgerStore) Get(ctx context.Context) (Ledger, error) {
	var l Ledger
	var node ledgerNode
	err := s.services.follow(ctx, s.path(), &node, func() error {
		if node.Ledger != nil {
			l = *node.Ledger
			return nil
		}
		return load(ctx, s.services.objects.files, node.pointer, &l)
	})
	if err != nil {
		return Ledger{}, fmt.Errorf("read ledger of job %s: %w", s.job, err)
	}
	return l, nil
}

// intentNode is the node jobs/<jobid>/intent.
type intentNode struct {
	Intent
	Epoch uint64 `json:"epoch"`
}

// IntentStore holds what one job's master is about to do with the whole job.
type IntentStore struct {
	services *Services
	election *LeaderElection
	path     string
}

// Put replaces the intent.
func (s *IntentStore) Put(ctx context.Context, token id.FencingToken, i Intent) error {
	data := encode(intentNode{Intent: i, Epoch: token.Epoch()})
	if err := s.election.write(ctx, token, Write{Operation: Put, Path: s.path, Data: data}); err != nil {
		return fmt.Errorf("store intent to %s (%s): %w", i.Kind, s.path, err)
	}
	return nil
}

// Get returns the intent, or ErrNotFound.
func (s *IntentStore) Get(ctx context.Context) (Intent, error) {
	n, err := s.services.read(ctx, s.path)
	var node intentNode
	if err == nil {
		err = decodeNode(s.path, n, &node)
	}
	if err != nil {
		return Intent{}, fmt.Errorf("read intent (%s): %w", s.path, err)
	}
	return node.Intent, nil
}

// Delete withdraws the intent. Withdrawing none succeeds.
func (s *IntentStore) Delete(ctx context.Context, token id.FencingToken) error {
	if err := s.election.write(ctx, token, Write{Operation: Delete, Path: s.path, Version: AnyVersion}); err != nil {
		return fmt.Errorf("delete intent (%s): %w", s.path, err)
	}
	return nil
}

package haservices

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
)

// ErrForeignStorage: the directory of this cluster below the storage directory belongs to other nodes: another
// cluster uses the same directory and cluster ID, or the coordination service has lost its data. Nothing there may be
// touched. Retrying does not help; a person has to say which of the two it is.
var ErrForeignStorage = errors.New("ha: the storage directory belongs to another cluster")

// ownerNode and ownerFile hold the same owner: nodes and files that belong together.
const (
	ownerNode = "storage-owner"
	ownerFile = "owner"
)

type owner struct {
	ID string `json:"id"`
}

// ClaimStorage makes sure that the files in the storage directory are of this cluster, whose nodes say which of
// them are valid. A Dispatcher calls it in each term, before anything acts on what nodes do not point to. The first
// one marks both sides; with another cluster's mark it is ErrForeignStorage.
func (s *Services) ClaimStorage(ctx context.Context, dispatcher *LeaderElection, token id.FencingToken) error {
	if err := s.claimStorage(ctx, dispatcher, token); err != nil {
		return fmt.Errorf("claim %s: %w", s.objects.root, err)
	}
	return nil
}

func (s *Services) claimStorage(ctx context.Context, dispatcher *LeaderElection, token id.FencingToken) error {
	file := filesystem.Join(s.objects.root, ownerFile)
	marked, err := s.readOwner(ctx, file)
	if err != nil {
		return err
	}
	var mine owner
	n, err := s.read(ctx, ownerNode)
	switch {
	case err == nil:
		err = decodeNode(ownerNode, n, &mine)
	case errors.Is(err, ErrNotFound) && marked == (owner{}):
		// The node first: with the file alone, a leader that dies here would lock everybody out.
		mine.ID = rand.Text()
		err = dispatcher.write(ctx, token, Write{Operation: Create, Path: ownerNode, Data: encode(mine)})
	case errors.Is(err, ErrNotFound):
		return fmt.Errorf("%w: it is marked by %s, and no node says so", ErrForeignStorage, file)
	}
	if err != nil {
		return err
	}
	if marked == (owner{}) {
		err := s.objects.files.Create(ctx, file, bytes.NewReader(encode(mine)))
		if !errors.Is(err, filesystem.ErrExists) {
			return err
		}
		if marked, err = s.readOwner(ctx, file); err != nil {
			return err
		}
	}
	if marked != mine {
		return fmt.Errorf("%w: %s says %q, node %s %q", ErrForeignStorage, file, marked.ID, ownerNode, mine.ID)
	}
	return nil
}

// readOwner returns the zero owner when there is no file.
func (s *Services) readOwner(ctx context.Context, file string) (o owner, err error) {
	data, err := readFile(ctx, s.objects.files, file)
	if errors.Is(err, filesystem.ErrNotFound) {
		return owner{}, nil
	}
	if err == nil {
		err = recordError(file, DecodeRecord(data, &o))
	}
	return o, err
}

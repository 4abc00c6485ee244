package haservices

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
)

var (
	// ErrForeignStorage: the files in the storage directory belong to another cluster than the nodes. Whoever led
	// here would sweep them. Do not retry: a person has to correct the configuration, or restore the nodes.
	ErrForeignStorage = errors.New("ha: the storage directory belongs to another cluster")
	// ErrStorageMissing: the nodes tell of a storage directory that is not there: it is not mounted here, or lost.
	// Another process, or a later try, may find it.
	ErrStorageMissing = errors.New("ha: the storage directory is missing")
)

// storagePath is the node that says which storage directory is the cluster's.
const storagePath = "storage-owner"

// storageOwner is the cluster that a storage directory belongs to: the file owner of the directory, and the
// greater part of the node. Only the ID is compared; the rest is for people.
type storageOwner struct {
	ID string `json:"id"`
	// Coordination names the service that holds the cluster's nodes, and its place there.
	Coordination string    `json:"coordination"`
	StorageDir   string    `json:"storage-dir"`
	Host         string    `json:"host"`
	PID          int       `json:"pid"`
	Since        time.Time `json:"since"`
}

func (o storageOwner) String() string {
	return fmt.Sprintf("cluster %s (%s; claimed by process %d on %s at %s)", o.ID, o.Coordination, o.PID, o.Host, o.Since.Format(time.RFC3339))
}

// storageNode is the node. It is written before the file, with the ID that the file is going to have, and once
// more after it. So a claim that was interrupted anywhere is finished by the next leader, and whoever finds a file
// without a node knows that another cluster's leader wrote it.
type storageNode struct {
	storageOwner
	// Claimed: the file has been written. From now on it must be there.
	Claimed bool `json:"claimed"`
}

// ClaimStorage makes sure that the storage directory is this cluster's own, and makes it so if it is nobody's. A
// Dispatcher calls it in each term before it acts on anything that is stored. ErrForeignStorage and
// ErrStorageMissing say in their text who wrote what, and what to do. Without a StorageDir there is nothing to
// claim.
func (s *Services) ClaimStorage(ctx context.Context, dispatcher *LeaderElection, token id.FencingToken) error {
	if s.cfg.StorageDir == "" {
		return nil
	}
	if err := s.claimStorage(ctx, dispatcher, token); err != nil {
		return fmt.Errorf("claim storage directory: %w", err)
	}
	return nil
}

func (s *Services) claimStorage(ctx context.Context, dispatcher *LeaderElection, token id.FencingToken) error {
	node, file, err := s.storageOwners(ctx)
	if err != nil {
		return err
	}
	if node.ID != "" && node.Claimed || file.ID != "" && file.ID != node.ID {
		return s.compareOwners(node, file)
	}
	chosen := node.ID != ""
	node = storageNode{storageOwner: storageOwner{
		ID: node.ID, Coordination: s.cfg.Coordination, StorageDir: s.cfg.StorageDir,
		Host: s.cfg.Me.Host, PID: s.cfg.Me.PID, Since: time.Now().UTC(),
	}}
	if !chosen {
		node.ID = rand.Text()
		if err := dispatcher.write(ctx, token, Write{Operation: Create, Path: storagePath, Data: encode(node)}); err != nil {
			return err
		}
	}
	if file.ID == "" {
		err := s.objects.files.Create(ctx, s.ownerFile(), bytes.NewReader(encode(node.storageOwner)))
		if errors.Is(err, filesystem.ErrExists) { // a leader of the past, or another cluster, was faster
			if file, err = s.fileOwner(ctx); err == nil && file.ID != node.ID {
				err = s.compareOwners(node, file)
			}
		}
		if err != nil {
			return err
		}
	}
	node.Claimed = true
	if err := dispatcher.write(ctx, token, Write{Operation: Put, Path: storagePath, Data: encode(node)}); err != nil {
		return err
	}
	s.log.Info("storage directory claimed", zap.String("owner", node.ID), zap.String("file", s.ownerFile()), logging.Token(token))
	return nil
}

// CheckStorage compares as ClaimStorage does, for a process that does not lead. It sees the nodes late, so it does
// not mind if they know less than the files.
func (s *Services) CheckStorage(ctx context.Context) error {
	if s.cfg.StorageDir == "" {
		return nil
	}
	node, file, err := s.storageOwners(ctx)
	if err == nil && node.Claimed {
		err = s.compareOwners(node, file)
	}
	if err != nil {
		return fmt.Errorf("check storage directory: %w", err)
	}
	return nil
}

// storageOwners reads what the node says, and then what the file says; without an ID where there is none. In this
// order a claimed node means that the file is there, whoever claims meanwhile.
func (s *Services) storageOwners(ctx context.Context) (node storageNode, file storageOwner, err error) {
	n, err := s.read(ctx, storagePath)
	if err == nil {
		err = decodeNode(storagePath, n, &node)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return node, file, err
	}
	file, err = s.fileOwner(ctx)
	return node, file, err
}

func (s *Services) fileOwner(ctx context.Context) (o storageOwner, err error) {
	data, err := readFile(ctx, s.objects.files, s.ownerFile())
	if errors.Is(err, filesystem.ErrNotFound) {
		return o, nil
	}
	if err == nil {
		err = recordError(s.ownerFile(), DecodeRecord(data, &o))
	}
	if err == nil && o.ID == "" {
		err = fmt.Errorf("%w: %s names no owner", ErrUnreadable, s.ownerFile())
	}
	return o, err
}

func (s *Services) ownerFile() string {
	return filesystem.Join(s.objects.root, "owner")
}

// compareOwners says why the node of a claim and the file do not go together: nil if they do.
func (s *Services) compareOwners(node storageNode, file storageOwner) error {
	const otherPlace = "give this cluster a high-availability.cluster-id or a high-availability.storageDir of its own"
	switch {
	case file.ID == node.ID:
		return nil
	case file.ID == "":
		return fmt.Errorf("%w: node %q says that %s belongs to %s, but %s is not there: mount that directory here, or correct high-availability.storageDir; "+
			"if the files are lost for good, delete the node, and jobs that were stored there are shown as unreadable",
			ErrStorageMissing, storagePath, node.StorageDir, node, s.ownerFile())
	case node.ID == "":
		return fmt.Errorf("%w: %s says that it belongs to %s, which %s knows nothing of: %s; if it is this cluster and its nodes were lost, restore them; "+
			"if they are lost for good, delete the file, which gives up the jobs that were stored here",
			ErrForeignStorage, s.ownerFile(), file, s.cfg.Coordination, otherPlace)
	}
	return fmt.Errorf("%w: %s says that it belongs to %s, but this is %s: %s", ErrForeignStorage, s.ownerFile(), file, node, otherPlace)
}

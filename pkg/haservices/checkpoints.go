package haservices

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/checkpoint"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
)

// checkpointNode is the node jobs/<jobid>/checkpoints/<19 digits>. Its file is the checkpoint's _metadata.
type checkpointNode struct {
	pointer
	ID        int64     `json:"id"`
	Path      string    `json:"path"`
	Bytes     int64     `json:"bytes"`
	Completed time.Time `json:"completed"`
}

// metadataFile is the record of a completed checkpoint, in the checkpoint's own directory.
const metadataFile = "_metadata"

// CompletedCheckpointStore holds the completed checkpoints of one job. The node is the commit point: a
// checkpoint without one never happened. Flink's CompletedCheckpointStore.
type CompletedCheckpointStore struct {
	services *Services
	election *LeaderElection
	job      id.Job
}

func (s *CompletedCheckpointStore) dir() string { return jobNode(s.job, "checkpoints") }

func (s *CompletedCheckpointStore) path(checkpoint int64) string {
	return fmt.Sprintf("%s/%019d", s.dir(), checkpoint)
}

// Add stores cp, all of whose state files exist, and makes it the latest: once it has returned nil, cp
// survives every leader. Adding the same checkpoint again succeeds; another one under its ID is ErrExists.
func (s *CompletedCheckpointStore) Add(ctx context.Context, token id.FencingToken, cp *checkpoint.Completed) error {
	if err := s.add(ctx, token, cp); err != nil {
		return fmt.Errorf("store checkpoint %d of job %s: %w", cp.ID, s.job, err)
	}
	return nil
}

// Subsume follows Add, outside the way of those who wait for the checkpoint: it drops the oldest checkpoints
// beyond retained (at least 1) with their directories, and directories of given-up checkpoints before cp. What
// cannot be dropped now is dropped by the next Subsume.
func (s *CompletedCheckpointStore) Subsume(ctx context.Context, token id.FencingToken, cp *checkpoint.Completed, retained int) error {
	if err := s.subsume(ctx, token, cp, max(retained, 1)); err != nil {
		return fmt.Errorf("drop checkpoints of job %s before %d: %w", s.job, cp.ID, err)
	}
	return nil
}

func (s *CompletedCheckpointStore) add(ctx context.Context, token id.FencingToken, cp *checkpoint.Completed) error {
	if _, err := s.election.current(token); err != nil {
		return err
	}
	if cp.Job != s.job || cp.ID <= 0 || cp.Path == "" {
		return fmt.Errorf("incomplete: job %s, ID %d, path %q", cp.Job, cp.ID, cp.Path)
	}
	data := encode(cp)
	file := filesystem.Join(cp.Path, metadataFile)
	created, err := s.writeMetadata(ctx, file, data)
	if err != nil {
		return err
	}
	node := checkpointNode{pointer: describe(file, token, data), ID: cp.ID, Path: cp.Path, Bytes: cp.Bytes, Completed: cp.Completed}
	err = s.election.write(ctx, token, Write{Operation: Create, Path: s.path(cp.ID), Data: encode(node)})
	if errors.Is(err, ErrExists) && s.holds(ctx, cp.ID, node.pointer) {
		return nil
	}
	if err != nil && created && certain(err) {
		if err := s.services.checkpointFiles.Delete(context.WithoutCancel(ctx), file); err != nil {
			s.services.log.Warn("orphaned file stays for now", zap.String("file", file), zap.Error(err))
		}
	}
	return err
}

// writeMetadata reports whether it made the file; the same content may be there already.
func (s *CompletedCheckpointStore) writeMetadata(ctx context.Context, file string, data []byte) (created bool, err error) {
	err = s.services.checkpointFiles.Create(ctx, file, bytes.NewReader(data))
	if !errors.Is(err, filesystem.ErrExists) {
		return err == nil, err
	}
	there, err := readFile(ctx, s.services.checkpointFiles, file)
	if err != nil {
		return false, err
	}
	if !bytes.Equal(there, data) {
		return false, fmt.Errorf("%w: %s has other content", ErrExists, file)
	}
	return false, nil
}

// holds reports whether the node of a checkpoint points to the same content as p.
func (s *CompletedCheckpointStore) holds(ctx context.Context, checkpoint int64, p pointer) bool {
	node, err := s.node(ctx, s.path(checkpoint))
	return err == nil && node.File == p.File && node.SHA256 == p.SHA256
}

func (s *CompletedCheckpointStore) node(ctx context.Context, path string) (node checkpointNode, err error) {
	n, err := s.services.read(ctx, path)
	if err != nil {
		return node, err
	}
	return node, decodeNode(path, n, &node)
}

// subsume drops what cp made superfluous: node first, then files.
func (s *CompletedCheckpointStore) subsume(ctx context.Context, token id.FencingToken, cp *checkpoint.Completed, retained int) error {
	names, err := s.services.children(ctx, s.dir())
	if err != nil {
		return err
	}
	for len(names) > retained {
		if err := s.drop(ctx, token, s.dir()+"/"+names[0]); err != nil {
			return err
		}
		names = names[1:]
	}
	return s.sweep(ctx, cp, names)
}

func (s *CompletedCheckpointStore) drop(ctx context.Context, token id.FencingToken, path string) error {
	node, err := s.node(ctx, path)
	if err != nil && !errors.Is(err, ErrUnreadable) {
		return err
	}
	if err := s.election.write(ctx, token, Write{Operation: Delete, Path: path, Version: AnyVersion}); err != nil {
		return err
	}
	if node.Path == "" {
		return nil
	}
	return s.services.checkpointFiles.Delete(ctx, node.Path)
}

// sweep deletes the directories chk-<n> beside cp's that no node points to and that are older than cp:
// checkpoints that were given up, or whose files could not be deleted before. IDs rise across leaders, so
// nobody begins or completes one of them any more.
func (s *CompletedCheckpointStore) sweep(ctx context.Context, cp *checkpoint.Completed, nodes []string) error {
	parent, own, _ := cutLast(cp.Path, "/")
	if n, ok := checkpointDirectory(own); !ok || n != cp.ID {
		return nil // not a layout of ours
	}
	names, err := s.services.checkpointFiles.List(ctx, parent)
	if err != nil {
		return err
	}
	for _, name := range names {
		n, ok := checkpointDirectory(name)
		if !ok || n >= cp.ID || slices.Contains(nodes, fmt.Sprintf("%019d", n)) {
			continue
		}
		if err := s.services.checkpointFiles.Delete(ctx, filesystem.Join(parent, name)); err != nil {
			return err
		}
	}
	return nil
}

// checkpointDirectory parses chk-<n>.
func checkpointDirectory(name string) (int64, bool) {
	digits, ok := strings.CutPrefix(name, "chk-")
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, ok && err == nil
}

// Latest returns the newest completed checkpoint, or ErrNotFound. One that cannot be read is
// ErrUnreadable, unless Config.OlderCheckpoint allows an older one.
func (s *CompletedCheckpointStore) Latest(ctx context.Context) (*checkpoint.Completed, error) {
	cp, err := s.latest(ctx)
	if err != nil {
		return nil, fmt.Errorf("latest checkpoint of job %s: %w", s.job, err)
	}
	return cp, nil
}

func (s *CompletedCheckpointStore) latest(ctx context.Context) (*checkpoint.Completed, error) {
	names, err := s.services.children(ctx, s.dir())
	if err != nil {
		return nil, err
	}
	var newest error
	for _, name := range slices.Backward(names) {
		cp, err := s.load(ctx, name)
		if err == nil {
			return cp, nil
		}
		if !errors.Is(err, ErrUnreadable) {
			return nil, err
		}
		if !s.services.cfg.OlderCheckpoint {
			return nil, err
		}
		s.services.log.Error("checkpoint cannot be read, trying the one before it",
			logging.Job(s.job), logging.Znode(s.dir()+"/"+name), zap.Error(err))
		newest = cmp.Or(newest, err)
	}
	return nil, cmp.Or(newest, ErrNotFound)
}

func (s *CompletedCheckpointStore) load(ctx context.Context, name string) (*checkpoint.Completed, error) {
	var node checkpointNode
	cp := &checkpoint.Completed{}
	err := s.services.follow(ctx, s.dir()+"/"+name, &node, func() error {
		return load(ctx, s.services.checkpointFiles, node.pointer, cp)
	})
	if err == nil && (cp.Job != s.job || cp.ID != node.ID) {
		err = fmt.Errorf("%w: %s is of checkpoint %d of job %s", ErrUnreadable, node.File, cp.ID, cp.Job)
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint %s: %w", strings.TrimLeft(name, "0"), err)
	}
	return cp, nil
}

// All returns the completed checkpoints, oldest first; one that cannot be read makes it ErrUnreadable.
func (s *CompletedCheckpointStore) All(ctx context.Context) ([]*checkpoint.Completed, error) {
	names, err := s.services.children(ctx, s.dir())
	if err != nil {
		return nil, fmt.Errorf("checkpoints of job %s: %w", s.job, err)
	}
	all := make([]*checkpoint.Completed, 0, len(names))
	for _, name := range names {
		cp, err := s.load(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("checkpoints of job %s: %w", s.job, err)
		}
		all = append(all, cp)
	}
	return all, nil
}

// DeleteAll drops every checkpoint of the job, nodes first, then their directories. Idempotent.
func (s *CompletedCheckpointStore) DeleteAll(ctx context.Context, token id.FencingToken) error {
	if _, err := s.election.current(token); err != nil {
		return fmt.Errorf("delete checkpoints of job %s: %w", s.job, err)
	}
	names, err := s.services.children(ctx, s.dir())
	for _, name := range names {
		if err == nil {
			err = s.drop(ctx, token, s.dir()+"/"+name)
		}
	}
	if err != nil {
		return fmt.Errorf("delete checkpoints of job %s: %w", s.job, err)
	}
	return nil
}

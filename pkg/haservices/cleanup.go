package haservices

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
)

// CleanupJob removes everything that belonged to a job that has ended: its nodes, then its checkpoints,
// files and blobs. The job's result stays, and must be there already: it says where the checkpoints are
// when a first try was interrupted. Idempotent; after an error, try again later. Flink's
// globalCleanupAsync.
func (s *Services) CleanupJob(ctx context.Context, dispatcher *LeaderElection, token id.FencingToken, job id.Job) error {
	checkpoints, err := s.checkpointDirectories(ctx, dispatcher, job)
	if err != nil {
		return fmt.Errorf("clean up job %s: %w", job, err)
	}
	return s.cleanupJob(ctx, dispatcher, token, job, checkpoints)
}

// CleanupJobKeepingCheckpoints is CleanupJob for a job whose checkpoints are retained: their files stay,
// nothing of ours points to them any more.
func (s *Services) CleanupJobKeepingCheckpoints(ctx context.Context, dispatcher *LeaderElection, token id.FencingToken, job id.Job) error {
	return s.cleanupJob(ctx, dispatcher, token, job, nil)
}

func (s *Services) cleanupJob(ctx context.Context, dispatcher *LeaderElection, token id.FencingToken, job id.Job, checkpoints map[string]bool) error {
	_, err := dispatcher.current(token)
	if err != nil {
		return fmt.Errorf("clean up job %s: %w", job, err)
	}
	// Pointers first, then what they point to: never a pointer without its file.
	for _, path := range []string{jobNodes, jobGraphNodes, "leader", "leaderlatch"} {
		err := dispatcher.write(ctx, token, Write{Operation: Delete, Path: path + "/" + job.String(), Version: AnyVersion})
		if err != nil {
			return fmt.Errorf("clean up job %s: delete %s: %w", job, path, err)
		}
	}
	for dir := range checkpoints {
		err = errors.Join(err, s.checkpointFiles.Delete(ctx, dir))
	}
	err = errors.Join(err, s.objects.files.Delete(ctx, s.objects.jobDir(job)), s.blobs.DeleteJob(ctx, job))
	if err != nil {
		return fmt.Errorf("clean up job %s: %w", job, err)
	}
	s.log.Debug("nodes and files of a job removed", logging.Job(job))
	return nil
}

// checkpointDirectories returns where the checkpoints of a job lie, as far as anything still tells.
func (s *Services) checkpointDirectories(ctx context.Context, dispatcher *LeaderElection, job id.Job) (map[string]bool, error) {
	dirs := map[string]bool{}
	store := s.Checkpoints(dispatcher, job)
	names, err := s.children(ctx, store.dir())
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		switch node, err := store.node(ctx, store.dir()+"/"+name); {
		case errors.Is(err, ErrNotFound), errors.Is(err, ErrUnreadable):
		case err != nil:
			return nil, err
		case node.Path != "":
			dirs[node.Path] = true
		}
	}
	var root string
	if stored, err := s.JobGraphs(dispatcher).Get(ctx, job); err == nil {
		root = stored.Graph.Checkpointing.Dir
	} else if result, err := s.JobResults(dispatcher).Get(ctx, job); err == nil {
		root = result.Details.Graph.Checkpointing.Dir
	}
	if root != "" {
		dirs[filesystem.Join(root, job.String())] = true
	}
	return dirs, ctx.Err()
}

// Sweep deletes files that leaders of the past wrote and did not live to point to. A Dispatcher calls it
// once in each term. It is careful: a file goes only if no node points to it and its writer's epoch is
// over for certain, so that no node ever can. In NONE mode Dispatchers have no epochs, so what they left
// stays. An error says what could not be looked at; it is worth a line in the log, not the term.
func (s *Services) Sweep(ctx context.Context, dispatcher *LeaderElection, token id.FencingToken) error {
	if _, err := dispatcher.current(token); err != nil {
		return fmt.Errorf("sweep orphaned files: %w", err)
	}
	names, err := s.objects.files.List(ctx, filesystem.Join(s.objects.root, jobNodes))
	for _, name := range names {
		if job, parseErr := id.ParseJob(name); parseErr == nil {
			err = errors.Join(err, s.sweepJob(ctx, token, job))
		}
	}
	if err = errors.Join(err, s.sweepResults(ctx, token), s.sweepLeadership(ctx, token)); err != nil {
		return fmt.Errorf("sweep orphaned files: %w", err)
	}
	return nil
}

func (s *Services) sweepJob(ctx context.Context, token id.FencingToken, job id.Job) error {
	// The files are listed before the nodes are read: a node that is written later is of a later epoch.
	names, err := s.objects.files.List(ctx, s.objects.jobDir(job))
	if err != nil {
		return err
	}
	graph, hasGraph, err := s.pointerAt(ctx, jobGraphPath(job))
	if err != nil {
		return err
	}
	ledger, _, err := s.pointerAt(ctx, jobNode(job, "executions"))
	if err != nil {
		return err
	}
	for _, name := range names {
		file := filesystem.Join(s.objects.jobDir(job), name)
		base, epoch, ok := parseFileName(name)
		orphan := ok && file != graph.File && file != ledger.File
		switch base {
		case "jobgraph": // written by Dispatchers; those of lower epochs can set no node any more
			orphan = orphan && epoch < token.Epoch()
		case "ledger": // written by JobMasters: the node's epoch is over too, or the whole job
			orphan = orphan && (epoch < ledger.Epoch || !hasGraph)
		default:
			orphan = false
		}
		if orphan {
			s.log.Info("orphaned file deleted", logging.Job(job), zap.String("file", file))
			s.objects.discard(ctx, file)
		}
	}
	return nil
}

func (s *Services) sweepResults(ctx context.Context, token id.FencingToken) error {
	names, err := s.objects.files.List(ctx, s.objects.resultDir())
	if err != nil {
		return err
	}
	for _, name := range names {
		base, epoch, ok := parseFileName(name)
		job, err := id.ParseJob(base)
		if !ok || err != nil || epoch >= token.Epoch() {
			continue
		}
		file := filesystem.Join(s.objects.resultDir(), name)
		p, _, err := s.pointerAt(ctx, jobResultPath(job))
		if err != nil {
			return err
		}
		if p.File != file {
			s.log.Info("orphaned file deleted", logging.Job(job), zap.String("file", file))
			s.objects.discard(ctx, file)
		}
	}
	return nil
}

// pointerAt reads the pointer of a node that may not be there.
func (s *Services) pointerAt(ctx context.Context, path string) (p pointer, found bool, err error) {
	n, err := s.read(ctx, path)
	if errors.Is(err, ErrNotFound) {
		return p, false, nil
	}
	if err == nil {
		err = decodeNode(path, n, &p)
	}
	return p, err == nil, err
}

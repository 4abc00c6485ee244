package haservices

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// concurrentReads bounds how many results are read at a time: a new leader reads them all before it can be
// found.
const concurrentReads = 16

// jobResultNode is the node job-results/<jobid>. It says enough for the job never to run again, even if
// the file is lost.
type jobResultNode struct {
	pointer
	Dirty bool              `json:"dirty"`
	Name  string            `json:"name"`
	State protocol.JobState `json:"state"`
	Start time.Time         `json:"start"`
	End   time.Time         `json:"end"`
}

// JobResultStore holds how jobs ended. Flink's JobResultStore.
type JobResultStore struct {
	services *Services
	election *LeaderElection
}

func jobResultPath(job id.Job) string { return jobResultNodes + "/" + job.String() }

// PutDirty stores that a job has ended and must never run again, before anything of it is cleaned up.
// The first result stays: the same state again succeeds without effect, another one is ErrExists.
func (s *JobResultStore) PutDirty(ctx context.Context, token id.FencingToken, r JobResult) error {
	if err := s.putDirty(ctx, token, r); err != nil {
		return fmt.Errorf("store result of job %s: %w", r.Details.Overview.ID, err)
	}
	return nil
}

func (s *JobResultStore) putDirty(ctx context.Context, token id.FencingToken, r JobResult) error {
	if _, err := s.election.current(token); err != nil {
		return err
	}
	o := r.Details.Overview
	if err := s.compare(ctx, o); !errors.Is(err, ErrNotFound) {
		return err
	}
	r.Dirty = true
	objects := s.services.objects
	p, err := objects.write(ctx, objects.resultDir(), o.ID.String(), token, encode(r))
	if err != nil {
		return err
	}
	node := jobResultNode{pointer: p, Dirty: true, Name: o.Name, State: o.State, Start: o.Start, End: o.End}
	err = s.election.write(ctx, token, Write{Operation: Create, Path: jobResultPath(o.ID), Data: encode(node)})
	if err != nil && certain(err) {
		objects.discard(ctx, p.File)
	}
	if errors.Is(err, ErrExists) {
		return s.compare(ctx, o)
	}
	return err
}

// compare returns nil if a result with the same state is stored, ErrExists for another, ErrNotFound for
// none.
func (s *JobResultStore) compare(ctx context.Context, o protocol.JobOverview) error {
	path := jobResultPath(o.ID)
	n, err := s.services.read(ctx, path)
	if err != nil {
		return err
	}
	var node jobResultNode
	if err := decodeNode(path, n, &node); err != nil {
		return err
	}
	if node.State != o.State {
		return fmt.Errorf("%w: it ended as %s", ErrExists, node.State)
	}
	return nil
}

// MarkClean says that nothing of the job is left to clean up. ErrNotFound without a result.
func (s *JobResultStore) MarkClean(ctx context.Context, token id.FencingToken, job id.Job) error {
	if err := s.markClean(ctx, token, job); err != nil {
		return fmt.Errorf("mark result of job %s clean: %w", job, err)
	}
	return nil
}

func (s *JobResultStore) markClean(ctx context.Context, token id.FencingToken, job id.Job) error {
	if _, err := s.election.current(token); err != nil {
		return err
	}
	path := jobResultPath(job)
	n, err := s.services.read(ctx, path)
	if err != nil {
		return err
	}
	var node jobResultNode
	if err := decodeNode(path, n, &node); err != nil {
		return err
	}
	if !node.Dirty {
		return nil
	}
	data, err := PatchRecord(n.Data, struct {
		Dirty bool `json:"dirty"`
	}{false})
	if err != nil {
		return err
	}
	return s.election.write(ctx, token, Write{Operation: Set, Path: path, Data: data, Version: n.Version})
}

// Get returns how a job ended, or ErrNotFound. A result whose file cannot be read consists of what the
// node says: ID, name, state and times.
func (s *JobResultStore) Get(ctx context.Context, job id.Job) (JobResult, error) {
	r, err := s.get(ctx, job)
	if err != nil {
		return JobResult{}, fmt.Errorf("read result of job %s: %w", job, err)
	}
	return r, nil
}

func (s *JobResultStore) get(ctx context.Context, job id.Job) (r JobResult, err error) {
	var node jobResultNode
	err = s.services.follow(ctx, jobResultPath(job), &node, func() error {
		return load(ctx, s.services.objects.files, node.pointer, &r)
	})
	if (errors.Is(err, ErrUnreadable) || errors.Is(err, ErrNewerFormat)) && node.State != "" {
		s.services.log.Error("job result lost its details", logging.Job(job), zap.Error(err))
		r = JobResult{Details: protocol.JobDetails{Overview: protocol.JobOverview{
			ID: job, Name: node.Name, State: node.State, Start: node.Start, End: node.End, LastModified: node.End,
		}}}
		err = nil
	}
	r.Dirty = node.Dirty
	return r, err
}

// List returns all results, ordered by job ID. A node that is damaged, or of a newer build, is left out, and
// returned as an error that is ErrUnreadable beside the results of the others.
func (s *JobResultStore) List(ctx context.Context) ([]JobResult, error) {
	jobs, err := s.services.listJobs(ctx, jobResultNodes)
	if err != nil {
		return nil, err
	}
	results, errs := make([]JobResult, len(jobs)), make([]error, len(jobs))
	var reading errgroup.Group
	reading.SetLimit(concurrentReads)
	for i, job := range jobs {
		reading.Go(func() error {
			results[i], errs[i] = s.Get(ctx, job)
			return nil
		})
	}
	_ = reading.Wait() // what went wrong is in errs
	var damaged error
	found := results[:0]
	for i, err := range errs {
		switch {
		case err == nil:
			found = append(found, results[i])
		case errors.Is(err, ErrNotFound): // deleted meanwhile
		case errors.Is(err, ErrUnreadable):
			damaged = errors.Join(damaged, err)
		case errors.Is(err, ErrNewerFormat):
			damaged = errors.Join(damaged, fmt.Errorf("%w: %w", ErrUnreadable, err))
		default:
			return nil, err
		}
	}
	return found, damaged
}

// Delete forgets a result. Forgetting what is not there succeeds.
func (s *JobResultStore) Delete(ctx context.Context, token id.FencingToken, job id.Job) error {
	if err := s.election.removeNodeAndFile(ctx, token, jobResultPath(job)); err != nil {
		return fmt.Errorf("delete result of job %s: %w", job, err)
	}
	return nil
}

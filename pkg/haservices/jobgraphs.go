package haservices

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/logging"
)

// StoredJob is a job as accepted by a Dispatcher.
type StoredJob struct {
	Graph     jobgraph.JobGraph `json:"graph"`
	Submitted time.Time         `json:"submitted"`
}

// jobGraphNode is the node jobgraphs/<jobid>.
type jobGraphNode struct {
	pointer
	Name      string    `json:"name"`
	Submitted time.Time `json:"submitted"`
}

// JobGraphStore holds the jobs that have been accepted and not yet cleaned up. Flink's JobGraphStore.
type JobGraphStore struct {
	services *Services
	election *LeaderElection
}

func jobGraphPath(job id.Job) string { return jobGraphNodes + "/" + job.String() }

// Put stores a job: once it has returned nil, the job survives every leader. Storing the same graph again
// succeeds and keeps the first; another graph under the same ID is ErrExists. ErrNotLeader when token is
// not that of the present term.
func (s *JobGraphStore) Put(ctx context.Context, token id.FencingToken, job StoredJob) error {
	if err := s.put(ctx, token, job); err != nil {
		return fmt.Errorf("store job %s: %w", job.Graph.ID, err)
	}
	return nil
}

func (s *JobGraphStore) put(ctx context.Context, token id.FencingToken, job StoredJob) error {
	if _, err := s.election.current(token); err != nil {
		return err
	}
	if err := s.compare(ctx, job); !errors.Is(err, ErrNotFound) {
		return err
	}
	objects := s.services.objects
	p, err := objects.write(ctx, objects.jobDir(job.Graph.ID), "jobgraph", token, encode(job))
	if err != nil {
		return err
	}
	node := jobGraphNode{pointer: p, Name: job.Graph.Name, Submitted: job.Submitted}
	err = s.election.write(ctx, token, Write{Operation: Create, Path: jobGraphPath(job.Graph.ID), Data: encode(node)})
	if err != nil && certain(err) {
		objects.discard(ctx, p.File)
	}
	if errors.Is(err, ErrExists) {
		return s.compare(ctx, job) // two requests of this term met
	}
	return err
}

// compare returns nil if the same graph is stored, ErrExists for another, ErrNotFound for none.
func (s *JobGraphStore) compare(ctx context.Context, job StoredJob) error {
	stored, err := s.get(ctx, job.Graph.ID)
	if err != nil {
		return err
	}
	if !bytes.Equal(encode(stored.Graph), encode(job.Graph)) {
		return ErrExists
	}
	return nil
}

// Get returns a stored job: ErrNotFound, or ErrUnreadable when the node or its file is damaged.
func (s *JobGraphStore) Get(ctx context.Context, job id.Job) (StoredJob, error) {
	stored, err := s.get(ctx, job)
	if err != nil {
		return StoredJob{}, fmt.Errorf("read job %s: %w", job, err)
	}
	return stored, nil
}

func (s *JobGraphStore) get(ctx context.Context, job id.Job) (stored StoredJob, err error) {
	var node jobGraphNode
	err = s.services.follow(ctx, jobGraphPath(job), &node, func() error {
		return load(ctx, s.services.objects.files, node.pointer, &stored)
	})
	if err == nil && stored.Graph.ID != job {
		return StoredJob{}, fmt.Errorf("%w: %s is of job %s", ErrUnreadable, node.File, stored.Graph.ID)
	}
	return stored, err
}

// List returns the IDs of all stored jobs, readable or not: ask Get for each, and let one that is
// ErrUnreadable not keep the others from running.
func (s *JobGraphStore) List(ctx context.Context) ([]id.Job, error) {
	return s.services.listJobs(ctx, jobGraphNodes)
}

// listJobs returns the nodes below path as job IDs.
func (s *Services) listJobs(ctx context.Context, path string) ([]id.Job, error) {
	names, err := s.children(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", path, err)
	}
	jobs := make([]id.Job, 0, len(names))
	for _, name := range names {
		job, err := id.ParseJob(name)
		if err != nil {
			s.log.Warn("node is not named after a job", logging.Znode(path+"/"+name), zap.Error(err))
			continue
		}
		jobs = append(jobs, job)
	}
	return jobs, nil
}

// Delete removes a job. Removing what is not there succeeds.
func (s *JobGraphStore) Delete(ctx context.Context, token id.FencingToken, job id.Job) error {
	if err := s.election.removeNodeAndFile(ctx, token, jobGraphPath(job)); err != nil {
		return fmt.Errorf("delete job %s: %w", job, err)
	}
	return nil
}

// removeNodeAndFile removes a node under the fence, and then the file that it pointed to.
func (e *LeaderElection) removeNodeAndFile(ctx context.Context, token id.FencingToken, path string) error {
	if _, err := e.current(token); err != nil {
		return err
	}
	n, err := e.services.read(ctx, path)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var p pointer
	unreadable := decodeNode(path, n, &p)
	if errors.Is(unreadable, ErrNewerFormat) {
		return unreadable
	}
	if err := e.write(ctx, token, Write{Operation: Delete, Path: path, Version: AnyVersion}); err != nil {
		return err
	}
	if unreadable == nil { // of a damaged node the file is not known: an orphan
		e.services.objects.discard(ctx, p.File)
	}
	return nil
}

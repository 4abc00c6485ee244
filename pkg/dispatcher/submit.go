package dispatcher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// submit answers a SubmitJob call. termCtx is the term's, ctx the caller's: a caller who leaves does not
// stop a submission that has begun, or the job would be stored and not run until the next term.
func (t *term) submit(termCtx, ctx context.Context, req protocol.SubmitJobRequest) (protocol.Empty, error) {
	graph := complete(req.Graph, t.cfg.CheckpointDir)
	j, err := rpc.Call(ctx, t.main, func() (*job, error) {
		if !t.ready {
			return nil, protocol.ErrNotReady
		}
		if known := t.jobs[graph.ID]; known != nil {
			return known, t.compare(termCtx, known, graph)
		}
		j := &job{
			id: graph.ID, phase: submitting, admitted: make(chan struct{}),
			stored: haservices.StoredJob{Graph: graph, Submitted: time.Now().UTC()},
		}
		t.jobs[j.id] = j
		t.start(func() { t.admit(termCtx, j) })
		return j, nil
	})
	if err != nil || j.admitted == nil {
		return protocol.Empty{}, err
	}
	select {
	case <-j.admitted:
		return protocol.Empty{}, j.refusal
	case <-termCtx.Done():
		return protocol.Empty{}, rpc.ErrStopped
	case <-ctx.Done():
		return protocol.Empty{}, ctx.Err()
	}
}

// compare decides on a submission under the ID of a known job: harmless if it is the same. On the main
// thread.
func (t *term) compare(ctx context.Context, known *job, graph jobgraph.JobGraph) error {
	if known.phase == quarantined {
		return fmt.Errorf("%w: job %s is stored but cannot be read: %w", protocol.ErrJobConflict, known.id, known.cause)
	}
	switch { // what came with a request for a job that has ended belongs to nobody
	case known.phase == ended && known.dirty:
		known.uploaded = true // the clean-up may still need the binary, or have passed by the uploads
	case known.phase == ended:
		t.start(func() { t.dropUpload(ctx, known.id) })
	}
	lost := known.phase == ended && known.stored.Graph.ID.IsZero() // of its result only the summary is left
	if !lost && !same(known.stored.Graph, graph) {
		return fmt.Errorf("%w: %s is %q", protocol.ErrJobConflict, known.id, known.stored.Graph.Name)
	}
	return nil
}

// admit checks the job and that its binary is there, stores it, and lets it run. Of a job that cannot run the upload
// is removed before another submission under its ID is looked at.
func (t *term) admit(ctx context.Context, j *job) {
	err := validate(j.stored.Graph)
	if err == nil {
		err = t.findBinary(ctx, j.stored.Graph)
	}
	if err == nil {
		err = t.graphs.Put(ctx, t.token, j.stored)
		if errors.Is(err, haservices.ErrExists) {
			err = fmt.Errorf("%w: %s", protocol.ErrJobConflict, j.id)
		}
	}
	if errors.Is(err, protocol.ErrInvalidJob) {
		t.dropUpload(ctx, j.id)
	}
	t.do(ctx, func() {
		j.refusal = err
		close(j.admitted)
		if err != nil {
			delete(t.jobs, j.id)
			return
		}
		t.launch(ctx, j)
	})
	switch {
	case err == nil:
		t.log.Info("job accepted", logging.Job(j.id), zap.String("name", j.stored.Graph.Name))
	case errors.Is(err, haservices.ErrNotLeader):
		t.end(err)
	default:
		t.log.Info("job refused", logging.Job(j.id), zap.Error(err))
	}
}

// findBinary makes sure that the job's binary has been uploaded.
func (t *term) findBinary(ctx context.Context, g jobgraph.JobGraph) error {
	content, err := t.blobs.Open(ctx, g.ID, g.Binary.Key)
	switch {
	case err == nil:
		return content.Close()
	case errors.Is(err, filesystem.ErrNotFound), errors.Is(err, haservices.ErrNotFound):
		return invalid("its binary %s is not in the blob store: upload it before submitting", g.Binary.Key)
	default:
		return fmt.Errorf("look for the binary of job %s: %w", g.ID, err)
	}
}

// same reports whether two graphs, both completed, are the same job. A checkpoint directory that a
// Dispatcher filled in may differ: it is not the client's.
func same(a, b jobgraph.JobGraph) bool {
	a.Checkpointing.Dir, b.Checkpointing.Dir = "", ""
	return bytes.Equal(fingerprint(a), fingerprint(b))
}

func fingerprint(g jobgraph.JobGraph) []byte {
	if g.Edges == nil {
		g.Edges = []jobgraph.Edge{}
	}
	b, err := json.Marshal(g)
	if err != nil {
		panic(fmt.Sprintf("dispatcher: job graph is not JSON: %v", err)) // it is plain data
	}
	return b
}

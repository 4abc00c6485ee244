package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// submit submits jobs of one vertex through the Dispatcher.
func (t *testbed) submit(ctx context.Context, count, parallelism int, checkpoint time.Duration) ([]id.Job, error) {
	content := []byte("nobody starts this program")
	sum := sha256.Sum256(content)
	jobs := make([]id.Job, count)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for i := range jobs {
		jobs[i] = id.NewJob()
		graph := jobgraph.JobGraph{
			ID: jobs[i], Name: fmt.Sprintf("job %d", i), MaxParallelism: max(128, parallelism),
			Vertices: []jobgraph.Vertex{{
				ID: id.Vertex{1}, Name: "source", Parallelism: parallelism, Source: true,
				Operators: []jobgraph.Operator{{UID: "source", Name: "source"}},
			}},
			Checkpointing: jobgraph.Checkpointing{Interval: checkpoint},
			Binary:        jobgraph.Binary{Key: hex.EncodeToString(sum[:]), Size: int64(len(content))},
		}
		g.Go(func() error {
			if err := t.services.Blobs().Put(ctx, graph.ID, graph.Binary.Key, bytes.NewReader(content)); err != nil {
				return err
			}
			_, err := invoke(ctx, t, haservices.Dispatcher, protocol.SubmitJob, protocol.SubmitJobRequest{Graph: graph})
			return err
		})
	}
	return jobs, g.Wait()
}

// awaitRunning waits until jobs are RUNNING with all tasks under JobMasters of the epoch, or later ones, and
// returns when each was.
func (t *testbed) awaitRunning(ctx context.Context, jobs []id.Job, epoch uint64) ([]time.Time, error) {
	running := map[id.Job]time.Time{}
	err := t.await(ctx, "jobs to run", 100*time.Millisecond, func() (bool, error) {
		for _, job := range jobs {
			if _, ok := running[job]; ok {
				continue
			}
			d, err := invoke(ctx, t, haservices.Dispatcher, protocol.DescribeJob, protocol.DescribeJobRequest{Job: job})
			if errors.Is(err, protocol.ErrNotReady) {
				return false, nil
			}
			if err != nil {
				return false, err
			}
			if d.Overview.State != protocol.JobRunning || d.JobMasterEpoch < epoch || !allRun(d) {
				return false, nil
			}
			running[job] = d.StateTimes[protocol.JobRunning]
		}
		return true, nil
	})
	return slices.SortedFunc(maps.Values(running), time.Time.Compare), err
}

func allRun(d protocol.JobDetails) bool {
	for _, s := range d.Subtasks {
		if s.Execution.State != protocol.Running {
			return false
		}
	}
	return len(d.Subtasks) > 0
}

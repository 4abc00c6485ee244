package zookeeper

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
)

// leaderFunc makes a function a haservices.LeaderContender.
type leaderFunc func(ctx context.Context, token id.FencingToken) error

func (f leaderFunc) Lead(ctx context.Context, token id.FencingToken) error { return f(ctx, token) }

// TestServicesOnZooKeeper takes a job through the stores: two leaders in turn, then the clean-up, after
// which nothing of the job is left.
func TestServicesOnZooKeeper(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	files := filesystem.NewMemory()
	services := func() (*haservices.Services, *process) {
		p := c.open()
		s := haservices.New(haservices.Config{Driver: p.Driver, FileSystem: files, StorageDir: "file:///ha", Me: p.me})
		t.Cleanup(func() {
			if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
		return s, p
	}
	job := jobgraph.JobGraph{ID: id.NewJob(), Name: "count"}
	finished := errors.New("finished")
	lead := func(s *haservices.Services, component haservices.Component, f func(ctx context.Context, e *haservices.LeaderElection, token id.FencingToken) error) {
		t.Helper()
		ctx, cancel := context.WithCancelCause(c.context())
		election := s.LeaderElection(component)
		err := election.Run(ctx, leaderFunc(func(ctx context.Context, token id.FencingToken) error {
			if err := f(ctx, election, token); err != nil {
				t.Errorf("%s, epoch %d: %v", component, token.Epoch(), err)
			}
			cancel(finished)
			return nil
		}))
		if !errors.Is(context.Cause(ctx), finished) {
			t.Fatalf("Run: %v", err)
		}
	}
	first, _ := services()
	second, _ := services()
	dispatcher, master := haservices.Component{Kind: haservices.Dispatcher}, haservices.JobMaster(job.ID)
	lead(first, dispatcher, func(ctx context.Context, e *haservices.LeaderElection, token id.FencingToken) error {
		return first.JobGraphs(e).Put(ctx, token, haservices.StoredJob{Graph: job, Submitted: time.Now()})
	})
	for want := range int64(4) {
		s := []*haservices.Services{first, second}[want%2]
		lead(s, master, func(ctx context.Context, e *haservices.LeaderElection, token id.FencingToken) error {
			if n, err := s.CheckpointIDs(e, job.ID).Next(ctx, token); err != nil || n != want+1 {
				t.Errorf("Next = %d, %v, want %d", n, err, want+1)
			}
			return e.Confirm(ctx, token, "tamias://jm:1/jobmaster")
		})
	}
	lead(second, dispatcher, func(ctx context.Context, e *haservices.LeaderElection, token id.FencingToken) error {
		if stored, err := second.JobGraphs(e).Get(ctx, job.ID); err != nil || stored.Graph.Name != job.Name {
			t.Errorf("Get = %+v, %v", stored, err)
		}
		return second.CleanupJob(ctx, e, token, job.ID)
	})
	outside := c.outside()
	for _, path := range []string{"leader", "leaderlatch", "jobs", "jobgraphs"} {
		if exists, _, err := outside.Exists(c.root + "/" + path + "/" + job.ID.String()); exists || err != nil {
			t.Errorf("%s of the job after the clean-up: exists %v, %v", path, exists, err)
		}
	}
}

// TestTwoClustersOneStorageDirectory: their nodes lie below different roots, which is no different from different
// servers. The second cluster does not lead. Each leader of the first one does, also in another process.
func TestTwoClustersOneStorageDirectory(t *testing.T) {
	address, dir := zkserver.Shared(t).Address(), t.TempDir()
	first, second := newCluster(t, address), newCluster(t, address)
	claim := func(c *cluster) error {
		t.Helper()
		p := c.open()
		s := haservices.New(haservices.Config{Driver: p.Driver, FileSystem: filesystem.NewLocal(), StorageDir: dir, Coordination: c.root, Me: p.me})
		defer s.Close(context.WithoutCancel(t.Context()))
		ctx, cancel := context.WithCancel(c.context())
		defer cancel()
		var claimed error
		election := s.LeaderElection(haservices.Component{Kind: haservices.Dispatcher})
		err := election.Run(ctx, leaderFunc(func(ctx context.Context, token id.FencingToken) error {
			claimed = s.ClaimStorage(ctx, election, token)
			if claimed == nil {
				cancel()
			}
			return claimed
		}))
		return errors.Join(err, claimed)
	}
	for range 2 {
		if err := claim(first); err != nil {
			t.Errorf("ClaimStorage of the first cluster = %v", err)
		}
		if err := claim(second); !errors.Is(err, haservices.ErrForeignStorage) || !strings.Contains(err.Error(), first.root) {
			t.Errorf("ClaimStorage of the second cluster = %v, want ErrForeignStorage that names %s", err, first.root)
		}
	}
	if exists, _, err := second.outside().Exists(second.root + "/storage-owner"); exists || err != nil {
		t.Errorf("node of the second cluster: exists %v, %v", exists, err)
	}
}

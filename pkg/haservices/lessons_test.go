package haservices_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
)

// TestOfTwoCheckpointsUnderOneIDOneWins: two masters add checkpoint 7, each with a directory of its own.
// One wins; the other gets an error and keeps nothing, and the first one's files stay.
func TestOfTwoCheckpointsUnderOneIDOneWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.stores("jm-1")
		w.must(s.checkpoints.Add(s.ctx, s.token, completed(7)))
		rival := completed(7)
		rival.Path = "file:///elsewhere/chk-7"
		if err := s.checkpoints.Add(s.ctx, s.token, rival); !errors.Is(err, haservices.ErrExists) {
			t.Errorf("Add of another checkpoint 7 = %v, want ErrExists", err)
		}
		cp, err := s.checkpoints.Latest(s.ctx)
		if err != nil || cp.Path != completed(7).Path {
			t.Errorf("Latest = %v, %v, want the first one", cp, err)
		}
		if slices.ContainsFunc(w.files.Files(), func(f string) bool { return strings.HasPrefix(f, "/elsewhere/") }) {
			t.Errorf("the loser's file is left: %q", w.files.Files())
		}
		w.checkPointers()
	})
}

// script is a backend that tells leaders as a broken connection would: what was told before an
// interruption, and then what a server says that has not caught up yet.
type script struct {
	haservices.Driver
	tell [][]haservices.LeaderInformation
}

func (s *script) Observe(ctx context.Context, _ haservices.Component, tell func(haservices.LeaderInformation)) error {
	if len(s.tell) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	for _, l := range s.tell[0] {
		tell(l)
	}
	s.tell = s.tell[1:]
	return haservices.ErrUnavailable
}

type told struct {
	list []haservices.LeaderInformation
}

func (l *told) NotifyLeader(i haservices.LeaderInformation) { l.list = append(l.list, i) }

// TestAnOlderLeaderIsNotToldAfterANewerOne: a value read right after a reconnect can be older than the
// truth. The epoch orders them; an unchanged leader is not told again, and one that came meanwhile is.
func TestAnOlderLeaderIsNotToldAfterANewerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := func(epoch uint64) haservices.LeaderInformation {
			return haservices.LeaderInformation{Address: fmt.Sprintf("tamias://jm-%d:1/dispatcher", epoch), Token: id.NewFencingToken(epoch)}
		}
		first, second, third := leader(1), leader(2), leader(3)
		s := haservices.New(haservices.Config{Driver: &script{tell: [][]haservices.LeaderInformation{
			{first, second}, {first}, {second}, {{}, first, second}, {first, third},
		}}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var l told
		if err := s.LeaderRetrieval(dispatcher).Run(ctx, &l); err != nil {
			t.Fatal(err)
		}
		if want := []haservices.LeaderInformation{first, second, {}, second, third}; !slices.Equal(l.list, want) {
			t.Errorf("told %v, want %v", l.list, want)
		}
	})
}

// restless leads for a moment, confirms, writes, and gives up, or is told to.
type restless struct {
	election *haservices.LeaderElection
	random   func(n int) time.Duration
	terms    *int
}

func (r restless) Lead(ctx context.Context, token id.FencingToken) error {
	*r.terms++
	if err := r.election.Confirm(ctx, token, "tamias://x:1/dispatcher"); err != nil {
		return err
	}
	select {
	case <-time.After(r.random(50)):
		return errors.New("had enough")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestNobodyWaitsForItself grants, revokes, confirms, observes and closes in every order that random
// delays make. A lock held over a callback would stop everything: the bubble calls that a deadlock.
func TestNobodyWaitsForItself(t *testing.T) {
	for seed := range uint64(50) { // ten thousand lives
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex // guards r
			r := rand.New(rand.NewPCG(seed, 9))
			random := func(n int) time.Duration {
				mu.Lock()
				defer mu.Unlock()
				return time.Duration(r.IntN(n)) * time.Millisecond
			}
			c := embedded.NewCluster(embedded.Config{SessionTimeout: 40 * time.Millisecond, Notice: random(30), Faults: embedded.Faults{
				Delay: func(embedded.Call) time.Duration { return random(5) },
			}})
			var all sync.WaitGroup
			terms := make([]int, 5)
			for i := range terms {
				all.Go(func() {
					name := fmt.Sprint("jm-", i)
					for range 40 {
						s := haservices.New(haservices.Config{Driver: c.Driver(name), FileSystem: filesystem.NewMemory()})
						e := s.LeaderElection(dispatcher)
						ctx, cancel := context.WithTimeout(t.Context(), random(200))
						var life sync.WaitGroup
						life.Go(func() { e.Run(ctx, restless{e, random, &terms[i]}) })
						life.Go(func() { s.LeaderRetrieval(dispatcher).Run(ctx, haservices.NewLeaderChannel()) })
						life.Go(func() {
							<-time.After(random(150))
							c.ExpireSession(name)
						})
						life.Go(func() {
							<-time.After(random(400))
							s.Close(context.Background()) // also in the middle of a term
						})
						life.Wait()
						cancel()
					}
				})
			}
			all.Wait()
			led := 0
			for _, n := range terms {
				led += n
			}
			if led < 50 {
				t.Errorf("seed %d: only %d terms: too quiet to prove anything", seed, led)
			}
			if err := embedded.CheckAudit(c.Audit()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTwoClustersInOneStorageDirStayApart: the same job ID in two clusters that share a storage directory.
// Each finds its own job, and cleaning up one leaves the other alone.
func TestTwoClustersInOneStorageDirStayApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := filesystem.NewMemory()
		open := func(cluster string) *poweredStores {
			w := &world{T: t, faults: &faults{}, files: files, cluster: embedded.NewCluster(embedded.Config{})}
			s := haservices.New(haservices.Config{Driver: w.cluster.Driver("jm"), FileSystem: files, StorageDir: "/ha", ClusterID: cluster})
			t.Cleanup(func() { s.Close(context.Background()) })
			e, lead := w.lead(s, dispatcher)
			return &poweredStores{files: files, stores: &stores{services: s, election: e, ctx: lead.ctx, token: lead.token, graphs: s.JobGraphs(e)}}
		}
		one, two := open("one"), open("two")
		for _, tc := range []struct {
			stores *poweredStores
			name   string
		}{{one, "job of cluster one"}, {two, "job of cluster two"}} {
			if err := tc.stores.services.Blobs().Put(t.Context(), jobID, emptyKey, strings.NewReader("")); err != nil {
				t.Fatal(err)
			}
			if err := tc.stores.graphs.Put(t.Context(), tc.stores.token, storedJob(tc.name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := one.services.CleanupJobKeepingCheckpoints(one.ctx, one.election, one.token, jobID); err != nil {
			t.Fatal(err)
		}
		got, err := two.graphs.Get(two.ctx, jobID)
		if err != nil || got.Graph.Name != "job of cluster two" {
			t.Errorf("Get in the other cluster = %q, %v", got.Graph.Name, err)
		}
		if _, err := two.services.Blobs().Open(two.ctx, jobID, emptyKey); err != nil {
			t.Errorf("the other cluster's blob: %v", err)
		}
	})
}

package haservices_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
)

var chaosSeed = flag.Uint64("chaos.seed", 0, "run TestChaos with this seed only")

// TestChaos lets three processes store jobs and checkpoints while they are killed, frozen, cut off and
// lose sessions and answers. What was acknowledged must be there at the end, and nothing twice.
func TestChaos(t *testing.T) {
	first, last := uint64(1), uint64(20)
	if *chaosSeed != 0 {
		first, last = *chaosSeed, *chaosSeed
	}
	terms := 0
	for seed := first; seed <= last; seed++ {
		synctest.Test(t, func(t *testing.T) { terms += runChaos(t, seed) })
		if t.Failed() {
			t.Fatalf("replay: go test ./pkg/haservices -run TestChaos -chaos.seed=%d", seed)
		}
	}
	if runs := int(last - first + 1); runs > 1 && terms < 3*runs {
		t.Errorf("only %d terms in %d runs: too quiet to prove anything", terms, runs)
	}
}

// chaos is one run: what leaders were told that they have stored.
type chaos struct {
	*world
	random func(n int) int

	mu         sync.Mutex // guards all below
	jobs       map[id.Job]bool
	ids        map[int64]bool
	checkpoint int64
	terms      int
}

// runChaos returns how many terms of leadership there were.
func runChaos(t *testing.T, seed uint64) (terms int) {
	var mu sync.Mutex // guards r
	r := rand.New(rand.NewPCG(seed, seed))
	random := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return r.IntN(n)
	}
	c := &chaos{random: random, jobs: map[id.Job]bool{}, ids: map[int64]bool{}, world: &world{
		T: t, faults: &faults{}, files: filesystem.NewMemory(),
	}}
	c.cluster = embedded.NewCluster(embedded.Config{
		SessionTimeout: 10 * time.Second, Notice: time.Second,
		Faults: embedded.Faults{
			Outcome: c.faults.decide,
			Delay:   func(embedded.Call) time.Duration { return time.Duration(random(20)) * time.Millisecond },
		},
	})
	c.faults.set(func(embedded.Call) embedded.Outcome {
		if n := random(40); n <= int(embedded.Refuse) {
			return embedded.Outcome(n)
		}
		return embedded.Answered
	})
	c.run()
	c.verify()
	return c.terms
}

// run lasts a few minutes of virtual time.
func (c *chaos) run() {
	names := []string{"jm-1", "jm-2", "jm-3"}
	stop := map[string]func(){}
	for _, name := range names {
		stop[name] = c.start(name)
	}
	for range 60 {
		<-time.After(time.Duration(c.random(6000)) * time.Millisecond)
		name := names[c.random(len(names))]
		switch c.random(7) {
		case 0:
			c.cluster.Kill(name)
			stop[name]()
			stop[name] = c.start(name)
		case 1:
			c.cluster.Freeze(name)
		case 2:
			c.cluster.Disconnect(name)
		case 3:
			c.cluster.ExpireSession(name)
		default:
			c.cluster.Thaw(name)
			c.cluster.Reconnect(name)
		}
	}
	for _, name := range names {
		c.cluster.Thaw(name)
		c.cluster.Reconnect(name)
		stop[name]()
	}
}

// start runs a process and returns how to end it.
func (c *chaos) start(name string) (stop func()) {
	s := haservices.New(haservices.Config{Driver: c.cluster.Driver(name), FileSystem: c.files, StorageDir: "file:///ha", ClusterID: "test"})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	e := s.LeaderElection(dispatcher)
	go func() { done <- e.Run(ctx, &chaosLeader{c, s, e}) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			c.Errorf("%s: Run = %v", name, err)
		}
		if err := s.Close(context.Background()); err != nil {
			c.Error(err)
		}
	}
}

// chaosLeader stores something every now and then.
type chaosLeader struct {
	c        *chaos
	services *haservices.Services
	election *haservices.LeaderElection
}

func (l *chaosLeader) Lead(ctx context.Context, token id.FencingToken) error {
	if err := l.services.Sweep(ctx, l.election, token); err != nil {
		return err
	}
	if err := l.election.Confirm(ctx, token, "tamias://x:1/dispatcher"); err != nil {
		return err
	}
	l.c.led()
	for wave := 1; ; wave++ {
		if err := l.step(ctx, token, wave); err != nil {
			return err
		}
		select {
		case <-time.After(time.Duration(l.c.random(3000)) * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *chaosLeader) step(ctx context.Context, token id.FencingToken, wave int) error {
	n, err := l.services.CheckpointIDs(l.election, jobID).Next(ctx, token)
	if err != nil {
		return err
	}
	l.c.numbered(n)
	job := storedJob("chaos")
	job.Graph.ID = id.NewJob()
	if err := l.services.JobGraphs(l.election).Put(ctx, token, job); err != nil {
		return err
	}
	l.c.stored(job.Graph.ID)
	if err := l.services.Ledger(l.election, jobID).Put(ctx, token, ledger(wave, 50)); err != nil {
		return err
	}
	cp := completed(n)
	cp.Epoch = token.Epoch()
	store := l.services.Checkpoints(l.election, jobID)
	if err := store.Add(ctx, token, cp); err != nil {
		return err
	}
	l.c.completed(n)
	_ = store.Subsume(ctx, token, cp, 2) // the next one does it
	return nil
}

func (c *chaos) led() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.terms++
}

func (c *chaos) numbered(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ids[n] {
		c.Errorf("checkpoint ID %d was given twice", n)
	}
	c.ids[n] = true
}

func (c *chaos) stored(job id.Job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jobs[job] = true
}

func (c *chaos) completed(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checkpoint = max(c.checkpoint, n)
}

func (c *chaos) verify() {
	c.faults.set(nil)
	if err := embedded.CheckAudit(c.cluster.Audit()); err != nil {
		c.Error(err)
	}
	c.checkPointers()
	s := c.stores("judge")
	for job := range c.jobs {
		if _, err := s.graphs.Get(s.ctx, job); err != nil {
			c.Errorf("acknowledged job: %v", err)
		}
	}
	cp, err := s.checkpoints.Latest(s.ctx)
	if c.checkpoint > 0 && (err != nil || cp.ID < c.checkpoint) {
		c.Errorf("latest checkpoint is %v, %v, want %d or later", cp, err, c.checkpoint)
	}
	if _, err := s.ledger.Get(s.ctx); err != nil && !errors.Is(err, haservices.ErrNotFound) {
		c.Error(err)
	}
	if last, err := s.ids.Last(s.ctx); err != nil || last < c.checkpoint {
		c.Errorf("Last = %d, %v after checkpoint %d", last, err, c.checkpoint)
	}
	if testing.Verbose() {
		fmt.Printf("%d terms, %d jobs, %d checkpoint IDs\n", c.terms, len(c.jobs), len(c.ids))
	}
}

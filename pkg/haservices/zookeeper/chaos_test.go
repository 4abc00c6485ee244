package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/pkg/haservices"
)

// TestNetworkFaults lets three contenders count in one node while their connections are cut, held, reset
// and robbed of answers, and their sessions ended, at random. No acknowledged step of the count may be
// lost or repeated, no epoch may write after a later one, and after the faults somebody leads.
func TestNetworkFaults(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("TAMIAS_TEST_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("the same faults again: TAMIAS_TEST_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	c := newCluster(t, zkserver.Shared(t).Address())
	c.change = func(cfg *Config) {
		cfg.SessionTimeout, cfg.ProbeTimeout, cfg.ConnectionTimeout = 2*time.Second, 300*time.Millisecond, time.Second
	}
	ctx, cancel := context.WithCancel(t.Context())
	count := &counter{}
	var all []*process
	var wg sync.WaitGroup
	for range 3 {
		p := c.process()
		all = append(all, p)
		wg.Go(func() { count.run(ctx, p) })
	}
	for range 60 {
		p := all[rnd.IntN(len(all))]
		if leader := count.leader(); leader != nil && rnd.IntN(2) == 0 {
			p = leader
		}
		pause := rnd.IntN(150)
		heal := func() {}
		switch rnd.IntN(6) {
		case 0:
			p.proxy.Disconnect()
		case 1:
			p.proxy.Cut()
			heal = func() { p.proxy.Heal(t) }
		case 2:
			p.proxy.Hold()
			c.liveness.setSilent(p.me.Process, true)
			heal = func() { p.proxy.Heal(t); c.liveness.setSilent(p.me.Process, false) }
			pause *= 4
		case 3:
			p.proxy.EatAnswer([]int32{zkserver.OpCreate, zkserver.OpMulti}[rnd.IntN(2)])
		case 4:
			p.proxy.Expire(t)
		case 5:
			p.proxy.Delay(time.Duration(rnd.IntN(20)) * time.Millisecond)
			heal = func() { p.proxy.Heal(t) }
		}
		<-time.After(time.Duration(pause) * time.Millisecond)
		heal()
	}
	before := count.acknowledged()
	eventually(t, "somebody counts after the faults", func() bool { return count.acknowledged() > before+10 })
	cancel()
	wg.Wait()
	count.check(t)
}

// counter is what the contenders know of the count.
type counter struct {
	mu       sync.Mutex
	leads    *process
	steps    []step // acknowledged, in the order of the count
	problems []string
}

type step struct{ value, epoch int }

func (c *counter) acknowledged() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.steps)
}

// leader is the process that has counted last, nil before the first.
func (c *counter) leader() *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leads
}

// run leads and counts, again and again, until ctx ends.
func (c *counter) run(ctx context.Context, p *process) {
	for ctx.Err() == nil {
		term, err := p.Campaign(ctx, dispatcher, p.me)
		if err != nil {
			continue
		}
		for ctx.Err() == nil {
			err := c.step(ctx, p, term)
			if errors.Is(err, haservices.ErrNotLeader) {
				break
			}
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
			}
		}
		term.Resign(ctx)
	}
}

// step reads the count and writes the next value, with the epoch that did it.
func (c *counter) step(ctx context.Context, p *process, term haservices.Term) error {
	var was step
	w := haservices.Write{Operation: haservices.Create, Path: "count"}
	n, err := p.Read(ctx, w.Path)
	switch {
	case err == nil:
		w.Operation, w.Version = haservices.Set, n.Version
		if _, err := fmt.Sscanf(string(n.Data), "%d by epoch %d", &was.value, &was.epoch); err != nil {
			return err
		}
	case !errors.Is(err, haservices.ErrNotFound):
		select {
		case <-term.Lost():
			return haservices.ErrNotLeader
		default:
			return err
		}
	}
	now := step{was.value + 1, int(term.Token().Epoch())}
	w.Data = fmt.Appendf(nil, "%d by epoch %d", now.value, now.epoch)
	if err := term.Write(ctx, w); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if was.epoch > now.epoch {
		c.problems = append(c.problems, fmt.Sprintf("epoch %d wrote after epoch %d", now.epoch, was.epoch))
	}
	c.steps, c.leads = append(c.steps, now), p
	return nil
}

func (c *counter) check(t *testing.T) {
	for _, p := range c.problems {
		t.Error(p)
	}
	var last step
	for _, s := range c.steps {
		if s.value <= last.value || s.epoch < last.epoch {
			t.Errorf("%+v was acknowledged after %+v", s, last)
		}
		last = s
	}
	t.Logf("%d steps in %d epochs", last.value, last.epoch)
}

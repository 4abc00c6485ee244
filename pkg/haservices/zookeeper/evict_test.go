package zookeeper

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// TestFrozenLeaderIsEvicted: its process is silent, and does not answer through ZooKeeper either. Its
// session would live for half a minute.
func TestFrozenLeaderIsEvicted(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	c.change = func(cfg *Config) { cfg.SessionTimeout = 60 * time.Second }
	a, b := c.process(), c.process()
	first := c.lead(a, dispatcher)
	other := c.lead(a, haservices.Component{Kind: haservices.ResourceManager})
	next := c.contend(b, dispatcher)
	a.proxy.Hold()
	c.liveness.mute(a.me.Process)
	second := await(t, next, "the eviction")
	// What else it held is taken without another proof.
	taken := c.lead(b, other.component)
	for _, term := range []*Term{second, taken} {
		how := term.Succession()
		if how.Reason != protocol.Silent || how.Predecessor == nil || *how.Predecessor != a.me || !how.LastHeard.Before(how.Detected) {
			t.Errorf("succession of %s: %+v, want that of a silent leader", term.component, how)
		}
	}
	a.proxy.Heal(t)
	await(t, first.Lost(), "the end of the evicted term")
	await(t, other.Lost(), "the end of its other term")
	w := haservices.Write{Operation: haservices.Put, Path: "jobgraphs/a", Data: []byte("late")}
	if err := first.Write(c.context(), w); !errors.Is(err, haservices.ErrNotLeader) {
		t.Errorf("Write of the evicted = %v, want ErrNotLeader", err)
	}
	leads(t, second)

	// It contends again, and leads in its turn. What was known of it before says nothing any more.
	third := c.contend(a, dispatcher)
	outside := c.outside()
	eventually(t, "the evicted contends again", func() bool { return len(c.contenders(outside, dispatcher)) == 2 })
	c.liveness.setSilent(a.me.Process, false)
	second.Resign(c.context())
	leader := await(t, third, "the third term")
	c.contend(b, dispatcher)
	eventually(t, "its successor contends", func() bool { return len(c.contenders(outside, dispatcher)) == 2 })
	c.put(leader, "jobgraphs/a", "third")
}

// TestLeaderCutOffFromItsSuccessor: silent, but it answers through ZooKeeper. Nothing changes.
func TestLeaderCutOffFromItsSuccessor(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a, b := c.process(), c.process()
	c.liveness.mute(a.me.Process)
	term := c.lead(a, dispatcher)
	next := c.contend(b, dispatcher)
	outside := c.outside()
	answers := map[string]bool{}
	eventually(t, "the leader answers three challenges", func() bool {
		data, _, err := outside.Get(c.root + "/leaderlatch/dispatcher_lock/" + c.contenders(outside, dispatcher)[0].name)
		var n latchNode
		if err == nil && json.Unmarshal(data, &n) == nil && n.Answer != "" {
			answers[n.Answer] = true
		}
		return len(answers) == 3
	})
	leads(t, term)
	select {
	case <-next:
		t.Error("the successor leads")
	default:
	}
	c.put(term, "jobgraphs/a", "1")
}

// TestUnreachableAddress: the addresses of two contenders refuse connections although both live (a firewall,
// a wrong setting). They evict each other a few times, and not for ever.
func TestUnreachableAddress(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	outside := c.outside()
	answered := func(term *Term) bool {
		data, _, err := outside.Get(term.candidacy.node)
		var n latchNode
		return err == nil && json.Unmarshal(data, &n) == nil && n.Answer != ""
	}
	both := []*process{c.process(), c.process()}
	for _, p := range both {
		c.liveness.kill(p.me.Process)
	}
	term := c.lead(both[0], dispatcher)
	for i := 1; ; i++ {
		next, stays := c.contend(both[i%2], dispatcher), false
		eventually(t, "the leader is evicted, or has answered a challenge", func() bool {
			stays = answered(term)
			return stays || term.over()
		})
		if stays {
			break
		}
		if i > 6 {
			t.Fatal("still evicting each other")
		}
		term = await(t, next, "the next term")
	}
	leads(t, term)
	c.put(term, "jobgraphs/a", "1")
}

// TestOwnNodeOfAnEarlierSession: the node that a lost session of ours left behind does not keep us waiting.
func TestOwnNodeOfAnEarlierSession(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	c.change = func(cfg *Config) { cfg.SessionTimeout, cfg.AwaitGone = 30*time.Second, nil }
	a := c.process()
	first := c.lead(a, dispatcher)
	first.session.end(errSilent) // as if our clock had ended it; the server knows nothing
	await(t, first.Lost(), "the end of the term")
	second := c.lead(a, dispatcher)
	if second.session == first.session || second.Token().Epoch() <= first.Token().Epoch() {
		t.Errorf("epoch %d after %d, same session: %v", second.Token().Epoch(), first.Token().Epoch(), second.session == first.session)
	}
	if got := c.contenders(c.outside(), dispatcher); len(got) != 1 {
		t.Errorf("the latch has the nodes %v, want one", got)
	}
}

// TestProcessThatRefusesConnections: the same with the real RPC transport. The leader's process ends, its
// session lives on.
func TestProcessThatRefusesConnections(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	serve := func() (*rpc.GRPC, func()) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		transport := rpc.NewTransport(l, "127.0.0.1")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- transport.Serve(ctx, nil) }()
		stop := sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
		t.Cleanup(stop)
		return transport, stop
	}
	theirs, stopTheirs := serve()
	ours, _ := serve()
	c.change = func(cfg *Config) { cfg.SessionTimeout, cfg.AwaitGone = 60*time.Second, ours.AwaitGone }
	a, b := c.process(), c.process()
	a.me.Process, a.me.Address = theirs.Process(), theirs.Address()
	first := c.lead(a, dispatcher)
	next := c.contend(b, dispatcher)
	stopTheirs()
	second := await(t, next, "the eviction")
	await(t, first.Lost(), "the end of the evicted term")
	if second.Token().Epoch() != 2 {
		t.Errorf("epoch %d, want 2", second.Token().Epoch())
	}
}

// TestProcessThatLingers: a leader that is being killed is silent at first, as its process is not gone yet. Its
// successor does not wait for an answer any longer than for its end.
func TestProcessThatLingers(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	challenged := make(chan struct{})
	c.change = func(cfg *Config) {
		cfg.SessionTimeout, cfg.ProbeTimeout = 60*time.Second, 10*patience
		silent := true
		cfg.AwaitGone = func(ctx context.Context, address string, p id.Instance, silence time.Duration) error {
			if silent {
				silent = false
				return rpc.ErrSilent
			}
			close(challenged)
			return c.liveness.awaitGone(ctx, address, p, silence)
		}
	}
	a, b := c.process(), c.process()
	c.lead(a, dispatcher)
	a.proxy.Hold()
	next := c.contend(b, dispatcher)
	await(t, challenged, "the challenge")
	c.liveness.kill(a.me.Process)
	if how := await(t, next, "the eviction").Succession(); how.Reason != protocol.ProcessGone {
		t.Errorf("succession %+v, want that of a process that is gone", how)
	}
}

// TestJudgedAgainSoon: what kept us from judging a leader, or from evicting it, was about us. That it is gone is
// found out at the next try, which comes soon.
func TestJudgedAgainSoon(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	c.change = func(cfg *Config) {
		cfg.SessionTimeout, cfg.ProbeTimeout = 60*time.Second, 10*patience
		tries := 0
		cfg.AwaitGone = func(context.Context, string, id.Instance, time.Duration) error {
			if tries++; tries < 5 {
				return errors.New("no file descriptor left")
			}
			return rpc.ErrGone
		}
	}
	a, b := c.process(), c.process()
	c.lead(a, dispatcher)
	a.proxy.Hold()
	await(t, c.contend(b, dispatcher), "the eviction")
}

// TestEvictionOverASlowConnection: it takes several round trips of half a second each. It is one term, and history
// says whose.
func TestEvictionOverASlowConnection(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	c.change = func(cfg *Config) { cfg.SessionTimeout = 60 * time.Second }
	a, b := c.process(), c.process()
	first := c.lead(a, dispatcher)
	next := c.contend(b, dispatcher)
	outside := c.outside()
	eventually(t, "the successor is in line", func() bool { return len(c.contenders(outside, dispatcher)) == 2 })
	a.proxy.Hold()
	b.proxy.Delay(300 * time.Millisecond)
	c.liveness.kill(a.me.Process)
	second := await(t, next, "the eviction")
	how := second.Succession()
	if how.Epoch != first.Token().Epoch()+1 || how.Reason != protocol.ProcessGone || how.Predecessor == nil || *how.Predecessor != a.me {
		t.Errorf("succession %+v, want that of a process that is gone, in the next epoch", how)
	}
}

package resourcemanager_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/resourcemanager"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
)

var component = haservices.Component{Kind: haservices.ResourceManager}

// cluster has ResourceManagers, TaskManagers by hand, and a client.
type cluster struct {
	t      *testing.T
	net    *rpctest.Network
	ha     *embedded.Cluster
	client *rpctest.Node
	ends   map[string]func()
}

func newCluster(t *testing.T, f rpctest.Faults) *cluster {
	c := &cluster{t: t, net: rpctest.NewNetwork(f), ha: embedded.NewCluster(embedded.Config{}), ends: map[string]func(){}}
	c.client = c.net.Node("client:1")
	t.Cleanup(func() {
		for name := range c.ends {
			c.stop(name)
		}
	})
	return c
}

func (c *cluster) stop(name string) {
	c.ends[name]()
	delete(c.ends, name)
}

// run runs a service and a component until stop.
func (c *cluster) run(name string, s *rpc.Service, component func(context.Context) error, end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	rpcCtx, stopRPC := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(rpcCtx) })
	wg.Go(func() {
		defer stopRPC()
		if err := component(ctx); err != nil {
			c.t.Errorf("%s: Run = %v", name, err)
		}
	})
	c.ends[name] = func() { cancel(); wg.Wait(); end() }
}

func (c *cluster) resourceManager(name string) {
	s := rpc.NewService(c.net.Node(name + ":1"))
	ha := haservices.New(haservices.Config{Driver: c.ha.Driver(name)})
	rm := resourcemanager.New(resourcemanager.Config{
		Election: ha.LeaderElection(component), RPC: s, Log: zap.NewNop(),
		HeartbeatInterval: time.Second, HeartbeatTimeout: 5 * time.Second, JobTimeout: time.Minute,
	})
	c.run(name, s, rm.Run, func() { ha.Close(context.Background()) })
	synctest.Wait() // it contends before the next one does
}

// leader waits for the confirmed leader at that process.
func (c *cluster) leader(name string) rpc.Gateway {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	found := make(chan haservices.LeaderInformation, 16)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	d := c.ha.Driver("observer")
	wg.Go(func() { d.Observe(ctx, component, func(l haservices.LeaderInformation) { found <- l }) })
	for {
		select {
		case l := <-found:
			a, err := rpc.ParseAddress(l.Address)
			if err == nil && a.HostPort == name+":1" {
				return rpc.NewGateway(c.client, a, l.Token)
			}
		case <-ctx.Done():
			c.t.Fatalf("%s does not lead within a minute", name)
		}
	}
}

func (c *cluster) list(g rpc.Gateway) protocol.TaskManagerList {
	c.t.Helper()
	list, err := rpc.Invoke(context.Background(), g, protocol.ListTaskManagers, protocol.Empty{})
	if err != nil {
		c.t.Fatal(err)
	}
	return list
}

// taskManager grants every slot that it has.
type taskManager struct {
	node *rpctest.Node
	mu   sync.Mutex // guards all below
	protocol.SlotReport
	asked      []protocol.RequestSlotRequest
	heartbeats int
}

func (c *cluster) taskManager(name string, slots int) *taskManager {
	tm := &taskManager{node: c.net.Node(name + ":1")}
	tm.SlotReport = protocol.SlotReport{ID: id.TaskManager(name), Instance: tm.node.Process(), Slots: make([]protocol.Slot, slots), Version: 1}
	main, s := rpc.NewMainThread(), rpc.NewService(tm.node)
	e := rpc.NewEndpoint(protocol.TaskManagerEndpoint, main)
	fence := &rpc.FollowerFence{}
	rpc.Handle(e, protocol.RequestSlot, fence, func(r protocol.RequestSlotRequest) (protocol.SlotReport, error) {
		tm.mu.Lock()
		defer tm.mu.Unlock()
		tm.asked = append(tm.asked, r)
		slot := &tm.Slots[r.Slot]
		if !slot.Allocation.IsZero() && slot.Allocation != r.Allocation {
			return protocol.SlotReport{}, protocol.ErrSlotTaken
		}
		slot.Allocation, slot.Job = r.Allocation, r.Job
		tm.Version++
		return tm.SlotReport, nil
	})
	rpc.Handle(e, protocol.ResourceManagerHeartbeat, fence, func(protocol.ResourceManagerHeartbeatRequest) (protocol.SlotReport, error) {
		tm.mu.Lock()
		defer tm.mu.Unlock()
		tm.heartbeats++
		return tm.SlotReport, nil
	})
	s.Add(e)
	c.run(name, s, main.Run, func() {})
	synctest.Wait() // it serves before it registers
	return tm
}

func (tm *taskManager) register(t *testing.T, g rpc.Gateway) {
	t.Helper()
	tm.mu.Lock()
	r := protocol.RegisterTaskManagerRequest{
		ID: tm.ID, Instance: tm.Instance, Slots: tm.Slots, Version: tm.Version,
		Address: rpc.Address{HostPort: tm.node.Address(), Endpoint: protocol.TaskManagerEndpoint}.String(),
	}
	tm.mu.Unlock()
	answer, err := rpc.Invoke(context.Background(), rpc.NewGateway(tm.node, g.Address(), g.Token()), protocol.RegisterTaskManager, r)
	if err != nil || answer.HeartbeatInterval != time.Second {
		t.Fatalf("RegisterTaskManager = %+v, %v", answer, err)
	}
}

func (tm *taskManager) requests() []protocol.RequestSlotRequest {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	return append([]protocol.RequestSlotRequest(nil), tm.asked...)
}

// job registers a master and declares its requirement.
func (c *cluster) job(g rpc.Gateway, slots int, held ...id.Allocation) id.Job {
	c.t.Helper()
	job, token := id.NewJob(), id.NewFencingToken(1)
	c.declare(g, job, token, slots, held...)
	return job
}

func (c *cluster) declare(g rpc.Gateway, job id.Job, token id.FencingToken, slots int, held ...id.Allocation) {
	c.t.Helper()
	ctx := context.Background()
	if _, err := rpc.Invoke(ctx, g, protocol.RegisterJobMaster, protocol.RegisterJobMasterRequest{Job: job, Token: token}); err != nil {
		c.t.Fatal(err)
	}
	if _, err := rpc.Invoke(ctx, g, protocol.DeclareRequirements,
		protocol.DeclareRequirementsRequest{Job: job, Token: token, Slots: slots, Held: held}); err != nil {
		c.t.Fatal(err)
	}
}

func pass(d time.Duration) { <-time.After(d) }

func TestCallsAreFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, rpctest.Faults{})
		c.resourceManager("jm-1")
		first := c.leader("jm-1")
		c.resourceManager("jm-2")
		c.ha.ExpireSession("jm-1")
		second := c.leader("jm-2")
		pass(time.Second)
		call := func(at rpc.Gateway, token id.FencingToken) error {
			_, err := rpc.Invoke(t.Context(), rpc.NewGateway(c.client, at.Address(), token), protocol.ListTaskManagers, protocol.Empty{})
			return err
		}
		for _, tc := range []struct {
			name  string
			at    rpc.Gateway
			token id.FencingToken
			want  error
		}{
			{"leader", second, second.Token(), nil},
			{"leader, token of the last term", second, first.Token(), rpc.ErrFenced},
			{"leader, no token", second, id.FencingToken{}, rpc.ErrFenced},
			{"deposed, its own token", first, first.Token(), rpc.ErrFenced},
			{"deposed, the leader's token", first, second.Token(), rpc.ErrFenced},
		} {
			if err := call(tc.at, tc.token); !errors.Is(err, tc.want) {
				t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
			}
		}
	})
}

func TestNewLeaderMovesNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, rpctest.Faults{})
		c.resourceManager("jm-1")
		g := c.leader("jm-1")
		tms := []*taskManager{c.taskManager("tm-1", 2), c.taskManager("tm-2", 2)}
		for _, tm := range tms {
			tm.register(t, g)
		}
		job := c.job(g, 3)
		pass(time.Second)
		if a, b := len(tms[0].requests()), len(tms[1].requests()); a+b != 3 || a == 0 || b == 0 {
			t.Fatalf("%d and %d slots were asked for, want 3 on both", a, b)
		}
		var held []id.Allocation
		for _, tm := range tms {
			for _, r := range tm.requests() {
				held = append(held, r.Allocation)
			}
		}
		c.resourceManager("jm-2")
		c.stop("jm-1")
		g = c.leader("jm-2")
		// The master is the first to be heard, a hungry job the second, then one TaskManager, much later the other.
		c.declare(g, job, id.NewFencingToken(1), 3, held...)
		hungry := c.job(g, 2)
		tms[0].register(t, g)
		pass(20 * time.Second)
		c.declare(g, job, id.NewFencingToken(2), 3, held...)
		tms[1].register(t, g)
		pass(20 * time.Second)
		if a, b := len(tms[0].requests()), len(tms[1].requests()); a+b != 3 {
			t.Errorf("%d slots were asked for, want no more than the first 3", a+b)
		}
		missing := c.list(g).Missing
		if len(missing) != 1 || missing[0].Job != hungry || missing[0].Slots != 2 {
			t.Errorf("missing slots are %v, want 2 of the hungry job", missing)
		}
	})
}

// TestALeaderThatHearsNobodyHandsOver: it is cut off from all TaskManagers, and another process may not be.
func TestALeaderThatHearsNobodyHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, rpctest.Faults{})
		c.resourceManager("jm-1")
		c.resourceManager("jm-2")
		first := c.leader("jm-1")
		tms := []*taskManager{c.taskManager("tm-1", 1), c.taskManager("tm-2", 1)}
		for _, tm := range tms {
			tm.register(t, first)
			pass(700 * time.Millisecond)
			c.net.Cut("jm-1:1", string(tm.ID)+":1")
		}
		second := c.leader("jm-2")
		for _, tm := range tms {
			tm.register(t, second)
		}
		// They are lost to the second leader one after the other, so it has no reason to blame itself.
		for i, tm := range tms {
			c.net.Cut("jm-2:1", string(tm.ID)+":1")
			if i == 0 {
				pass(10 * time.Second)
				if n := len(c.list(second).TaskManagers); n != 1 {
					t.Errorf("%d task managers are known to the second leader, want the other one", n)
				}
			}
		}
	})
}

func TestLossOfTaskManagers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, rpctest.Faults{})
		c.resourceManager("jm-1")
		g := c.leader("jm-1")
		c.taskManager("bystander", 1).register(t, g) // without it the leader would blame itself
		known := func() int { return len(c.list(g).TaskManagers) - 1 }
		for _, tc := range []struct {
			name       string
			fault      func(tm string)
			used       bool          // its slot is in use
			after      time.Duration // from the registration to the fault
			soon, late int           // known after a moment, and after the heartbeat timeout
		}{
			{"killed, in use", func(tm string) { c.net.Kill(tm + ":1") }, true, 0, 0, 0},
			{"killed, idle", func(tm string) { c.net.Kill(tm + ":1") }, false, 2 * time.Second, 0, 0}, // after the first heartbeat
			{"stopped", func(tm string) { c.stop(tm) }, true, 0, 0, 0},
			{"cut off", func(tm string) { c.net.Cut("jm-1:1", tm+":1") }, true, 0, 1, 0},
			{"frozen", func(tm string) { c.net.Freeze(tm + ":1") }, true, 0, 1, 0},
			{"frozen for a moment", func(tm string) {
				c.net.Freeze(tm + ":1")
				time.AfterFunc(4*time.Second, func() { c.net.Thaw(tm + ":1") })
			}, true, 0, 1, 1},
		} {
			tm := c.taskManager("tm-"+tc.name, 1)
			if tc.used {
				tm.Slots[0] = protocol.Slot{Allocation: id.NewAllocation(), Job: id.NewJob()}
			}
			tm.register(t, g)
			pass(tc.after)
			tc.fault(string(tm.ID))
			pass(100 * time.Millisecond)
			if got := known(); got != tc.soon {
				t.Errorf("%s: %d task managers known after a moment, want %d", tc.name, got, tc.soon)
			}
			pass(10 * time.Second)
			if got := known(); got != tc.late {
				t.Errorf("%s: %d task managers known after the timeout, want %d", tc.name, got, tc.late)
			}
			rpc.Invoke(t.Context(), g, protocol.DisconnectTaskManager,
				protocol.DisconnectTaskManagerRequest{ID: tm.ID, Instance: tm.Instance})
		}
	})
}

func TestAnotherProcessReplacesATaskManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, rpctest.Faults{})
		c.resourceManager("jm-1")
		g := c.leader("jm-1")
		old := c.taskManager("tm-1", 1)
		old.register(t, g)
		c.stop("tm-1")
		second := c.taskManager("tm-1", 3)
		second.register(t, g)
		pass(time.Second)
		_, err := rpc.Invoke(t.Context(), g, protocol.ReportSlots, old.SlotReport)
		if !errors.Is(err, protocol.ErrUnknownTaskManager) {
			t.Errorf("ReportSlots of the first process = %v, want %v", err, protocol.ErrUnknownTaskManager)
		}
		list := c.list(g).TaskManagers
		if len(list) != 1 || len(list[0].Slots) != 3 {
			t.Errorf("known are %v, want one with 3 slots", list)
		}
	})
}

func TestLostAnswersLeaseOneSlotOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lose := 3
		c := newCluster(t, rpctest.Faults{LoseAnswer: func(_, _, method string) bool {
			if method != protocol.RequestSlot.Method || lose == 0 {
				return false
			}
			lose--
			return true
		}})
		c.resourceManager("jm-1")
		g := c.leader("jm-1")
		tm := c.taskManager("tm-1", 4)
		tm.register(t, g)
		c.job(g, 1)
		pass(10 * time.Second)
		asked := tm.requests()
		if len(asked) != 4 {
			t.Errorf("asked %d times, want 4", len(asked))
		}
		for _, r := range asked {
			if r != asked[0] {
				t.Errorf("asked for %v and %v, want the same each time", asked[0], r)
			}
		}
	})
}

func TestSilentMasters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, rpctest.Faults{})
		c.resourceManager("jm-1")
		g := c.leader("jm-1")
		job := c.job(g, 1)
		pass(10 * time.Second)
		tm := c.taskManager("tm-1", 1)
		tm.register(t, g)
		pass(10 * time.Second)
		if n := len(tm.requests()); n != 0 {
			t.Errorf("%d slots leased for a silent master, want 0", n)
		}
		if missing := c.list(g).Missing; len(missing) != 1 {
			t.Errorf("missing is %v, want the requirement of the silent master", missing)
		}
		c.declare(g, job, id.NewFencingToken(2), 1)
		pass(time.Second)
		if n := len(tm.requests()); n != 1 {
			t.Errorf("%d slots leased for a master that is back, want 1", n)
		}
		pass(2 * time.Minute)
		if _, err := rpc.Invoke(t.Context(), g, protocol.DisconnectJobMaster,
			protocol.DisconnectJobMasterRequest{Job: job, Token: id.NewFencingToken(1)}); err != nil {
			t.Errorf("the job is still known after the job timeout: %v", err)
		}
	})
}

func TestLosingLeadershipSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards sent
		sent := map[string]int{}
		c := newCluster(t, rpctest.Faults{LoseAnswer: func(from, _, method string) bool {
			mu.Lock()
			defer mu.Unlock()
			if from == "jm-1:1" {
				sent[method]++
			}
			return false
		}})
		c.resourceManager("jm-1")
		g := c.leader("jm-1")
		tm := c.taskManager("tm-1", 1)
		tm.register(t, g)
		c.job(g, 1)
		pass(500 * time.Millisecond)
		mu.Lock()
		clear(sent)
		mu.Unlock()
		c.stop("jm-1")
		mu.Lock()
		defer mu.Unlock()
		if len(sent) != 0 {
			t.Errorf("sent %v on the way out, want nothing", sent)
		}
	})
}

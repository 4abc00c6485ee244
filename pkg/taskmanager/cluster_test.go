package taskmanager_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/resourcemanager"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
	"github.com/tamias-project/tamias/pkg/taskmanager"
	"github.com/tamias-project/tamias/pkg/taskmanager/taskmanagertest"
)

const (
	heartbeatInterval = time.Second
	heartbeatTimeout  = 5 * time.Second
)

// cluster is a simulated one: real ResourceManagers and TaskManagers, masters by hand, tasks that only
// pretend. All of it lives in one bubble.
type cluster struct {
	t     *testing.T
	net   *rpctest.Network
	ha    *embedded.Cluster
	tasks *taskmanagertest.Tasks
	nodes map[string]*node
}

// node is one process.
type node struct {
	address  string
	rpc      *rpc.Service
	services *haservices.Services
	log      *zap.Logger
	end      func()
	result   chan error // of the component's Run
}

func newCluster(t *testing.T, faults rpctest.Faults, tasks taskmanagertest.Config) *cluster {
	c := &cluster{
		t: t, net: rpctest.NewNetwork(faults), ha: embedded.NewCluster(embedded.Config{}),
		tasks: taskmanagertest.New(tasks), nodes: map[string]*node{},
	}
	t.Cleanup(func() {
		for name := range c.nodes {
			c.stop(name)
		}
		if v := c.tasks.Violations(); len(v) > 0 {
			t.Errorf("violations: %q", v)
		}
		if n := c.tasks.Processes(id.Job{}); n != 0 {
			t.Errorf("%d job processes are left", n)
		}
	})
	return c
}

// start runs a process that consists of one component.
func (c *cluster) start(name string, component func(*node) func(context.Context) error) *node {
	n := &node{address: name + ":6123", result: make(chan error, 1)}
	n.rpc = rpc.NewService(c.net.Node(n.address))
	n.log = zaptest.NewLogger(c.t, zaptest.Level(zap.ErrorLevel)).Named(name)
	n.services = haservices.New(haservices.Config{Driver: c.ha.Driver(name), Log: n.log})
	run := component(n)
	ctx, cancel := context.WithCancel(context.Background())
	rpcCtx, stopRPC := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { n.rpc.Run(rpcCtx) })
	wg.Go(func() {
		defer stopRPC()
		n.result <- run(ctx)
	})
	n.end = func() {
		cancel()
		wg.Wait()
		n.services.Close(context.Background())
	}
	c.nodes[name] = n
	return n
}

// stop ends a process in order; kill as SIGKILL would.
func (c *cluster) stop(name string) {
	n := c.nodes[name]
	delete(c.nodes, name)
	n.end()
}

func (c *cluster) kill(name string) {
	c.net.Kill(c.nodes[name].address)
	c.ha.Kill(name)
	c.stop(name)
}

func (c *cluster) freeze(name string) { c.net.Freeze(c.nodes[name].address); c.ha.Freeze(name) }
func (c *cluster) thaw(name string)   { c.net.Thaw(c.nodes[name].address); c.ha.Thaw(name) }

func (c *cluster) resourceManager(name string) *node {
	return c.start(name, func(n *node) func(context.Context) error {
		return resourcemanager.New(resourcemanager.Config{
			Election: n.services.LeaderElection(haservices.Component{Kind: haservices.ResourceManager}),
			RPC:      n.rpc, Log: n.log, HeartbeatInterval: heartbeatInterval, HeartbeatTimeout: heartbeatTimeout,
		}).Run
	})
}

func (c *cluster) taskManager(name string, slots int) *taskmanager.TaskManager {
	var tm *taskmanager.TaskManager
	c.start(name, func(n *node) func(context.Context) error {
		tm = taskmanager.New(taskmanager.Config{
			ID: id.TaskManager(name), Slots: slots, Services: n.services, RPC: n.rpc, Log: n.log,
			Launcher: c.tasks.Launcher(id.TaskManager(name)),
		})
		return tm.Run
	})
	return tm
}

// await lets time pass until ok.
func (c *cluster) await(what string, ok func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: not within a minute", what)
		}
		pass(10 * time.Millisecond)
	}
}

// pass lets time pass in the bubble.
func pass(d time.Duration) { <-time.After(d) }

// twoVertices is a source and a sink, each with that parallelism.
func twoVertices(parallelism int) jobgraph.JobGraph {
	g := jobgraph.JobGraph{ID: id.NewJob(), Name: "test"}
	for i := range 2 {
		g.Vertices = append(g.Vertices, jobgraph.Vertex{
			ID: id.Vertex{byte(i + 1)}, Parallelism: parallelism, Source: i == 0, Operators: []jobgraph.Operator{{UID: fmt.Sprint(i)}},
		})
	}
	return g
}

// master is a JobMaster that does what the test says, and remembers what it was told.
type master struct {
	c     *cluster
	node  *node
	graph jobgraph.JobGraph
	main  *rpc.MainThread
	e     *haservices.LeaderElection

	mu            sync.Mutex // guards all below
	fence         rpc.LeaderFence
	token         id.FencingToken
	gateways      map[id.TaskManager]rpc.Gateway
	registrations []protocol.RegisterAtJobMasterRequest
	states        []protocol.Execution
	acks          []protocol.AcknowledgeCheckpointRequest
	slots         map[id.Allocation]id.TaskManager
	declare       int
	answer        protocol.RegisteredAtJobMaster
}

func (c *cluster) master(name string, graph jobgraph.JobGraph) *master {
	m := &master{
		c: c, graph: graph, main: rpc.NewMainThread(), declare: graph.Slots(),
		gateways: map[id.TaskManager]rpc.Gateway{}, slots: map[id.Allocation]id.TaskManager{},
	}
	c.start(name, func(n *node) func(context.Context) error {
		m.e = n.services.LeaderElection(haservices.JobMaster(graph.ID))
		m.node = n
		endpoint := rpc.NewEndpoint(fmt.Sprintf("%s/%s", protocol.JobMasterEndpoint, graph.ID), m.main)
		m.calls(endpoint)
		n.rpc.Add(endpoint)
		return func(ctx context.Context) error {
			mainCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
			var wg sync.WaitGroup
			defer wg.Wait()
			defer stop()
			wg.Go(func() { m.main.Run(mainCtx) })
			return m.e.Run(ctx, m)
		}
	})
	return m
}

// locked makes the fence safe for tests that look at it.
func (m *master) Check(token id.FencingToken, r any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fence.Check(token, r)
}

func (m *master) calls(e *rpc.Endpoint) {
	rpc.Handle(e, protocol.RegisterAtJobMaster, m, func(r protocol.RegisterAtJobMasterRequest) (protocol.RegisteredAtJobMaster, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.registrations = append(m.registrations, r)
		m.states = append(m.states, r.Report.Executions...)
		for _, a := range r.Report.Allocations {
			m.slots[a] = r.TaskManager
		}
		g, err := m.node.rpc.Gateway(r.Address, m.token)
		m.gateways[r.TaskManager] = g
		answer := m.answer
		answer.HeartbeatInterval, answer.HeartbeatTimeout = heartbeatInterval, heartbeatTimeout
		answer.Process = m.node.rpc.Transport().Process()
		return answer, err
	})
	rpc.Handle(e, protocol.OfferSlots, m, func(r protocol.OfferSlotsRequest) (protocol.OfferedSlots, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		var answer protocol.OfferedSlots
		for _, a := range r.Allocations {
			if _, held := m.slots[a]; !held && len(m.slots) >= m.declare {
				answer.Rejected = append(answer.Rejected, a)
				continue
			}
			m.slots[a] = r.TaskManager
		}
		return answer, nil
	})
	rpc.Handle(e, protocol.TaskStateChanged, m, func(r protocol.TaskStateChangedRequest) (protocol.Empty, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.states = append(m.states, r.Executions...)
		return protocol.Empty{}, nil
	})
	rpc.Handle(e, protocol.AcknowledgeCheckpoint, m, func(r protocol.AcknowledgeCheckpointRequest) (protocol.Empty, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.acks = append(m.acks, r)
		return protocol.Empty{}, nil
	})
	rpc.Handle(e, protocol.DeclineCheckpoint, m, func(protocol.DeclineCheckpointRequest) (protocol.Empty, error) {
		return protocol.Empty{}, nil
	})
}

// Lead implements haservices.LeaderContender.
func (m *master) Lead(ctx context.Context, token id.FencingToken) error {
	m.mu.Lock()
	m.fence.Grant(token)
	m.token = token
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.fence.Revoke()
	}()
	if err := m.e.Confirm(ctx, token, m.node.rpc.Address(fmt.Sprintf("%s/%s", protocol.JobMasterEndpoint, m.graph.ID))); err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	leaders := haservices.NewLeaderChannel()
	wg.Go(func() {
		m.node.services.LeaderRetrieval(haservices.Component{Kind: haservices.ResourceManager}).Run(ctx, leaders)
	})
	tick := time.NewTicker(heartbeatInterval / 4)
	defer tick.Stop()
	var rm rpc.Gateway
	for {
		select {
		case <-ctx.Done():
			return nil
		case l := <-leaders.C():
			if !l.IsEmpty() {
				rm, _ = m.node.rpc.Gateway(l.Address, l.Token)
			}
		case <-tick.C:
		}
		to := rm
		wg.Go(func() { m.beat(ctx, to) })
	}
}

// beat declares requirements and beats to every TaskManager.
func (m *master) beat(ctx context.Context, rm rpc.Gateway) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatInterval)
	defer cancel()
	m.mu.Lock()
	declare := protocol.DeclareRequirementsRequest{Job: m.graph.ID, Token: m.token, Slots: m.declare}
	for a := range m.slots {
		declare.Held = append(declare.Held, a)
	}
	var gateways []rpc.Gateway
	for _, g := range m.gateways {
		gateways = append(gateways, g)
	}
	token := m.token
	m.mu.Unlock()
	for _, g := range gateways {
		rpc.Invoke(ctx, g, protocol.JobMasterHeartbeat, protocol.JobMasterHeartbeatRequest{Job: m.graph.ID})
	}
	if rm == (rpc.Gateway{}) {
		return
	}
	_, err := rpc.Invoke(ctx, rm, protocol.DeclareRequirements, declare)
	if errors.Is(err, protocol.ErrUnknownJobMaster) {
		rpc.Invoke(ctx, rm, protocol.RegisterJobMaster, protocol.RegisterJobMasterRequest{Job: m.graph.ID, Token: token, Address: "test"})
	}
}

// held counts the slots that the master has.
func (m *master) held() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.slots)
}

func (m *master) gateway(tm id.TaskManager) rpc.Gateway {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gateways[tm]
}

// forget lets the master forget a TaskManager's slots, as it would after its loss.
func (m *master) forget(tm id.TaskManager) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.gateways, tm)
	for a, at := range m.slots {
		if at == tm {
			delete(m.slots, a)
		}
	}
}

// deploy prepares every TaskManager and deploys subtask i of all vertices into slot i, as attempts of that
// number.
func (m *master) deploy(ctx context.Context, attempt int) {
	m.c.t.Helper()
	m.c.await("slots", func() bool { return m.held() == m.declare })
	tasks, i := map[id.TaskManager][]protocol.TaskDeployment{}, 0
	m.mu.Lock()
	for _, a := range slices.SortedFunc(maps.Keys(m.slots), func(a, b id.Allocation) int { return slices.Compare(a[:], b[:]) }) {
		tm := m.slots[a]
		for _, v := range m.graph.Vertices {
			if i < v.Parallelism {
				tasks[tm] = append(tasks[tm], protocol.TaskDeployment{
					Attempt: id.ExecutionAttempt{Vertex: v.ID, Subtask: i, Attempt: attempt}, Allocation: a,
				})
			}
		}
		i++
	}
	m.mu.Unlock()
	for tm, deployments := range tasks {
		m.c.await("registration of "+string(tm), func() bool { return m.gateway(tm) != (rpc.Gateway{}) })
		prepared, err := again(ctx, m.gateway(tm), protocol.PrepareJob, protocol.PrepareJobRequest{Job: m.graph.ID, Graph: m.graph})
		if err != nil || prepared.DataAddress == "" {
			m.c.t.Fatalf("PrepareJob at %s = %v, %v", tm, prepared, err)
		}
		if _, err := again(ctx, m.gateway(tm), protocol.DeployTasks, protocol.DeployTasksRequest{Job: m.graph.ID, Tasks: deployments}); err != nil {
			m.c.t.Fatalf("DeployTasks at %s: %v", tm, err)
		}
	}
}

// again repeats a call for as long as its answer is lost.
func again[Req, Resp any](ctx context.Context, g rpc.Gateway, call protocol.Call[Req, Resp], r Req) (Resp, error) {
	for {
		answer, err := rpc.Invoke(ctx, g, call, r)
		if !errors.Is(err, rpc.ErrUnreachable) || g.Address().Endpoint == protocol.ResourceManagerEndpoint && refused(err) {
			return answer, err
		}
		pass(10 * time.Millisecond)
	}
}

// refused: the process is not there, so repeating the call makes no sense.
func refused(err error) bool { return strings.Contains(err.Error(), "refused") }

// seen returns the states that the master was told of an attempt, in order.
func (m *master) seen(a id.ExecutionAttempt) []protocol.TaskState {
	m.mu.Lock()
	defer m.mu.Unlock()
	var seen []protocol.TaskState
	for _, x := range m.states {
		if x.Attempt == a {
			seen = append(seen, x.State)
		}
	}
	return seen
}

// reports returns the registrations so far.
func (m *master) reports() []protocol.RegisterAtJobMasterRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]protocol.RegisterAtJobMasterRequest(nil), m.registrations...)
}

// taskManagers asks the leading ResourceManager.
func (c *cluster) taskManagers(asker *master) (list protocol.TaskManagerList) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	leaders := haservices.NewLeaderChannel()
	var wg sync.WaitGroup
	wg.Go(func() {
		asker.node.services.LeaderRetrieval(haservices.Component{Kind: haservices.ResourceManager}).Run(ctx, leaders)
	})
	defer wg.Wait()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			c.t.Fatal("no resource manager")
		case l := <-leaders.C():
			if l.IsEmpty() {
				continue
			}
			g, err := asker.node.rpc.Gateway(l.Address, l.Token)
			if err != nil {
				c.t.Fatal(err)
			}
			if list, err := again(ctx, g, protocol.ListTaskManagers, protocol.Empty{}); err == nil {
				return list
			}
		}
	}
}

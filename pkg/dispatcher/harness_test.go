package dispatcher

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/filesystem/fstest"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
)

// world is a cluster of Dispatchers in one synctest bubble, with what outlives them.
type world struct {
	t       *testing.T
	cluster *embedded.Cluster
	files   *filesystem.Memory
	network *rpctest.Network
	jobs    *jobs
	client  *rpc.Service
	view    haservices.Driver // reads nodes for the test
	// slow, if not nil, keeps deletions of files waiting until it is closed. Set before there are processes.
	slow chan struct{}
}

func newWorld(t *testing.T, cfg embedded.Config) *world {
	w := &world{
		t:       t,
		cluster: embedded.NewCluster(cfg),
		files:   filesystem.NewMemory(),
		network: rpctest.NewNetwork(rpctest.Faults{}),
		jobs:    &jobs{jobs: map[id.Job]*fakeJob{}},
	}
	w.client = rpc.NewService(w.network.Node("client:1"))
	w.view = w.cluster.Driver("test")
	t.Cleanup(func() { w.view.Close() })
	return w
}

// process is one JobManager, as far as its Dispatcher goes.
type process struct {
	w        *world
	name     string
	services *haservices.Services
	stop     context.CancelFunc
	ended    chan error
	stopped  chan struct{} // closed by Config.Stop
	killed   bool
}

func (w *world) start(name string, change ...func(*Config)) *process {
	w.t.Helper()
	node := w.network.Node(name + ":6123")
	service := rpc.NewService(node)
	p := &process{w: w, name: name, ended: make(chan error, 1), stopped: make(chan struct{})}
	p.services = haservices.New(haservices.Config{
		Driver: w.cluster.Driver(name), FileSystem: fstest.SlowDeletes{FileSystem: w.files, Go: w.slow}, StorageDir: "/ha", ClusterID: "test",
		Me: haservices.Contender{Process: node.Process(), Address: node.Address()}, Log: zap.NewNop(),
	})
	cfg := Config{
		Services: p.services, Election: p.services.LeaderElection(haservices.Component{Kind: haservices.Dispatcher}),
		RPC: service, CheckpointDir: "/checkpoints", Stop: sync.OnceFunc(func() { close(p.stopped) }), Log: zap.NewNop(),
	}
	cfg.NewJobMaster = func(job haservices.StoredJob, conclude func(context.Context, protocol.JobDetails) error) JobMaster {
		return &fakeMaster{jobs: w.jobs, process: name, job: job, conclude: conclude}
	}
	for _, f := range change {
		f(&cfg)
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	d := New(cfg)
	var serving sync.WaitGroup
	serving.Go(func() { service.Run(ctx) })
	go func() {
		err := d.Run(ctx)
		serving.Wait()
		p.ended <- errors.Join(err, p.services.Close(context.Background()))
	}()
	w.t.Cleanup(p.kill)
	return p
}

// kill ends the process as SIGKILL would.
func (p *process) kill() {
	if p.killed {
		return
	}
	p.killed = true
	p.w.cluster.Kill(p.name)
	p.w.network.Kill(p.name + ":6123")
	p.stop()
	<-p.ended
}

// terminate ends the process in order.
func (p *process) terminate() {
	p.w.t.Helper()
	p.killed = true
	p.stop()
	if err := <-p.ended; err != nil {
		p.w.t.Errorf("process %s ended with %v", p.name, err)
	}
}

// leader waits for a Dispatcher that leads.
func (w *world) leader(ctx context.Context) (rpc.Gateway, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := make(chan haservices.LeaderInformation, 1)
	go w.view.Observe(ctx, haservices.Component{Kind: haservices.Dispatcher}, func(l haservices.LeaderInformation) {
		if !l.IsEmpty() {
			select {
			case found <- l:
			default:
			}
		}
	})
	select {
	case l := <-found:
		return w.client.Gateway(l.Address, l.Token)
	case <-ctx.Done():
		return rpc.Gateway{}, ctx.Err()
	}
}

// invoke calls the leader, again and again while there is none.
func invoke[Req, Resp any](w *world, call protocol.Call[Req, Resp], req Req) (Resp, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute)
	defer cancel()
	for {
		gateway, err := w.leader(ctx)
		if err != nil {
			w.t.Fatalf("%s: no leader: %v", call.Method, err)
		}
		once, cancel := context.WithTimeout(ctx, time.Second)
		resp, err := rpc.Invoke(once, gateway, call, req)
		cancel()
		var again bool
		for _, e := range []error{rpc.ErrFenced, rpc.ErrStopped, rpc.ErrUnreachable, rpc.ErrNoEndpoint, protocol.ErrNotReady,
			haservices.ErrNotLeader, context.DeadlineExceeded, context.Canceled} {
			again = again || errors.Is(err, e)
		}
		if !again {
			return resp, err
		}
		sleep(ctx, 10*time.Millisecond)
	}
}

// upload stores a binary for the graph through any process's store.
func (w *world) upload(g *jobgraph.JobGraph) {
	w.t.Helper()
	content := []byte("binary of " + g.ID.String())
	sum := sha256.Sum256(content)
	g.Binary = jobgraph.Binary{Key: hex.EncodeToString(sum[:]), Size: int64(len(content))}
	services := haservices.New(haservices.Config{Driver: w.view, FileSystem: w.files, StorageDir: "/ha", ClusterID: "test"})
	if err := services.Blobs().Put(w.t.Context(), g.ID, g.Binary.Key, bytes.NewReader(content)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) submit(g jobgraph.JobGraph) error {
	w.t.Helper()
	_, err := invoke(w, protocol.SubmitJob, protocol.SubmitJobRequest{Graph: g})
	return err
}

// submitted is a job that the leader has taken.
func (w *world) submitted(name string) jobgraph.JobGraph {
	w.t.Helper()
	g := graphOf(name)
	w.upload(&g)
	if err := w.submit(g); err != nil {
		w.t.Fatalf("SubmitJob: %v", err)
	}
	return g
}

func (w *world) details(job id.Job) protocol.JobDetails {
	w.t.Helper()
	d, err := invoke(w, protocol.DescribeJob, protocol.DescribeJobRequest{Job: job})
	if err != nil {
		w.t.Fatalf("DescribeJob: %v", err)
	}
	return d
}

func (w *world) list() map[id.Job]protocol.JobOverview {
	w.t.Helper()
	list, err := invoke(w, protocol.ListJobs, protocol.Empty{})
	if err != nil {
		w.t.Fatalf("ListJobs: %v", err)
	}
	by := map[id.Job]protocol.JobOverview{}
	for _, o := range list.Jobs {
		by[o.ID] = o
	}
	return by
}

// leftovers lists nodes and files that belong to jobs, results excepted. The mark of the owner stays.
func (w *world) leftovers() (all []string) {
	w.t.Helper()
	for _, parent := range []string{"jobgraphs", "jobs", "leader", "leaderlatch"} {
		names, err := w.view.Children(w.t.Context(), parent)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, name := range names {
			if _, err := id.ParseJob(name); err == nil {
				all = append(all, parent+"/"+name)
			}
		}
	}
	for _, file := range w.files.Files() {
		if !strings.Contains(file, "/job-results/") && !strings.HasSuffix(file, "/owner") {
			all = append(all, file)
		}
	}
	return all
}

// settle lets d of virtual time pass.
func settle(d time.Duration) {
	sleep(context.Background(), d) // virtual time: this is a bubble
	synctest.Wait()
}

func graphOf(name string) jobgraph.JobGraph {
	source, sink := id.Vertex{1}, id.Vertex{2}
	return jobgraph.JobGraph{
		ID: id.NewJob(), Name: name, MaxParallelism: 128, DefaultParallelism: 2,
		Vertices: []jobgraph.Vertex{
			{ID: source, Name: "numbers", Parallelism: 2, Source: true, Operators: []jobgraph.Operator{{UID: "a", Name: "numbers"}}},
			{ID: sink, Name: "files", Parallelism: 2, Operators: []jobgraph.Operator{{UID: "b", Name: "files"}}},
		},
		Edges:         []jobgraph.Edge{{From: source, To: sink, Partition: jobgraph.Hash}},
		Checkpointing: jobgraph.Checkpointing{Interval: time.Second},
		Binary:        jobgraph.Binary{Key: strings.Repeat("ab", 32), Size: 1},
	}
}

// submitOnce makes one call and forgets its answer.
func submitOnce(w *world, gateway rpc.Gateway, g jobgraph.JobGraph) {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
	defer cancel()
	rpc.Invoke(ctx, gateway, protocol.SubmitJob, protocol.SubmitJobRequest{Graph: g})
}

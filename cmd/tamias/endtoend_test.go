package main

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/dispatcher"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rest"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
)

// jobManager is a Dispatcher and a REST endpoint, as in a JobManager process, on HA services and RPC in
// memory.
type jobManager struct {
	stop  context.CancelFunc
	ended sync.WaitGroup
}

// steadyMaster runs a job until finish is closed.
type steadyMaster struct {
	job      haservices.StoredJob
	conclude func(context.Context, protocol.JobDetails) error
	running  chan<- string // told the name of the process
	process  string
	finish   <-chan struct{}
}

func (m *steadyMaster) Run(ctx context.Context) error {
	select {
	case m.running <- m.process:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-m.finish:
		d, err := m.Details(ctx)
		if err != nil {
			return err
		}
		d.Overview.State, d.Overview.End = protocol.JobFinished, time.Now()
		return m.conclude(ctx, d)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *steadyMaster) Release(context.Context) error { return nil }
func (m *steadyMaster) Cancel(context.Context) error  { return nil }

func (m *steadyMaster) Details(context.Context) (protocol.JobDetails, error) {
	return protocol.JobDetails{
		Overview: protocol.JobOverview{
			ID: m.job.Graph.ID, Name: m.job.Graph.Name, State: protocol.JobRunning, Start: m.job.Submitted,
			Tasks: map[protocol.TaskState]int{protocol.Running: 1},
		},
		Graph: m.job.Graph,
	}, nil
}

func startJobManager(t *testing.T, name string, backend *embedded.Cluster, network *rpctest.Network, files filesystem.FileSystem,
	running chan<- string, finish <-chan struct{}) *jobManager {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	services := haservices.New(haservices.Config{Driver: backend.Driver(name), FileSystem: files, StorageDir: "/ha"})
	service := rpc.NewService(network.Node(name + ":6123"))
	d := dispatcher.New(dispatcher.Config{
		Services: services, Election: services.LeaderElection(haservices.Component{Kind: haservices.Dispatcher}), RPC: service,
		NewJobMaster: func(job haservices.StoredJob, conclude func(context.Context, protocol.JobDetails) error) dispatcher.JobMaster {
			return &steadyMaster{job, conclude, running, name, finish}
		},
		Stop: func() {}, Log: zap.NewNop(),
	})
	r := rest.New(rest.Config{
		Services: services, RPC: service, Uploads: services.Blobs(), Listener: listener,
		BaseURL: "http://" + listener.Addr().String(), Log: zap.NewNop(),
	})
	ctx, stop := context.WithCancel(context.Background())
	jm := &jobManager{stop: stop}
	for _, f := range []func(context.Context) error{service.Run, d.Run, r.Run} {
		jm.ended.Go(func() {
			if err := f(ctx); err != nil {
				t.Errorf("job manager %s: %v", name, err)
			}
		})
	}
	t.Cleanup(func() {
		jm.end()
		if err := services.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return jm
}

func (jm *jobManager) end() {
	jm.stop()
	jm.ended.Wait()
}

// A job is submitted to a real Dispatcher through a real REST endpoint; the leader goes while the client
// waits; the job ends under the next one.
func TestRunOverALeaderChange(t *testing.T) {
	backend, network, files := embedded.NewCluster(embedded.Config{}), rpctest.NewNetwork(rpctest.Faults{}), filesystem.NewMemory()
	running, finish := make(chan string), make(chan struct{})
	managers := map[string]*jobManager{}
	for _, name := range []string{"a", "b"} {
		managers[name] = startJobManager(t, name, backend, network, files, running, finish)
	}
	f := follow(backend.Driver("client"), time.Minute)
	defer f.close()
	c := &client{locator: f, http: newCluster(t).server.Client(), attempts: 100, delay: 10 * time.Millisecond}
	var stdout, progress bytes.Buffer
	commands := &cli{stdout: &stdout, stderr: &progress}

	program, err := commands.openProgram(t.Context(), newProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	g, err := commands.prepare(t.Context(), program, []string{"x"}, 1, nil, &stdout)
	if err != nil {
		t.Fatal(err)
	}
	g.ID = theJob
	if err := c.submit(t.Context(), g, program.path); err != nil {
		t.Fatalf("submit = %v", err)
	}
	leader := <-running
	if err := c.submit(t.Context(), g, program.path); err != nil { // as if the first answer had been lost
		t.Fatalf("submit again = %v", err)
	}
	go func() {
		managers[leader].end()
		<-running
		close(finish)
	}()
	w := watcher{client: c, job: theJob, out: &progress, patience: time.Minute}
	if err := commands.report(w.wait(t.Context())); err != nil {
		t.Errorf("run = %v; progress %s", err, &progress)
	}
	if err := c.submit(t.Context(), g, program.path); err != nil {
		t.Errorf("submit after the end = %v, want nil", err)
	}
	select {
	case name := <-running:
		t.Errorf("the job runs again in %s", name)
	default:
	}
}

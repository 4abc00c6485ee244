package jobmaster

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

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

var logs = flag.Bool("logs", false, "print what job masters log")

const (
	heartbeatInterval = time.Second
	heartbeatTimeout  = 5 * time.Second
)

// world is a cluster in one bubble: HA services, a network, JobManager processes that run the one job,
// and TaskManagers.
type world struct {
	t       *testing.T
	ctx     context.Context
	cluster *embedded.Cluster
	network *rpctest.Network
	files   *filesystem.Memory
	// slow, if not nil, keeps deletions of files waiting until it is closed.
	slow  chan struct{}
	graph jobgraph.JobGraph
	wg    sync.WaitGroup

	mu sync.Mutex // guards all below
	// loseAnswers of a method: how many.
	loseAnswers map[string]int
	// results given to Conclude, and how many tries of it fail first.
	results     []protocol.JobDetails
	concludeErr int
	// concluding, if not nil, is called by each Conclude that succeeds, after it has stored the result. Set before
	// there are processes.
	concluding func()
}

// process is one JobManager process.
type process struct {
	name string
	jm   *JobMaster
	stop context.CancelFunc
	// ended holds the result of Run.
	ended chan error
}

// inWorld runs a test in a bubble.
func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		w := &world{
			t: t, ctx: ctx, files: filesystem.NewMemory(), loseAnswers: map[string]int{},
			cluster: embedded.NewCluster(embedded.Config{SessionTimeout: 2 * time.Second}),
			graph: jobgraph.JobGraph{
				ID: id.NewJob(), Name: "job", MaxParallelism: 128,
				Vertices: []jobgraph.Vertex{
					{ID: vertexID('a'), Name: "source", Parallelism: 2, Source: true, Operators: []jobgraph.Operator{{UID: vertexID('a').String()}}},
					{ID: vertexID('b'), Name: "sink", Parallelism: 2, Operators: []jobgraph.Operator{{UID: vertexID('b').String()}}},
				},
				Edges:         []jobgraph.Edge{{From: vertexID('a'), To: vertexID('b'), Partition: jobgraph.Hash}},
				Checkpointing: jobgraph.Checkpointing{Interval: 10 * time.Second, Timeout: time.Minute, Dir: "/chk", Retained: 1},
				Restart:       jobgraph.Restart{Kind: jobgraph.RestartFixedDelay, Attempts: 5, Delay: 200 * time.Millisecond},
			},
		}
		w.network = rpctest.NewNetwork(rpctest.Faults{
			Delay:      func(string, string) time.Duration { return time.Millisecond },
			LoseAnswer: w.lose,
		})
		test(w)
		stop()
		w.wg.Wait()
		if err := embedded.CheckAudit(w.cluster.Audit()); err != nil {
			t.Error(err)
		}
	})
}

func (w *world) lose(_, _, method string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.loseAnswers[method] > 0 {
		w.loseAnswers[method]--
		return true
	}
	return false
}

func (w *world) services(process string) *haservices.Services {
	s := haservices.New(haservices.Config{
		Driver: w.cluster.Driver(process), FileSystem: fstest.SlowDeletes{FileSystem: w.files, Go: w.slow}, StorageDir: "/ha",
		Me: haservices.Contender{Host: process, Address: process + ":1"},
	})
	w.wg.Go(func() {
		<-w.ctx.Done()
		s.Close(context.Background())
	})
	return s
}

func (w *world) conclude(ctx context.Context, d protocol.JobDetails) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.concludeErr > 0 {
		w.concludeErr--
		return errors.New("no space")
	}
	w.results = append(w.results, d)
	if w.concluding != nil {
		w.mu.Unlock()
		w.concluding()
		w.mu.Lock()
	}
	return nil
}

func (w *world) ended() []protocol.JobDetails {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.results)
}

// jobManager starts a process that contends for the job.
func (w *world) jobManager(name string) *process {
	ctx, stop := context.WithCancel(w.ctx)
	p := &process{name: name, stop: stop, ended: make(chan error, 1), jm: w.jobMaster(ctx, name)}
	w.wg.Go(func() {
		err := p.jm.Run(ctx)
		for errors.Is(err, rpc.ErrCutOff) { // as a Dispatcher would, in its next term
			sleep(ctx, 100*time.Millisecond)
			err = p.jm.Run(ctx)
		}
		p.ended <- err
	})
	return p
}

// jobMaster makes the parts of a process without contending.
func (w *world) jobMaster(ctx context.Context, name string) *JobMaster {
	service := rpc.NewService(w.network.Node(name + ":1"))
	w.wg.Go(func() { service.Run(ctx) })
	return New(Config{
		Job: haservices.StoredJob{Graph: w.graph, Submitted: time.Now()}, Services: w.services(name), RPC: service,
		Log: w.logger(name), Conclude: w.conclude, HeartbeatInterval: heartbeatInterval, HeartbeatTimeout: heartbeatTimeout,
		AdoptionTimeout: 30 * time.Second, SlotRequestTimeout: time.Minute,
	})
}

// logger writes the log of a process with -logs, in virtual time.
func (w *world) logger(process string) *zap.Logger {
	if !*logs {
		return zap.NewNop()
	}
	cfg := zap.NewDevelopmentEncoderConfig()
	cfg.EncodeTime = zapcore.TimeEncoderOfLayout("04:05.000")
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(cfg), os.Stdout, zap.DebugLevel)).Named(process)
}

// kill is SIGKILL for a process.
func (w *world) kill(p *process) {
	w.network.Kill(p.name + ":1")
	w.cluster.Kill(p.name)
	p.stop()
}

func (w *world) taskManager(name id.TaskManager, slots int) *fakeTaskManager {
	tm := newFakeTaskManager(w, name, slots)
	w.start(tm)
	return tm
}

func (w *world) start(tm *fakeTaskManager) {
	w.wg.Go(func() { tm.run(w.ctx) })
	w.pass(20 * time.Millisecond) // it has registered, if there is a leader: subtasks are assigned in that order
}

// until waits in virtual time until ok, at most for a time.
func (w *world) until(what string, atMost time.Duration, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(atMost)
	for !ok() {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %s: %s", atMost, what)
		}
		w.pass(10 * time.Millisecond)
	}
}

// pass lets virtual time pass.
func (w *world) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// details are empty when the process has ended.
func (w *world) details(p *process) protocol.JobDetails {
	d, err := p.jm.Details(w.ctx)
	if err != nil && !errors.Is(err, rpc.ErrStopped) {
		w.t.Fatal(err)
	}
	return d
}

// running reports whether all four tasks run under p.
func (w *world) running(p *process) func() bool {
	return func() bool {
		d := w.details(p)
		return d.Overview.State == protocol.JobRunning && d.Overview.Tasks[protocol.Running] == 4
	}
}

func (w *world) state(p *process, s protocol.JobState) func() bool {
	return func() bool { return w.details(p).Overview.State == s }
}

// completed reports whether p has completed a checkpoint since it leads.
func (w *world) completed(p *process) func() bool {
	return func() bool { return w.details(p).Checkpoints.Completed > 0 }
}

func attemptsOf(d protocol.JobDetails) (list []string) {
	for _, s := range d.Subtasks {
		list = append(list, showAttempt(s.Execution.Attempt))
	}
	return list
}

func (w *world) wantAttempts(p *process, want ...string) {
	w.t.Helper()
	if got := attemptsOf(w.details(p)); !slices.Equal(got, want) {
		w.t.Errorf("attempts are %v, want %v", got, want)
	}
}

func (w *world) wantLog(tm *fakeTaskManager, words []string, want ...string) {
	w.t.Helper()
	if got := tm.log(words...); !slices.Equal(got, want) {
		w.t.Errorf("%s was told %v, want %v", tm.id, got, want)
	}
}

func words(w ...string) []string { return w }

// twoByTwo is the usual world: two processes that contend, the first leads; two TaskManagers with a slot
// each; all tasks run.
func (w *world) twoByTwo() (first, second *process, tm1, tm2 *fakeTaskManager) {
	first = w.jobManager("jm1")
	w.pass(10 * time.Millisecond)
	second = w.jobManager("jm2")
	tm1, tm2 = w.taskManager("tm1", 1), w.taskManager("tm2", 1)
	w.until("the job runs", time.Second, w.running(first))
	return first, second, tm1, tm2
}

// fakeResourceManager takes what JobMasters declare.
type fakeResourceManager struct {
	mu           sync.Mutex // guards all below
	slots        int
	held         int
	disconnected bool
}

func (w *world) resourceManager() *fakeResourceManager {
	rm := &fakeResourceManager{}
	services, service := w.services("rm"), rpc.NewService(w.network.Node("rm:1"))
	main := rpc.NewMainThread()
	var fence rpc.LeaderFence
	e := rpc.NewEndpoint(protocol.ResourceManagerEndpoint, main)
	rpc.Handle(e, protocol.RegisterJobMaster, &fence, func(protocol.RegisterJobMasterRequest) (protocol.RegisteredJobMaster, error) {
		return protocol.RegisteredJobMaster{}, nil
	})
	rpc.Handle(e, protocol.DeclareRequirements, &fence, func(r protocol.DeclareRequirementsRequest) (protocol.Empty, error) {
		rm.mu.Lock()
		defer rm.mu.Unlock()
		rm.slots, rm.held = r.Slots, len(r.Held)
		return protocol.Empty{}, nil
	})
	rpc.Handle(e, protocol.DisconnectJobMaster, &fence, func(protocol.DisconnectJobMasterRequest) (protocol.Empty, error) {
		rm.mu.Lock()
		defer rm.mu.Unlock()
		rm.disconnected = true
		return protocol.Empty{}, nil
	})
	service.Add(e)
	election := services.LeaderElection(haservices.Component{Kind: haservices.ResourceManager})
	w.wg.Go(func() { service.Run(w.ctx) })
	w.wg.Go(func() { main.Run(w.ctx) })
	w.wg.Go(func() {
		election.Run(w.ctx, leadFunc(func(ctx context.Context, token id.FencingToken) error {
			if err := rpc.Do(ctx, main, func() { fence.Grant(token) }); err != nil {
				return err
			}
			if err := election.Confirm(ctx, token, service.Address(e.Name())); err != nil {
				return fmt.Errorf("confirm: %w", err)
			}
			<-ctx.Done()
			return nil
		}))
	})
	return rm
}

func (rm *fakeResourceManager) declared() (slots, held int, disconnected bool) {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	return rm.slots, rm.held, rm.disconnected
}

package simulation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tamias-project/tamias/pkg/entrypoint"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
	"github.com/tamias-project/tamias/pkg/taskmanager"
	"github.com/tamias-project/tamias/pkg/taskmanager/taskmanagertest"
)

const (
	jobManagers  = 3
	taskManagers = 5
	slots        = 2

	sessionTimeout    = 10 * time.Second
	probeTimeout      = 2 * time.Second
	heartbeatInterval = 5 * time.Second
	heartbeatTimeout  = 60 * time.Second
)

// world is a cluster in memory: its processes, what lies between them, and what they share.
type world struct {
	t       *testing.T
	rand    *rand.Rand // used by the schedule only, on one goroutine
	network *rpctest.Network
	ha      *embedded.Cluster
	files   filesystem.FileSystem
	tasks   *taskmanagertest.Tasks
	chance  *chance
	log     *zap.Logger
	logs    *observer.ObservedLogs

	jobManagers  []*process
	taskManagers []*process
	client       *client
}

// process is one simulated process.
type process struct {
	name   string // also its address
	run    func(ctx context.Context, w *world, p *process) error
	stop   context.CancelFunc // nil when it does not run
	ended  sync.WaitGroup
	frozen bool
}

func (p *process) alive() bool { return p.stop != nil }

// chance draws faults of single messages. The network and the HA cluster call it on many goroutines.
type chance struct {
	mu      sync.Mutex // guards the rest
	rand    *rand.Rand
	quiet   bool
	lose    float64 // probability that the answer of a message is lost
	latency time.Duration
}

func (c *chance) delay() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.latency == 0 {
		return 0
	}
	return time.Duration(c.rand.Int64N(int64(c.latency)))
}

func (c *chance) loses() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.quiet && c.rand.Float64() < c.lose
}

func (c *chance) outcome() embedded.Outcome {
	if !c.loses() {
		return embedded.Answered
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return []embedded.Outcome{embedded.LoseAnswer, embedded.LoseRequest, embedded.Refuse}[c.rand.IntN(3)]
}

// pause suspends the faults of single messages, or lets them happen again.
func (c *chance) pause(quiet bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quiet = quiet
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rand: rand.New(rand.NewPCG(seed, 1)), files: filesystem.NewMemory(), tasks: taskmanagertest.New(taskmanagertest.Config{
		LaunchDelay: 50 * time.Millisecond, StartDelay: 20 * time.Millisecond, AckDelay: 30 * time.Millisecond, CancelDelay: 10 * time.Millisecond,
	})}
	core, logs := observer.New(zap.InfoLevel)
	w.log, w.logs = zap.New(core), logs
	w.chance = &chance{rand: rand.New(rand.NewPCG(seed, 2)), latency: 5 * time.Millisecond}
	if w.rand.IntN(2) == 0 {
		w.chance.lose = 0.02
	}
	w.network = rpctest.NewNetwork(rpctest.Faults{
		Delay:      func(_, _ string) time.Duration { return w.chance.delay() },
		LoseAnswer: func(_, _, _ string) bool { return w.chance.loses() },
	})
	w.ha = embedded.NewCluster(embedded.Config{
		SessionTimeout: sessionTimeout,
		Detection:      50 * time.Millisecond,
		Notice:         time.Duration(w.rand.Int64N(int64(3 * time.Second))),
		Faults: embedded.Faults{
			Delay:   func(embedded.Call) time.Duration { return w.chance.delay() },
			Outcome: func(embedded.Call) embedded.Outcome { return w.chance.outcome() },
		},
	})
	for i := range jobManagers {
		w.jobManagers = append(w.jobManagers, &process{name: fmt.Sprintf("jm%d:6123", i), run: runJobManager})
	}
	for i := range taskManagers {
		w.taskManagers = append(w.taskManagers, &process{name: fmt.Sprintf("tm%d:6122", i), run: runTaskManager})
	}
	for _, p := range w.all() {
		w.start(p)
	}
	w.client = newClient(w)
	return w
}

func (w *world) all() []*process {
	return append(append([]*process{}, w.jobManagers...), w.taskManagers...)
}

func (w *world) start(p *process) {
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.ended.Go(func() {
		if err := p.run(ctx, w, p); err != nil && ctx.Err() == nil {
			w.t.Errorf("%s ended: %v", p.name, err)
		}
	})
}

// kill ends p as SIGKILL would: from this moment nothing that it does has an effect.
func (w *world) kill(p *process) {
	if !p.alive() {
		return
	}
	w.thaw(p) // a frozen process dies too
	w.network.Kill(p.name)
	w.ha.Kill(p.name)
	p.stop()
	p.stop = nil
	p.ended.Wait()
}

func (w *world) freeze(p *process) {
	if p.alive() && !p.frozen {
		p.frozen = true
		w.network.Freeze(p.name)
		w.ha.Freeze(p.name)
	}
}

func (w *world) thaw(p *process) {
	if p.frozen {
		p.frozen = false
		w.network.Thaw(p.name)
		w.ha.Thaw(p.name)
	}
}

// heal ends every fault and starts what is down.
func (w *world) heal() {
	w.chance.pause(true)
	w.network.HealAll()
	for _, p := range w.all() {
		w.thaw(p)
		w.ha.Reconnect(p.name)
		if !p.alive() {
			w.start(p)
		}
	}
}

// close ends the world in an orderly way.
func (w *world) close() {
	for _, p := range w.all() {
		if p.alive() {
			p.stop()
		}
	}
	for _, p := range w.all() {
		p.ended.Wait()
	}
	w.client.close()
}

// services of one process, and its network.
func (w *world) services(p string) (*haservices.Services, *rpc.Service) {
	node := w.network.Node(p)
	return haservices.New(haservices.Config{
		Driver:     w.ha.Driver(p),
		FileSystem: w.files,
		StorageDir: "/ha",
		ClusterID:  "simulation",
		Me:         haservices.Contender{Process: node.Process(), Address: p},
		Log:        w.log.With(zap.String("process", p)),
	}), rpc.NewService(node)
}

// run serves rpc while f runs, then closes the services.
func serve(ctx context.Context, services *haservices.Services, s *rpc.Service, f func(ctx context.Context) error) error {
	var served sync.WaitGroup
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	served.Go(func() { s.Run(serving) })
	err := f(ctx)
	closing, cancel := context.WithTimeout(serving, time.Minute)
	defer cancel()
	services.Close(closing) // a killed process closes nothing, and is not asked to
	stop()
	served.Wait()
	return err
}

func runJobManager(ctx context.Context, w *world, p *process) error {
	services, s := w.services(p.name)
	jm := &entrypoint.JobManager{
		RPC:      s,
		Services: services,
		Defaults: entrypoint.Defaults{CheckpointDir: "/checkpoints"},
		Timing: entrypoint.Timing{
			HeartbeatInterval: heartbeatInterval, HeartbeatTimeout: heartbeatTimeout,
			Adoption: 30 * time.Second, SlotRequest: 5 * time.Minute,
		},
		Stop: func() {},
		Log:  w.log.With(zap.String("process", p.name)),
	}
	return serve(ctx, services, s, jm.Run)
}

func runTaskManager(ctx context.Context, w *world, p *process) error {
	services, s := w.services(p.name)
	tm := taskmanager.New(taskmanager.Config{
		ID:       id.TaskManager(p.name),
		Slots:    slots,
		Services: services,
		RPC:      s,
		Launcher: w.tasks.Launcher(id.TaskManager(p.name)),
		Log:      w.log.With(zap.String("process", p.name)),
	})
	return serve(ctx, services, s, tm.Run)
}

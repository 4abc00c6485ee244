package simulation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
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
	adoptionTimeout   = 30 * time.Second
	orphanTimeout     = 5 * time.Minute
)

// world is a cluster in memory: its processes, what lies between them, and what they share.
type world struct {
	t       *testing.T
	rand    *rand.Rand // used by the schedule only, on one goroutine
	network *rpctest.Network
	ha      *embedded.Cluster
	files   *filesystem.Memory
	tasks   *taskmanagertest.Tasks
	chance  *chance
	traps   traps
	// slow holds a func(path string) time.Duration: how long a read of the HA services takes beside the usual.
	slow    atomic.Value
	witness *witness
	log     *zap.Logger
	logs    *observer.ObservedLogs

	jobManagers  []*process
	taskManagers []*process
	user         *process
	client       *client

	// late are messages that are still on their way although their sender has given them up.
	late     sync.WaitGroup
	lateCtx  context.Context
	stopLate context.CancelFunc
	post     *rpctest.Node // carries them
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rand: rand.New(rand.NewPCG(seed, 1)), files: filesystem.NewMemory()}
	w.tasks = taskmanagertest.New(taskmanagertest.Config{
		LaunchDelay: 50 * time.Millisecond, StartDelay: 20 * time.Millisecond, AckDelay: 30 * time.Millisecond, CancelDelay: 10 * time.Millisecond,
		Save: w.saveState, Restore: w.restoreState,
	})
	core, logs := observer.New(zap.InfoLevel)
	w.log, w.logs = zap.New(core), logs
	w.witness = newWitness(w)
	w.chance = newChance(seed)
	if w.rand.IntN(2) == 0 {
		w.chance.lose = 0.02
	}
	if w.rand.IntN(3) == 0 {
		w.chance.late = 0.01
	}
	w.network = rpctest.NewNetwork(rpctest.Faults{
		Delay:      func(from, to string) time.Duration { return w.chance.delay("message", from, to) },
		LoseAnswer: func(from, to, method string) bool { return w.chance.loses("answer", from, to, method) },
	})
	w.ha = embedded.NewCluster(embedded.Config{
		SessionTimeout: sessionTimeout,
		Detection:      50 * time.Millisecond,
		Notice:         time.Duration(w.rand.Int64N(int64(3 * time.Second))),
		Faults: embedded.Faults{
			Delay:   func(c embedded.Call) time.Duration { return w.chance.delay("call", c.Process, c.Operation) },
			Outcome: w.chance.outcome,
		},
	})
	w.lateCtx, w.stopLate = context.WithCancel(context.Background())
	w.post = w.network.Node("post:1")
	for i := range jobManagers {
		w.jobManagers = append(w.jobManagers, &process{world: w, name: fmt.Sprintf("jm%d:6123", i), run: runJobManager})
	}
	for i := range taskManagers {
		w.taskManagers = append(w.taskManagers, &process{world: w, name: fmt.Sprintf("tm%d:6122", i), run: runTaskManager})
	}
	for _, p := range w.all() {
		p.start()
	}
	w.user = &process{world: w, name: "client:1"}
	w.client = newClient(w)
	return w
}

func (w *world) all() []*process {
	return append(append([]*process{}, w.jobManagers...), w.taskManagers...)
}

// heal ends every fault and starts what is down.
func (w *world) heal() {
	w.traps.clear()
	w.chance.pause(true)
	w.network.HealAll()
	for _, p := range w.all() {
		p.thaw(0)
		w.ha.Reconnect(p.name)
	}
	for _, p := range w.all() {
		if !p.alive() {
			p.start()
		}
	}
}

// close ends the world in an orderly way.
func (w *world) close() {
	w.traps.clear()
	w.stopLate()
	w.late.Wait()
	for _, p := range w.all() {
		p.present().stop()
	}
	for _, p := range w.all() {
		<-p.present().ended
	}
	w.client.close()
}

// stateFile is where a task saves its part of a checkpoint.
func stateFile(j id.Job, a id.ExecutionAttempt, checkpoint int64) string {
	return fmt.Sprintf("/checkpoints/%s/chk-%d/%s", j, checkpoint, a)
}

func stateText(a id.ExecutionAttempt, checkpoint int64) string {
	return fmt.Sprintf("%s@%d", a, checkpoint)
}

// Package taskmanager owns the slots of one TaskManager process and runs one process of the user's
// binary for each job that has slots here. The entrypoint makes a TaskManager and calls Run.
//
// The TaskManager follows leaders and survives without any: the ResourceManager leases its slots, each
// job's JobMaster deploys tasks into them. Tasks, processes and slots belong to Run, never to a session
// with a leader, so a running job does not notice a leader change. A job without a master is orphaned
// and runs on; only after the orphan timeout it is ended. What happened meanwhile is kept until a master
// has taken it. Calls of leaders of the past are refused and counted.
//
// All state lives on the main thread; sessions, processes and their calls run on goroutines of their own
// that end before Run returns.
package taskmanager

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// Config says what a TaskManager works with.
type Config struct {
	ID id.TaskManager
	// Endpoint names the RPC endpoint; TaskManagers that share an RPC service need different names. Default
	// protocol.TaskManagerEndpoint.
	Endpoint string
	// Slots is how many subtasks of one vertex can run here. Flink's taskmanager.numberOfTaskSlots; default 1.
	Slots int
	// Host describes the machine to users.
	Host protocol.HostInfo
	// BindHost is where job processes listen for records, DataHost what peers dial. Default: all interfaces,
	// and the host of RPC.
	BindHost, DataHost string
	Services           *haservices.Services
	RPC                *rpc.Service
	Launcher           Launcher
	Log                *zap.Logger
	// OrphanTimeout is how long a job's tasks run on without a JobMaster, counted from the last contact.
	// taskmanager.job.orphan-timeout; default 5 min; negative ends them as soon as the master is lost.
	OrphanTimeout time.Duration
	// SlotTimeout is how long a leased slot waits for a JobMaster to take it. Flink's
	// taskmanager.slot.timeout; default 10 s.
	SlotTimeout time.Duration
	// RegistrationTimeout ends Run when no ResourceManager has been reached for so long and no job is left
	// here. Flink's taskmanager.registration.timeout; default 5 min.
	RegistrationTimeout time.Duration
	// ProcessTimeout is how long a job process may answer nothing before it is killed. Default 50 s.
	ProcessTimeout time.Duration
	// CancellationTimeout is how long a task may take to end when it is cancelled, before its job's process is
	// killed. Flink's task.cancellation.timeout; default 3 min; negative for no bound.
	CancellationTimeout time.Duration
	// MetricsInterval is the pause between readings of the tasks' counters. Default 1 s.
	MetricsInterval time.Duration
}

// TaskManager is Flink's TaskExecutor.
type TaskManager struct {
	cfg      Config
	log      *zap.Logger
	main     *rpc.MainThread
	endpoint *rpc.Endpoint
	instance id.Instance
	fenced   atomic.Int64

	// spawn runs f on a goroutine whose ctx ends when stop is called, or Run is about to return. Set by Run; used on the
	// main thread, and not once stopping is true.
	spawn func(f func(ctx context.Context)) (stop func())

	// Owned by the main thread.
	stopping bool
	slots    *slotTable
	jobs     map[id.Job]*job
	fences   fences
	rmFence  rpc.FollowerFence
	rm       registration
}

// New returns a TaskManager that does nothing until Run.
func New(cfg Config) *TaskManager {
	cfg.Endpoint = cmp.Or(cfg.Endpoint, protocol.TaskManagerEndpoint)
	cfg.Slots = cmp.Or(cfg.Slots, 1)
	cfg.OrphanTimeout = cmp.Or(cfg.OrphanTimeout, 5*time.Minute)
	cfg.SlotTimeout = cmp.Or(cfg.SlotTimeout, 10*time.Second)
	cfg.RegistrationTimeout = cmp.Or(cfg.RegistrationTimeout, 5*time.Minute)
	cfg.ProcessTimeout = cmp.Or(cfg.ProcessTimeout, 50*time.Second)
	cfg.CancellationTimeout = cmp.Or(cfg.CancellationTimeout, 3*time.Minute)
	cfg.MetricsInterval = cmp.Or(cfg.MetricsInterval, time.Second)
	cfg.BindHost = cmp.Or(cfg.BindHost, "0.0.0.0")
	if host, _, err := net.SplitHostPort(cfg.RPC.Transport().Address()); err == nil {
		cfg.DataHost = cmp.Or(cfg.DataHost, host)
	}
	tm := &TaskManager{
		cfg:      cfg,
		log:      cfg.Log.With(logging.Component("task-manager"), logging.TaskManager(cfg.ID)),
		main:     rpc.NewMainThread(),
		instance: cfg.RPC.Transport().Process(),
		slots:    newSlotTable(cfg.Slots),
		jobs:     map[id.Job]*job{},
		fences:   fences{},
		rm:       newRegistration(),
	}
	tm.endpoint = rpc.NewEndpoint(cfg.Endpoint, tm.main)
	tm.registerCalls()
	return tm
}

// FencedMessages counts the calls of leaders of the past that were refused.
func (tm *TaskManager) FencedMessages() int64 { return tm.fenced.Load() }

// MainThread is the thread that all state belongs to; metrics read how busy it is.
func (tm *TaskManager) MainThread() *rpc.MainThread { return tm.main }

// Address is the full RPC address of this TaskManager.
func (tm *TaskManager) Address() string { return tm.cfg.RPC.Address(tm.cfg.Endpoint) }

// Run serves until ctx ends, or fails when no ResourceManager is found in time. Called once. When it
// returns, no job process is left.
func (tm *TaskManager) Run(ctx context.Context) error {
	mainCtx, stopMain := context.WithCancel(context.WithoutCancel(ctx))
	var main, jobs sync.WaitGroup
	defer main.Wait()
	defer stopMain()
	// Not with ctx: processes are killed only once nobody is answered any more, or their tasks would be reported as failed.
	jobsCtx, stopJobs := context.WithCancel(context.WithoutCancel(ctx))
	defer stopJobs()
	tm.spawn = func(f func(context.Context)) func() {
		ctx, stop := context.WithCancel(jobsCtx)
		jobs.Go(func() { defer stop(); f(ctx) })
		return stop
	}
	tm.rm.lost(time.Now())
	main.Go(func() { tm.main.Run(mainCtx) })
	tm.cfg.RPC.Add(tm.endpoint)
	defer tm.cfg.RPC.Remove(tm.endpoint)

	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return tm.followResourceManager(gctx) })
	g.Go(func() error { return tm.keepHouse(gctx) })
	err := g.Wait()

	// From here on nothing is started; what runs ends before the farewell, so that the ResourceManager
	// leases nothing that is still in use.
	if e := rpc.Do(mainCtx, tm.main, func() { tm.stopping = true }); e != nil {
		return e
	}
	stopJobs()
	jobs.Wait()
	tm.sayFarewell(mainCtx)
	return err
}

// keepHouse lets time pass for slots, jobs and the registration.
func (tm *TaskManager) keepHouse(ctx context.Context) error {
	interval := tm.houseInterval()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// When this process was paused nobody could be heard: that is no silence of theirs.
		now, deaf := time.Now(), max(0, time.Since(last)-2*interval)
		last = now
		alone, err := rpc.Call(ctx, tm.main, func() (bool, error) { return tm.passTime(now, deaf), nil })
		if err == nil && alone {
			return fmt.Errorf("no ResourceManager accepted this TaskManager for %s (taskmanager.registration.timeout)",
				tm.cfg.RegistrationTimeout)
		}
	}
}

// houseInterval is short against every timeout.
func (tm *TaskManager) houseInterval() time.Duration {
	shortest := min(tm.cfg.SlotTimeout, tm.cfg.RegistrationTimeout, max(tm.cfg.OrphanTimeout, time.Second))
	return min(max(shortest/10, 10*time.Millisecond), time.Second)
}

// passTime acts on what is overdue at now. It reports whether this TaskManager is alone: no
// ResourceManager for too long, and no job that would need it to live on. Main thread.
func (tm *TaskManager) passTime(now time.Time, deaf time.Duration) (alone bool) {
	for _, s := range tm.slots.overdue(now, tm.cfg.SlotTimeout) {
		tm.log.Warn("slot freed: no job master took it", logging.Job(s.Job), logging.Allocation(s.Allocation))
		tm.slots.release(s.Job, s.Allocation)
		tm.slotsChanged()
	}
	for _, j := range tm.jobs {
		j.attachment.excuse(deaf)
		j.executions.excuse(deaf)
		j.passTime(now)
	}
	tm.fences.forget(now, tm.jobs)
	tm.rm.excuse(deaf)
	tm.rm.passTime(now)
	return len(tm.jobs) == 0 && tm.rm.missingFor(now) >= tm.cfg.RegistrationTimeout
}

// slotsChanged lets the ResourceManager know.
func (tm *TaskManager) slotsChanged() { tm.rm.tell() }

// fenceMemory is how long the masters of a job that has left are remembered: longer than any message of them
// can be late. It ends, as a job whose result was dropped may be submitted again under its ID, and its epochs
// begin anew.
const fenceMemory = 10 * time.Minute

// fences knows the newest master of each job that is here, or has left not long ago.
type fences map[id.Job]*jobFence

type jobFence struct {
	rpc.FollowerFence
	since time.Time // from which on it may be forgotten after fenceMemory
}

func (f fences) of(j id.Job, now time.Time) *jobFence {
	if f[j] == nil {
		f[j] = &jobFence{since: now}
	}
	return f[j]
}

// forget drops what is old, but not what a job needs that is here and has been told of a master: one that waits for
// its first may be a new job with the ID of an old one.
func (f fences) forget(now time.Time, jobs map[id.Job]*job) {
	for _, j := range jobs {
		if j.attachment.state != waiting {
			f.of(j.id, now).since = now
		}
	}
	maps.DeleteFunc(f, func(_ id.Job, fence *jobFence) bool { return now.Sub(fence.since) >= fenceMemory })
}

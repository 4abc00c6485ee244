// Package resourcemanager knows the TaskManagers of a cluster and hands out their slots. The entrypoint
// runs one ResourceManager in each JobManager process; one of them leads. TaskManagers register with the
// leader, JobMasters declare how many slots they need, and the leader asks TaskManagers to lease slots.
//
// All state lives on the main thread and for one term: a new leader starts empty and learns everything
// from registrations, slot reports and declarations. It leases only slots that their TaskManager reports
// as free, so a change of leaders moves no slot. Losing leadership sends nothing to anyone.
package resourcemanager

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// Config says what a ResourceManager works with.
type Config struct {
	// Election is that of haservices.ResourceManager.
	Election *haservices.LeaderElection
	RPC      *rpc.Service
	Log      *zap.Logger
	// HeartbeatInterval is the pause between heartbeats to each TaskManager, and what JobMasters are told to
	// repeat their declarations in. Flink's heartbeat.interval; default 10 s.
	HeartbeatInterval time.Duration
	// HeartbeatTimeout is how long a silent TaskManager or JobMaster counts as alive. Flink's
	// heartbeat.timeout; default 50 s.
	HeartbeatTimeout time.Duration
	// Followers are all TaskManagers that this process hears. Default: those that this ResourceManager hears.
	Followers *rpc.Followers
	// JobTimeout is how long the requirement of a job without a JobMaster is kept. Flink's
	// resourcemanager.job.timeout; default 5 min.
	JobTimeout time.Duration
	// RequestInterval gathers registrations and declarations before slots are leased, so that a job is spread
	// over TaskManagers that register together. Flink's slot.request.max-interval; default 20 ms.
	RequestInterval time.Duration
}

// ResourceManager contends for the leadership of its component and serves while it leads. Flink's
// ResourceManager with its SlotManager.
type ResourceManager struct {
	cfg      Config
	log      *zap.Logger
	main     *rpc.MainThread
	endpoint *rpc.Endpoint

	// Owned by the main thread.
	fence rpc.LeaderFence
	term  *term // nil between terms
}

// New returns a ResourceManager that does nothing until Run.
func New(cfg Config) *ResourceManager {
	cfg.HeartbeatInterval = cmp.Or(cfg.HeartbeatInterval, 10*time.Second)
	cfg.HeartbeatTimeout = cmp.Or(cfg.HeartbeatTimeout, 50*time.Second)
	cfg.JobTimeout = cmp.Or(cfg.JobTimeout, 5*time.Minute)
	cfg.RequestInterval = cmp.Or(cfg.RequestInterval, 20*time.Millisecond)
	if cfg.Followers == nil {
		cfg.Followers = &rpc.Followers{}
	}
	rm := &ResourceManager{
		cfg:  cfg,
		log:  cfg.Log.With(logging.Component("resource-manager")),
		main: rpc.NewMainThread(),
	}
	rm.endpoint = rpc.NewEndpoint(protocol.ResourceManagerEndpoint, rm.main)
	rm.registerCalls()
	return rm
}

// Run contends, leads and contends again until ctx ends. Called once. It returns when nothing of the
// ResourceManager runs any more.
func (rm *ResourceManager) Run(ctx context.Context) error {
	rm.cfg.RPC.Add(rm.endpoint)
	defer rm.cfg.RPC.Remove(rm.endpoint)
	// The main thread outlives the election, so that the last term can be ended on it.
	mainCtx, stopMain := context.WithCancel(context.WithoutCancel(ctx))
	var g errgroup.Group
	g.Go(func() error { return rm.main.Run(mainCtx) })
	g.Go(func() error {
		defer stopMain()
		return rm.cfg.Election.Run(ctx, rm)
	})
	return g.Wait()
}

// MainThread is the thread that all state belongs to; metrics read how busy it is.
func (rm *ResourceManager) MainThread() *rpc.MainThread { return rm.main }

// Lead is one term: it begins with no knowledge and returns when nothing acts under token any more. It gives
// leadership up, with rpc.ErrCutOff, when no TaskManager is heard any more.
func (rm *ResourceManager) Lead(ctx context.Context, token id.FencingToken) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := newTerm(rm, token, func(f func(context.Context)) (stop func()) {
		ctx, stop := context.WithCancel(ctx)
		wg.Go(func() { f(ctx) })
		return stop
	})
	// Whatever becomes of ctx: a call that was given up would begin the term when it is over.
	if err := rpc.Do(context.WithoutCancel(ctx), rm.main, func() { rm.term = t; rm.fence.Grant(token) }); err != nil {
		return fmt.Errorf("begin a term: %w", err)
	}
	// After this nothing starts under t; what runs is cancelled and waited for above.
	defer rpc.Do(context.WithoutCancel(ctx), rm.main, func() { rm.fence.Revoke(); rm.term = nil })
	if err := rm.cfg.Election.Confirm(ctx, token, rm.cfg.RPC.Address(protocol.ResourceManagerEndpoint)); err != nil {
		return fmt.Errorf("confirm leadership: %w", err)
	}
	return t.run(ctx)
}

// registerCalls binds the RPCs. The fence refuses calls between terms, so rm.term is set in handlers.
func (rm *ResourceManager) registerCalls() {
	e, fence := rm.endpoint, &rm.fence
	rpc.Handle(e, protocol.RegisterTaskManager, fence, func(r protocol.RegisterTaskManagerRequest) (protocol.RegisteredTaskManager, error) {
		return rm.term.registerTaskManager(r)
	})
	rpc.Handle(e, protocol.ReportSlots, fence, func(r protocol.SlotReport) (protocol.Empty, error) {
		return protocol.Empty{}, rm.term.reportSlots(r)
	})
	rpc.Handle(e, protocol.DisconnectTaskManager, fence, func(r protocol.DisconnectTaskManagerRequest) (protocol.Empty, error) {
		rm.term.loseTaskManager(r.ID, r.Instance, r.Reason, zap.InfoLevel)
		return protocol.Empty{}, nil
	})
	rpc.Handle(e, protocol.RegisterJobMaster, fence, func(r protocol.RegisterJobMasterRequest) (protocol.RegisteredJobMaster, error) {
		return rm.term.registerJobMaster(r)
	})
	rpc.Handle(e, protocol.DeclareRequirements, fence, func(r protocol.DeclareRequirementsRequest) (protocol.Empty, error) {
		return protocol.Empty{}, rm.term.declareRequirements(r)
	})
	rpc.Handle(e, protocol.DisconnectJobMaster, fence, func(r protocol.DisconnectJobMasterRequest) (protocol.Empty, error) {
		return protocol.Empty{}, rm.term.endJob(r)
	})
	rpc.Handle(e, protocol.ListTaskManagers, fence, func(protocol.Empty) (protocol.TaskManagerList, error) {
		return rm.term.list(), nil
	})
}

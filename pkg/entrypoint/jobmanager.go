package entrypoint

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/dispatcher"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/jobmaster"
	"github.com/tamias-project/tamias/pkg/metrics"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/resourcemanager"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// JobManager is the elected part of a JobManager process: ResourceManager and Dispatcher as contenders,
// and the JobMasters that the Dispatcher runs. A process adds the REST endpoint and the servers; a
// simulation runs it as it is, on a network and HA services in memory.
type JobManager struct {
	RPC      *rpc.Service
	Services *haservices.Services
	// BlobServer is host:port of this process's blob server, or "" without one.
	BlobServer string
	Timing     Timing
	// Defaults are for jobs that leave a setting open.
	Defaults Defaults
	Cleanup  Cleanup
	// Ended says which results of ended jobs are kept.
	Ended EndedJobs
	// Metrics shows figures of the components, on Host; nil when nobody wants them.
	Metrics *metrics.Reporter
	Host    string
	// Stop ends the process in an orderly way; a user asked for it.
	Stop func()
	Log  *zap.Logger

	// followers are the TaskManagers that the ResourceManager or any JobMaster hears.
	followers rpc.Followers
}

// Timing is how long components wait for each other.
type Timing struct {
	// HeartbeatInterval and HeartbeatTimeout: Flink's heartbeat.interval and heartbeat.timeout; defaults 10 s
	// and 50 s.
	HeartbeatInterval, HeartbeatTimeout time.Duration
	// Adoption is how long a new JobMaster waits for TaskManagers of the ledger to report:
	// jobmaster.adoption-timeout; default 30 s.
	Adoption time.Duration
	// SlotRequest is how long a job waits for slots: Flink's slot.request.timeout; default 5 min.
	SlotRequest time.Duration
}

// Defaults are for jobs that leave a setting open.
type Defaults struct {
	// CheckpointDir for jobs with checkpoints that name no directory; "" = none. Flink's
	// execution.checkpointing.dir.
	CheckpointDir string
	// Restart is what jobs without a restart strategy get. Flink's restart-strategy.*.
	Restart jobgraph.Restart
}

// Cleanup says how failed steps of the clean-up behind a job are repeated. Flink's cleanup-strategy.*.
type Cleanup struct {
	// InitialBackoff is the first pause, MaxBackoff the longest; each is twice the one before.
	InitialBackoff, MaxBackoff time.Duration
	// Attempts for each step; 0 = no bound.
	Attempts int
}

// EndedJobs says which results of ended jobs are kept. Flink's completed-application-store.*.
type EndedJobs struct {
	// Capacity is how many, the newest ones; default 1000.
	Capacity int
	// Expiration is how long; 0 = as long as there is room.
	Expiration time.Duration
}

// Run contends until ctx ends; then leadership has been given up, or the HA services could not be
// reached to do so.
func (j *JobManager) Run(ctx context.Context) error {
	rm := resourcemanager.New(resourcemanager.Config{
		Election:          j.Services.LeaderElection(haservices.Component{Kind: haservices.ResourceManager}),
		RPC:               j.RPC,
		HeartbeatInterval: j.Timing.HeartbeatInterval,
		HeartbeatTimeout:  j.Timing.HeartbeatTimeout,
		Followers:         &j.followers,
		Log:               j.Log,
	})
	d := dispatcher.New(dispatcher.Config{
		Services:              j.Services,
		Election:              j.Services.LeaderElection(haservices.Component{Kind: haservices.Dispatcher}),
		RPC:                   j.RPC,
		CheckpointDir:         j.Defaults.CheckpointDir,
		NewJobMaster:          j.newJobMaster,
		Stop:                  j.Stop,
		CleanupInitialBackoff: j.Cleanup.InitialBackoff,
		CleanupMaxBackoff:     j.Cleanup.MaxBackoff,
		CleanupAttempts:       j.Cleanup.Attempts,
		ResultCapacity:        j.Ended.Capacity,
		ResultExpiration:      j.Ended.Expiration,
		Log:                   j.Log,
	})
	if j.Metrics != nil {
		j.Metrics.Add(clusterFigures(j.Host, rm, d))
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return wrap("resource manager", rm.Run(ctx)) })
	g.Go(func() error { return wrap("dispatcher", d.Run(ctx)) })
	return g.Wait()
}

func (j *JobManager) newJobMaster(job haservices.StoredJob, conclude func(context.Context, protocol.JobDetails) error) dispatcher.JobMaster {
	if job.Graph.Restart.Kind == jobgraph.RestartDefault {
		job.Graph.Restart = j.Defaults.Restart
	}
	return jobmaster.New(jobmaster.Config{
		Job:                job,
		Services:           j.Services,
		RPC:                j.RPC,
		BlobServer:         func() string { return j.BlobServer },
		Conclude:           conclude,
		HeartbeatInterval:  j.Timing.HeartbeatInterval,
		HeartbeatTimeout:   j.Timing.HeartbeatTimeout,
		Followers:          &j.followers,
		AdoptionTimeout:    j.Timing.Adoption,
		SlotRequestTimeout: j.Timing.SlotRequest,
		Log:                j.Log,
	})
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

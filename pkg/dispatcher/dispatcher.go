// Package dispatcher takes jobs in, keeps them durable, runs one JobMaster for each, and cleans up
// behind them. Its promises:
//
//   - A submission that was answered without error is stored and runs, whoever leads from then on.
//     Submitting it again, under the same ID and with the same graph, changes nothing.
//   - A job that has ended never runs again: its result is stored before anything of it is removed, and
//     the removal goes on after a crash until it is done.
//   - Nothing of a job is removed without a stored result. Losing leadership, stopping the process and
//     errors of any kind remove nothing and send nothing to TaskManagers.
//
// The Dispatcher is a leader contender. Each term of leadership has its own state, main thread and RPC
// endpoint, made when it begins and forgotten when it ends, so no term sees what another left behind.
// Calls arrive at the endpoint protocol.DispatcherEndpoint, fenced by the term's token.
package dispatcher

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// JobMaster runs one job. A Dispatcher makes one for each job of each term and calls either Run or
// Release, once. Flink's JobManagerRunner.
type JobMaster interface {
	// Run runs the job until it has ended and conclude has succeeded, or until ctx ends. It sends nothing to
	// TaskManagers because ctx ended. nil after conclude has succeeded means that they know, another error that
	// they may not: Release tells them. rpc.ErrCutOff: this process hears no TaskManager any more.
	Run(ctx context.Context) error
	// Release tells the TaskManagers of a job that ended under an earlier leader to let go of it.
	Release(ctx context.Context) error
	// Cancel returns when the wish to cancel is stored; also when the job has ended as CANCELED.
	Cancel(ctx context.Context) error
	// Details may be called at any time, also before Run has found out anything.
	Details(ctx context.Context) (protocol.JobDetails, error)
}

// Config is what a Dispatcher needs.
type Config struct {
	Services *haservices.Services
	Election *haservices.LeaderElection
	RPC      *rpc.Service
	// CheckpointDir is given to jobs with checkpointing that name no directory. Flink's
	// execution.checkpointing.dir; default none.
	CheckpointDir string
	// NewJobMaster makes the JobMaster of a job. It calls conclude when the job has ended; nil from
	// conclude means that the result is stored and the job will never run again.
	NewJobMaster func(job haservices.StoredJob, conclude func(ctx context.Context, d protocol.JobDetails) error) JobMaster
	// Stop begins the orderly end of this process and returns at once.
	Stop func()
	// ResultCapacity is how many results of ended jobs are kept, the newest ones. Flink's
	// completed-application-store.max-capacity; default 1000. A job whose result has been dropped can be
	// submitted under its ID again.
	ResultCapacity int
	// ResultExpiration is how long they are kept; 0 = as long as there is room, the default. Flink's
	// completed-application-store.expiration-time.
	ResultExpiration time.Duration
	// CleanupInitialBackoff and CleanupMaxBackoff are the shortest and longest pause before a failed step of
	// a clean-up is tried again. Flink's cleanup-strategy.exponential-delay.*; defaults 1 s and 1 h.
	CleanupInitialBackoff, CleanupMaxBackoff time.Duration
	// CleanupAttempts bounds the tries of each step in one term; 0 = no bound, the default.
	CleanupAttempts int
	Log             *zap.Logger
}

// Dispatcher is the contender for haservices.Dispatcher of one process. Flink's DispatcherRunner.
type Dispatcher struct {
	cfg  Config
	term atomic.Pointer[term] // nil while another process leads
}

// New returns a Dispatcher that does not contend yet.
func New(cfg Config) *Dispatcher {
	cfg.ResultCapacity = cmp.Or(cfg.ResultCapacity, 1000)
	cfg.CleanupInitialBackoff = cmp.Or(cfg.CleanupInitialBackoff, time.Second)
	cfg.CleanupMaxBackoff = cmp.Or(cfg.CleanupMaxBackoff, time.Hour)
	cfg.Log = cfg.Log.With(logging.Component(protocol.DispatcherEndpoint))
	return &Dispatcher{cfg: cfg}
}

// Run contends, leads and contends again until ctx ends.
func (d *Dispatcher) Run(ctx context.Context) error { return d.cfg.Election.Run(ctx, d) }

// Lead is one term of leadership.
func (d *Dispatcher) Lead(ctx context.Context, token id.FencingToken) error {
	t := newTerm(d.cfg, token)
	d.term.Store(t)
	defer d.term.Store(nil)
	return t.run(ctx)
}

// Package jobmaster runs one job: it deploys the job's tasks, has them checkpointed, restarts what
// fails, and, as a new leader, adopts the tasks that run already. Flink's JobMaster, with adoption where
// Flink restarts.
//
// The Dispatcher makes a JobMaster for each job and calls Run. Run contends for the leadership of the
// job; each term of it is a fresh term value with a main thread, on which all its state lives. Two pure
// types decide: schedule (executions, regions, deployment waves, adoption, the end of the job) and
// checkpoint.Coordinator. The term feeds them events and carries out their actions: RPCs to
// TaskManagers, fenced writes to the HA stores. Losing leadership sends nothing to anyone.
//
// Where to start reading: schedule.go for what happens to a job, adoption.go for what happens when a
// leader dies, term.go for how actions are carried out. testdata/schedule tells both as transcripts.
package jobmaster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// Config is what a JobMaster needs.
type Config struct {
	// Job as the Dispatcher stored it.
	Job      haservices.StoredJob
	Services *haservices.Services
	RPC      *rpc.Service
	// BlobServer returns host:port of the blob server that has the job's binary. May be nil.
	BlobServer func() string
	// Conclude makes the result of the job durable. It is repeated until it succeeds, while leadership lasts.
	Conclude func(ctx context.Context, d protocol.JobDetails) error
	// HeartbeatInterval is the pause between heartbeats to each TaskManager. Flink's heartbeat.interval;
	// default 10 s.
	HeartbeatInterval time.Duration
	// HeartbeatTimeout is how long a TaskManager may be silent before its tasks are restarted elsewhere.
	// Flink's heartbeat.timeout; default 50 s.
	HeartbeatTimeout time.Duration
	// Followers are all TaskManagers that this process hears, of whichever job. Default: those of the job.
	Followers *rpc.Followers
	// AdoptionTimeout is how long a new leader waits for the TaskManagers of its predecessor. Default 30 s.
	AdoptionTimeout time.Duration
	// SlotRequestTimeout is how long the job waits for slots before that counts as a failure. Flink's
	// slot.request.timeout; default 5 min.
	SlotRequestTimeout time.Duration
	Log                *zap.Logger
}

// JobMaster is one job's master in this process, leading or not.
type JobMaster struct {
	cfg         Config
	id          id.Job
	log         *zap.Logger
	election    *haservices.LeaderElection
	ledger      *haservices.LedgerStore
	intent      *haservices.IntentStore
	checkpoints *haservices.CompletedCheckpointStore
	ids         *haservices.CheckpointIDCounter
	results     *haservices.JobResultStore // to read

	nowMu sync.Mutex // guards now
	now   standing
}

// standing is how a JobMaster stands.
type standing struct {
	term *term // nil while this process does not lead the job
	// result is not nil when the job has ended and that is durable.
	result *protocol.JobDetails
	// stopped: Run has returned, and will not lead the job any more.
	stopped bool
	// changed is closed and replaced when one of them changes.
	changed chan struct{}
}

// New returns the master of one job. It starts nothing.
func New(cfg Config) *JobMaster {
	orDuration(&cfg.HeartbeatInterval, 10*time.Second)
	orDuration(&cfg.HeartbeatTimeout, 50*time.Second)
	orDuration(&cfg.AdoptionTimeout, 30*time.Second)
	orDuration(&cfg.SlotRequestTimeout, 5*time.Minute)
	if cfg.Followers == nil {
		cfg.Followers = &rpc.Followers{}
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	job := cfg.Job.Graph.ID
	election := cfg.Services.LeaderElection(haservices.JobMaster(job))
	return &JobMaster{
		cfg: cfg, id: job, election: election,
		log:         cfg.Log.With(logging.Component("job-master"), logging.Job(job)),
		ledger:      cfg.Services.Ledger(election, job),
		intent:      cfg.Services.Intent(election, job),
		checkpoints: cfg.Services.Checkpoints(election, job),
		ids:         cfg.Services.CheckpointIDs(election, job),
		results:     cfg.Services.JobResults(nil),
		now:         standing{changed: make(chan struct{})},
	}
}

// leadFunc is a haservices.LeaderContender made of a function.
type leadFunc func(ctx context.Context, token id.FencingToken) error

func (f leadFunc) Lead(ctx context.Context, token id.FencingToken) error { return f(ctx, token) }

// Run contends for the leadership of the job and leads it, term after term. It returns nil when the job
// has ended and Conclude has succeeded, or when ctx ends; then nothing is sent to anyone. It fails with
// errUntold when the job has ended and the TaskManagers may not know, and with rpc.ErrCutOff when no TaskManager
// is heard any more: another process should try. It is not called twice at a time.
func (jm *JobMaster) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	jm.change(func(s *standing) { s.stopped = false })
	defer jm.change(func(s *standing) { s.stopped = true })
	var last error
	err := jm.election.Run(ctx, leadFunc(func(ctx context.Context, token id.FencingToken) error {
		ended, err := jm.lead(ctx, token)
		if ended || errors.Is(err, rpc.ErrCutOff) {
			last = err
			stop()
		}
		return err
	}))
	if err == nil {
		err = last
	}
	if err != nil {
		return fmt.Errorf("run job %s: %w", jm.id, err)
	}
	return nil
}

// errUntold: the job has ended, durably, and its TaskManagers have still to be told; see Release.
var errUntold = errors.New("task managers may not know yet that the job has ended")

// lead is one term, first line to last. ended is true when the job has ended and its result is durable.
func (jm *JobMaster) lead(ctx context.Context, token id.FencingToken) (ended bool, err error) {
	t, err := jm.newTerm(ctx, token)
	if err != nil {
		return false, err
	}
	if t.result != nil {
		return jm.endedBefore(ctx, *t.result)
	}
	defer jm.setTerm(nil)
	err = t.run(ctx)
	switch {
	case errors.Is(err, errConcluded):
		return true, nil
	case jm.present().result != nil: // leadership was lost between the result and the farewells
		return true, errUntold
	}
	return false, err
}

// endedBefore is a term of a job that has a result: one that was stored although its master could not hear of it,
// or by another Dispatcher, whose successor this process believes to have. The job must not run again.
func (jm *JobMaster) endedBefore(ctx context.Context, d protocol.JobDetails) (ended bool, err error) {
	if err := jm.cfg.Conclude(ctx, d); err != nil {
		return false, err
	}
	jm.setResult(d)
	return true, errUntold
}

func (jm *JobMaster) setTerm(t *term) { jm.change(func(s *standing) { s.term = t }) }

func (jm *JobMaster) setResult(d protocol.JobDetails) {
	jm.change(func(s *standing) { s.result = &d })
}

// change changes how jm stands, and tells those who wait for that.
func (jm *JobMaster) change(f func(*standing)) {
	jm.nowMu.Lock()
	defer jm.nowMu.Unlock()
	f(&jm.now)
	close(jm.now.changed)
	jm.now.changed = make(chan struct{})
}

func (jm *JobMaster) present() standing {
	jm.nowMu.Lock()
	defer jm.nowMu.Unlock()
	return jm.now
}

// Cancel returns when the wish to cancel the job is durable: whoever leads it from then on cancels it.
// It waits for this process to lead the job, so ctx should have a deadline. Cancelling twice succeeds;
// protocol.ErrJobEnded when the job has ended otherwise, rpc.ErrStopped when Run has returned.
func (jm *JobMaster) Cancel(ctx context.Context) error {
	for {
		now := jm.present()
		switch {
		case now.result != nil && now.result.Overview.State == protocol.JobCanceled:
			return nil
		case now.result != nil:
			return fmt.Errorf("cancel job %s: %w", jm.id, protocol.ErrJobEnded)
		case now.term != nil:
			if err := now.term.cancel(ctx); !errors.Is(err, rpc.ErrStopped) {
				return err
			}
		case now.stopped:
			return fmt.Errorf("cancel job %s: %w", jm.id, rpc.ErrStopped)
		}
		select {
		case <-now.changed:
		case <-ctx.Done():
			return fmt.Errorf("cancel job %s: %w", jm.id, ctx.Err())
		}
	}
}

// Details is all that users can ask about the job. While this process does not lead it, that is only the
// graph, in state INITIALIZING; once it has ended, and that is durable, how it ended. rpc.ErrStopped when Run has
// returned before that.
func (jm *JobMaster) Details(ctx context.Context) (protocol.JobDetails, error) {
	now := jm.present()
	switch {
	case now.result != nil:
		return *now.result, nil
	case now.stopped:
		return protocol.JobDetails{}, fmt.Errorf("describe job %s: %w", jm.id, rpc.ErrStopped)
	}
	if t := now.term; t != nil {
		d, err := rpc.Call(ctx, t.main, func() (protocol.JobDetails, error) { return beforeResult(t.details(time.Now())), nil })
		if !errors.Is(err, rpc.ErrStopped) {
			return d, err
		}
	}
	g, submitted := jm.cfg.Job.Graph, jm.cfg.Job.Submitted
	return protocol.JobDetails{
		Overview: protocol.JobOverview{
			ID: g.ID, Name: g.Name, State: protocol.JobInitializing, Start: submitted, LastModified: submitted,
			Tasks: map[protocol.TaskState]int{},
		},
		Graph:      g,
		StateTimes: map[protocol.JobState]time.Time{protocol.JobInitializing: submitted},
		Waiting:    "leadership of the job",
	}, nil
}

package jobmaster

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// session is the connection to one process life of a TaskManager, from its registration until it is
// lost. What is sent to it arrives in order, so a cancellation never overtakes the deployment; each call
// is repeated until it is answered or the session ends.
type session struct {
	member
	address string
	gateway rpc.Gateway
	log     *zap.Logger
	timeout time.Duration // of one try
	out     *mailbox
	ctx     context.Context
	cancel  context.CancelFunc

	// Owned by the main thread.
	heardAt time.Time
	// registrations of the TaskManager in this session.
	registrations int
}

// syncSessions opens and closes sessions so that there is one for each TaskManager that the schedule
// knows as connected. Main thread.
func (t *term) syncSessions() {
	for m, s := range t.sessions {
		if t.schedule.members[m] != s.address {
			s.log.Info("task manager disconnected")
			s.cancel()
			delete(t.sessions, m)
		}
	}
	for m, address := range t.schedule.members {
		if t.sessions[m] == nil {
			t.openSession(m, address)
		}
	}
}

func (t *term) openSession(m member, address string) {
	gateway, err := t.jm.cfg.RPC.Gateway(address, t.token)
	log := t.log.With(logging.TaskManager(m.id))
	if err != nil { // the registration was checked: it cannot happen
		panic(err)
	}
	log.Debug("task manager connected")
	ctx, cancel := context.WithCancel(t.ctx)
	s := &session{
		member: m, address: address, gateway: gateway, log: log, timeout: t.jm.cfg.HeartbeatInterval,
		out: newMailbox(), ctx: ctx, cancel: cancel,
	}
	t.heard(s, time.Now())
	t.sessions[m] = s
	t.watch(m, address)
	t.group.Go(func() error {
		defer cancel()
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return s.out.run(ctx) })
		g.Go(func() error { t.beat(ctx, s); return nil })
		return g.Wait()
	})
}

// send puts a call into the order of the session. done is told the answer, on the session's goroutine,
// unless the session or the term ended first, or a newer leader is known there.
func (t *term) send(s *session, what string, call func(context.Context, rpc.Gateway) error, done func(error)) {
	s.out.put(func(ctx context.Context) error {
		err := persist(ctx, s.timeout, func(ctx context.Context) error { return call(ctx, s.gateway) })
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, rpc.ErrFenced):
			s.log.Info("task manager obeys another leader", zap.String("call", what), zap.Error(err))
			return nil
		case err != nil && done == nil:
			s.log.Warn("call refused", zap.String("call", what), zap.Error(err))
		}
		t.main.Post(ctx, func() { t.heard(s, time.Now()) })
		if done != nil {
			done(err)
		}
		return nil
	})
}

// heard takes an answer or a call as a sign of life. Main thread.
func (t *term) heard(s *session, now time.Time) {
	if s != nil {
		s.heardAt = now
		t.jm.cfg.Followers.Heard(now)
	}
}

// asked is what a heartbeat's answer is compared with: how things stood when it was sent.
type asked struct {
	sequence      int64
	registrations int
}

// beat sends heartbeats; whoever answers lives.
func (t *term) beat(ctx context.Context, s *session) {
	for sleep(ctx, t.jm.cfg.HeartbeatInterval) == nil {
		since, err := rpc.Call(ctx, t.main, func() (asked, error) { return asked{t.schedule.sequence, s.registrations}, nil })
		if err != nil {
			return
		}
		callCtx, cancel := context.WithTimeout(ctx, s.timeout)
		report, err := rpc.Invoke(callCtx, s.gateway, protocol.JobMasterHeartbeat,
			protocol.JobMasterHeartbeatRequest{Job: t.jm.id})
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			t.post(func(now time.Time) []action {
				t.heard(s, now)
				return t.schedule.heartbeat(now, s.member, since.sequence, report)
			})
		case errors.Is(err, protocol.ErrUnknownJob):
			t.post(func(now time.Time) []action {
				if s.registrations != since.registrations {
					return nil // it has registered meanwhile, with something
				}
				return t.schedule.lost(now, s.member, false, "it holds nothing of the job any more")
			})
		default:
			s.log.Debug("heartbeat not answered", zap.Error(err))
		}
	}
}

// watch tells the schedule at once when a TaskManager's process has ended. Main thread.
func (t *term) watch(m member, address string) {
	a, err := rpc.ParseAddress(address)
	if err != nil || t.watched[m] {
		return
	}
	t.watched[m] = true
	t.group.Go(func() error {
		for t.ctx.Err() == nil {
			err := t.jm.cfg.RPC.Transport().AwaitGone(t.ctx, a.HostPort, m.instance, t.jm.cfg.HeartbeatTimeout)
			switch {
			case errors.Is(err, rpc.ErrGone):
				t.post(func(now time.Time) []action { return t.schedule.lost(now, m, true, "its process has ended") })
				return nil
			case !errors.Is(err, rpc.ErrSilent): // silence is for heartbeats to judge
				sleep(t.ctx, lastPause)
			}
		}
		return nil
	})
}

// inquiryPause is how long a TaskManager of the ledger has to register before it is asked.
const inquiryPause = time.Second

// inquire asks a TaskManager of the ledger what it has, until it has registered or is not waited for any
// more. One that has freed its slots holds nothing of the job and does not follow the job's leaders: it
// would be waited for in vain, and then blamed. Main thread.
func (t *term) inquire(m member, address string) {
	gateway, err := t.jm.cfg.RPC.Gateway(address, t.token)
	if err != nil {
		return // of no process
	}
	request := protocol.JobMasterHeartbeatRequest{Job: t.jm.id}
	t.group.Go(func() error {
		for sleep(t.ctx, inquiryPause) == nil {
			awaited, err := rpc.Call(t.ctx, t.main, func() (bool, error) { return t.schedule.awaits(m), nil })
			if err != nil || !awaited {
				return nil
			}
			callCtx, cancel := context.WithTimeout(t.ctx, t.jm.cfg.HeartbeatInterval)
			_, err = rpc.Invoke(callCtx, gateway, protocol.JobMasterHeartbeat, request)
			cancel()
			if errors.Is(err, protocol.ErrUnknownJob) {
				t.post(func(now time.Time) []action { return t.schedule.absent(now, m) })
			}
		}
		return nil
	})
}

// sendTasks sends what the schedule wants done at one TaskManager, if it is still connected. Main thread.
func (t *term) sendTasks(a action) {
	job := t.jm.id
	switch a := a.(type) {
	case prepareJob:
		if s := t.sessions[a.to]; s != nil {
			t.group.Go(func() error { t.prepare(s, a.wave); return nil })
		}
	case deployTasks:
		attempts := make([]id.ExecutionAttempt, len(a.tasks))
		for i, d := range a.tasks {
			attempts[i] = d.Attempt
			t.log.Debug("task deployed", logging.Attempt(d.Attempt), logging.TaskManager(a.to.id))
		}
		t.to(a.to, "deploy tasks", call(protocol.DeployTasks, protocol.DeployTasksRequest{Job: job, Tasks: a.tasks}), func(err error) {
			t.post(func(now time.Time) []action { return t.schedule.deployed(now, a.to, attempts, failureOf(err)) })
		})
	case cancelTasks:
		t.to(a.to, "cancel tasks", call(protocol.CancelTasks, protocol.CancelTasksRequest{
			Job: job, Attempts: a.attempts, Discard: a.discard, Completed: a.completed,
		}), nil)
	case finishTasks:
		t.to(a.to, "finish tasks", call(protocol.FinishTasks, protocol.FinishTasksRequest{Job: job, Attempts: a.attempts}), nil)
	case releaseSlots:
		t.to(a.to, "release slots", call(protocol.ReleaseSlots, protocol.ReleaseSlotsRequest{Job: job, Allocations: a.allocations}), nil)
	}
}

func (t *term) to(m member, what string, call func(context.Context, rpc.Gateway) error, done func(error)) {
	if s := t.sessions[m]; s != nil {
		t.send(s, what, call, done)
	}
}

// prepareTimeout bounds one try to start a job process: its binary may have to be fetched first.
const prepareTimeout = 2 * time.Minute

// prepare has a TaskManager start the job process. It takes time, so it is not in the session's order;
// nothing that was sent before matters to it.
func (t *term) prepare(s *session, wave int) {
	request := t.jm.prepareRequest()
	var answer protocol.PreparedJob
	err := persist(s.ctx, prepareTimeout, func(ctx context.Context) (err error) {
		answer, err = rpc.Invoke(ctx, s.gateway, protocol.PrepareJob, request)
		return err
	})
	if s.ctx.Err() != nil || errors.Is(err, rpc.ErrFenced) {
		return
	}
	t.post(func(now time.Time) []action {
		return t.schedule.prepared(now, wave, s.member, answer.DataAddress, failureOf(err))
	})
}

func (jm *JobMaster) prepareRequest() protocol.PrepareJobRequest {
	r := protocol.PrepareJobRequest{Job: jm.id, Graph: jm.cfg.Job.Graph}
	if jm.cfg.BlobServer != nil {
		r.BlobServer = jm.cfg.BlobServer()
	}
	return r
}

func failureOf(err error) *protocol.Failure {
	if err == nil {
		return nil
	}
	return &protocol.Failure{Message: err.Error()}
}

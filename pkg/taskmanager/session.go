package taskmanager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// masterSession is one job's session with one JobMaster: it registers, offers slots and tells news, each
// until the master has taken it, and registers again when the connection was lost. It ends when another
// leader is told, before the session with that one begins. No task belongs to it.
type masterSession struct {
	job     *job
	gateway rpc.Gateway
	log     *zap.Logger
	// wake says that there is something to tell, silent that heartbeats stopped. Room for one: more say the
	// same.
	wake, silent chan struct{}
}

// attend is the session with one leader; it returns when ctx ends.
func (j *job) attend(ctx context.Context, leader haservices.LeaderInformation) {
	log := j.log.With(logging.Leader(leader.Address), logging.Token(leader.Token))
	gateway, err := j.tm.cfg.RPC.Gateway(leader.Address, leader.Token)
	if err != nil {
		log.Error("published address of the job master is wrong", zap.Error(err))
		return
	}
	s := &masterSession{job: j, gateway: gateway, log: log, wake: make(chan struct{}, 1), silent: make(chan struct{}, 1)}
	_, err = rpc.Call(ctx, j.tm.main, func() (struct{}, error) {
		// Without a word of the master itself this is no contact: the orphan timeout runs on.
		if err := j.attachment.fence.Observe(leader.Token); err != nil {
			return struct{}{}, err
		}
		j.session = s
		return struct{}{}, nil
	})
	if err != nil {
		log.Info("job master ignored", zap.Error(err)) // a newer one has called already
		return
	}
	defer j.tm.main.Post(context.WithoutCancel(ctx), func() {
		if j.session == s {
			j.session = nil
		}
	})
	s.run(ctx)
}

func (s *masterSession) run(ctx context.Context) {
	timeout := callTimeout
	for pause := firstBackoff; ctx.Err() == nil; {
		level := firstWarns(pause)
		answer, err := s.register(ctx, timeout)
		timeout = afterTimeout(timeout, err)
		if err == nil {
			err = s.serve(ctx, answer)
			level, pause = zap.WarnLevel, afterLoss(s.gateway.Token(), err)
		}
		if ctx.Err() != nil || errors.Is(err, errSessionOver) {
			return
		}
		s.log.Log(level, "connection to the job master missing", logging.RetryIn(pause), zap.Error(err))
		sleep(ctx, jitter(pause))
		pause = min(2*pause, lastBackoff)
	}
}

// errSessionOver: the job has another session, or is being released here. There is nothing left to say.
var errSessionOver = errors.New("the session with the job master is over")

// current runs f on the main thread if this is still the job's session, and waits for it; else errSessionOver.
func (s *masterSession) current(ctx context.Context, f func()) error {
	_, err := rpc.Call(ctx, s.job.tm.main, func() (struct{}, error) {
		if s.job.session != s || s.job.releasing {
			return struct{}{}, errSessionOver
		}
		f()
		return struct{}{}, nil
	})
	return err
}

// register reports everything to the master and obeys its answer.
func (s *masterSession) register(ctx context.Context, timeout time.Duration) (protocol.RegisteredAtJobMaster, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var request protocol.RegisterAtJobMasterRequest
	var number int64
	j, tm := s.job, s.job.tm
	err := s.current(ctx, func() {
		number = j.executions.number
		request = protocol.RegisterAtJobMasterRequest{
			Job: j.id, TaskManager: tm.cfg.ID, Instance: tm.instance, Address: tm.Address(),
			Report: j.report(s.gateway.Token()),
		}
	})
	if err != nil {
		return protocol.RegisteredAtJobMaster{}, err
	}
	answer, err := rpc.Invoke(ctx, s.gateway, protocol.RegisterAtJobMaster, request)
	if err != nil {
		return answer, err
	}
	return answer, s.current(ctx, func() { s.registered(answer, request.Report, number) })
}

// registered obeys the answer to a report. Main thread.
func (s *masterSession) registered(answer protocol.RegisteredAtJobMaster, told protocol.JobReport, number int64) {
	j, token := s.job, s.gateway.Token()
	if err := j.attachment.heard(token, time.Now()); err != nil {
		return // a newer master has called meanwhile: this one's orders are void
	}
	s.log.Info("registered at the job master", zap.Int("tasks", len(told.Executions)), logging.Took(j.withoutMaster()))
	j.attachment.silence = answer.HeartbeatTimeout
	select {
	case <-s.silent: // about the last registration
	default:
	}
	j.executions.takenReport(token, number)
	j.tm.slots.accept(j.id, told.Allocations)
	j.cancelTasks(answer.Cancel)
	j.free(answer.RejectedSlots)
	signal(s.wake)
}

// lost notes that the master with that token is certainly gone. Main thread.
func (j *job) lost(token id.FencingToken) {
	j.attachment.lost(token)
	if j.attachment.state == orphaned && j.lostAt.IsZero() {
		j.lostAt = time.Now()
	}
}

// withoutMaster ends the time without a master, and returns how long that was: 0 when a leader's successor
// came before the leader was missed. Main thread.
func (j *job) withoutMaster() (d time.Duration) {
	if !j.lostAt.IsZero() {
		d = time.Since(j.lostAt)
	}
	j.lostAt = time.Time{}
	return d
}

// serve tells news until the connection is lost, and returns why.
func (s *masterSession) serve(ctx context.Context, answer protocol.RegisteredAtJobMaster) error {
	gone := make(chan error, 1) // room for the one result
	stop := start(ctx, func(ctx context.Context) {
		gone <- s.job.tm.awaitGone(ctx, s.gateway, answer.Process, answer.HeartbeatTimeout)
	})
	defer stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	retry.Stop()
	for pause := firstBackoff; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-gone:
			s.job.tm.main.Post(ctx, func() { s.job.lost(s.gateway.Token()) })
			return err
		case <-s.silent:
			return rpc.ErrSilent
		case <-s.wake:
		case <-retry.C:
		}
		err := s.tell(ctx)
		switch {
		case err == nil:
			pause = firstBackoff
			retry.Stop()
		case errors.Is(err, rpc.ErrUnreachable), errors.Is(err, context.DeadlineExceeded):
			retry.Reset(pause)
			pause = min(2*pause, lastBackoff)
		default:
			return err
		}
	}
}

// tell offers new slots and tells all news once. What was taken is not told again.
func (s *masterSession) tell(ctx context.Context) error {
	var offers []id.Allocation
	var untold []news
	j := s.job
	if err := s.current(ctx, func() { offers, untold = j.tm.slots.unoffered(j.id), j.executions.untold() }); err != nil {
		return err
	}
	if len(offers) > 0 {
		if err := s.offer(ctx, offers); err != nil {
			return err
		}
	}
	var states []news
	for _, n := range untold {
		if n.state != nil {
			states = append(states, n)
		}
	}
	// States first: a master should know an attempt before it gets its acknowledgement.
	if err := s.tellStates(ctx, states); err != nil {
		return err
	}
	for _, n := range untold {
		if n.state == nil {
			if err := s.tellCheckpoint(ctx, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *masterSession) offer(ctx context.Context, offers []id.Allocation) error {
	callCtx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	j, tm := s.job, s.job.tm
	answer, err := rpc.Invoke(callCtx, s.gateway, protocol.OfferSlots, protocol.OfferSlotsRequest{
		Job: j.id, TaskManager: tm.cfg.ID, Instance: tm.instance, Allocations: offers,
	})
	if err != nil {
		return err
	}
	return s.current(ctx, func() {
		tm.slots.accept(j.id, offers)
		j.heardBy(s.gateway.Token())
		j.free(answer.Rejected)
	})
}

func (s *masterSession) tellStates(ctx context.Context, states []news) error {
	if len(states) == 0 {
		return nil
	}
	callCtx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request := protocol.TaskStateChangedRequest{Job: s.job.id, TaskManager: s.job.tm.cfg.ID, Instance: s.job.tm.instance}
	for _, n := range states {
		request.Executions = append(request.Executions, *n.state)
	}
	if _, err := rpc.Invoke(callCtx, s.gateway, protocol.TaskStateChanged, request); err != nil {
		return err
	}
	return s.taken(ctx, states)
}

func (s *masterSession) tellCheckpoint(ctx context.Context, n news) error {
	callCtx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	tm := s.job.tm
	var err error
	if n.ack != nil {
		request := *n.ack
		request.TaskManager, request.Instance = tm.cfg.ID, tm.instance
		_, err = rpc.Invoke(callCtx, s.gateway, protocol.AcknowledgeCheckpoint, request)
	} else {
		request := *n.decline
		request.TaskManager, request.Instance = tm.cfg.ID, tm.instance
		_, err = rpc.Invoke(callCtx, s.gateway, protocol.DeclineCheckpoint, request)
	}
	if err != nil && (ctx.Err() != nil || !answered(err)) {
		return fmt.Errorf("checkpoint %d: %w", n.checkpoint(), err)
	}
	if err != nil {
		// The master does not want it: telling it again would not change that.
		s.log.Warn("checkpoint message refused", logging.Checkpoint(n.checkpoint()), zap.Error(err))
	}
	return s.taken(ctx, []news{n})
}

// answered reports whether err is the decision of a master that knows this TaskManager.
func answered(err error) bool {
	for _, other := range []error{rpc.ErrUnreachable, context.DeadlineExceeded, context.Canceled, rpc.ErrFenced, rpc.ErrStopped,
		rpc.ErrNoEndpoint, rpc.ErrVersion, protocol.ErrUnknownTaskManager, protocol.ErrNotReady} {
		if errors.Is(err, other) {
			return false
		}
	}
	return true
}

func (s *masterSession) taken(ctx context.Context, told []news) error {
	return s.current(ctx, func() {
		s.job.executions.taken(s.gateway.Token(), told)
		s.job.heardBy(s.gateway.Token())
		s.job.tidy()
	})
}

// heardBy takes an answer as a sign of life. Main thread.
func (j *job) heardBy(token id.FencingToken) { j.attachment.heard(token, time.Now()) }

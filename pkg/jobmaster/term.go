package jobmaster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/checkpoint"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// errConcluded ends a term whose job has ended, durably.
var errConcluded = errors.New("job has ended")

// term is one leadership of the job, with fresh state: nothing of an earlier term gets in but what the
// stores have.
type term struct {
	jm       *JobMaster
	token    id.FencingToken
	log      *zap.Logger
	main     *rpc.MainThread
	endpoint *rpc.Endpoint

	// What earlier leaders left behind; read before the term begins.
	ledger *haservices.Ledger
	intent *haservices.Intent
	lastID int64 // of checkpoints, at the beginning
	latest *checkpoint.Completed
	// unreadable says why latest is nil although there is one.
	unreadable *protocol.Failure
	// result of the job, which has ended then; nil for a job to lead.
	result *protocol.JobDetails

	// group holds all goroutines of the term; ctx ends with it.
	group *errgroup.Group
	ctx   context.Context
	// writes to the stores, in order.
	writes *mailbox
	// drops of subsumed checkpoints, in order; subsuming is the newest one there.
	drops     *mailbox
	subsuming atomic.Int64
	// declare says that the requirements changed; room for one says it all.
	declare chan struct{}
	// wake carries the time of the next tick, the latest value; room for one.
	wake      chan time.Time
	beginning chan struct{} // closed when begun becomes true
	over      chan struct{} // closed when the term is

	// Owned by the main thread.
	fence       rpc.LeaderFence
	begun       bool
	schedule    *schedule
	coordinator *checkpoint.Coordinator
	sessions    map[member]*session
	watched     map[member]bool
	wave        int             // the highest one in a ledger
	waiters     []chan struct{} // for the intent to be stored
	rm          rpc.Gateway     // the ResourceManager that the job is registered at
	rmKnown     bool
}

// newTerm makes a term of what earlier leaders left behind.
func (jm *JobMaster) newTerm(ctx context.Context, token id.FencingToken) (*term, error) {
	t := &term{
		jm: jm, token: token, log: jm.log.With(logging.Token(token)),
		main:      rpc.NewMainThread(),
		writes:    newMailbox(),
		drops:     newMailbox(),
		declare:   make(chan struct{}, 1),
		wake:      make(chan time.Time, 1),
		beginning: make(chan struct{}),
		over:      make(chan struct{}),
		sessions:  map[member]*session{},
		watched:   map[member]bool{},
	}
	if err := t.read(ctx); err != nil {
		return nil, err
	}
	cfg := scheduleConfig{
		graph: &jm.cfg.Job.Graph, submitted: jm.cfg.Job.Submitted,
		adoptionTimeout: jm.cfg.AdoptionTimeout, slotRequestTimeout: jm.cfg.SlotRequestTimeout,
		jitter: func() float64 { return 2*rand.Float64() - 1 },
		latest: t.latest, unreadable: t.unreadable,
	}
	t.schedule = newSchedule(cfg)
	restored := int64(0)
	if t.ledger != nil {
		restored = t.ledger.RestoredFrom
	}
	t.coordinator = checkpoint.NewCoordinator(checkpoint.Config{
		Job: jm.id, Epoch: token.Epoch(), Checkpointing: cfg.graph.Checkpointing, Vertices: cfg.graph.Vertices, Latest: t.latest,
		RestoredFrom: restored,
	})
	jm.election.StoresRead(token)
	t.endpoint = rpc.NewEndpoint(protocol.JobMasterEndpoint+"/"+jm.id.String(), t.main)
	t.registerCalls()
	return t, nil
}

// read reads the stores, all at once: each read is a round trip. Nothing can change them any more: the epoch
// was won.
func (t *term) read(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		ledger, err := t.jm.ledger.Get(ctx)
		if err == nil {
			t.ledger, t.wave = &ledger, ledger.Wave
		}
		return unlessNotFound(err)
	})
	g.Go(func() error {
		intent, err := t.jm.intent.Get(ctx)
		if err == nil {
			t.intent = &intent
		}
		return unlessNotFound(err)
	})
	g.Go(func() (err error) {
		t.lastID, err = t.jm.ids.Last(ctx)
		return err
	})
	g.Go(func() (err error) {
		t.latest, err = t.jm.checkpoints.Latest(ctx)
		if errors.Is(err, haservices.ErrUnreadable) {
			t.log.Error("latest checkpoint cannot be read: the job cannot be restarted, should it have to be", zap.Error(err))
			t.unreadable = &protocol.Failure{Message: err.Error()}
			return nil
		}
		return unlessNotFound(err)
	})
	g.Go(func() error {
		r, err := t.jm.results.Get(ctx, t.jm.id)
		if err == nil {
			t.result = &r.Details
		}
		return unlessNotFound(err)
	})
	return g.Wait()
}

func unlessNotFound(err error) error {
	if errors.Is(err, haservices.ErrNotFound) {
		return nil
	}
	return err
}

// run is the term: endpoint up, address confirmed, then adoption or scheduling. It returns errConcluded
// when the job has ended, rpc.ErrCutOff when no TaskManager is heard any more, and nil or another error when
// leadership has ended.
func (t *term) run(ctx context.Context) error {
	defer close(t.over)
	t.group, t.ctx = errgroup.WithContext(ctx)
	t.fence.Grant(t.token)
	t.jm.cfg.RPC.Add(t.endpoint)
	defer t.jm.cfg.RPC.Remove(t.endpoint)
	t.group.Go(func() error { return t.main.Run(t.ctx) })
	t.group.Go(func() error { return t.writes.run(t.ctx) })
	t.group.Go(func() error { return t.drops.run(t.ctx) })
	t.group.Go(func() error {
		if err := t.jm.election.Confirm(t.ctx, t.token, t.jm.cfg.RPC.Address(t.endpoint.Name())); err != nil {
			return err
		}
		if err := rpc.Do(t.ctx, t.main, t.begin); err != nil {
			return nil // the term is over
		}
		t.jm.setTerm(t)
		t.group.Go(func() error { return t.clock(t.ctx) })
		return t.followResourceManager(t.ctx)
	})
	err := t.group.Wait()
	if ctx.Err() != nil && !errors.Is(err, errConcluded) {
		return nil
	}
	return err
}

// begin starts the schedule. Main thread.
func (t *term) begin() {
	t.begun = true
	close(t.beginning)
	if t.ledger != nil {
		t.log.Info("job is being adopted", zap.Int("tasks", len(t.ledger.Executions)), zap.Int("wave", t.ledger.Wave), logging.Took(t.sinceLoss()))
		for _, e := range t.ledger.Executions {
			m := member{e.TaskManager, e.Instance}
			if !t.watched[m] {
				t.inquire(m, e.Address)
			}
			t.watch(m, e.Address)
		}
	} else {
		t.jm.election.Adopted(t.token, time.Now(), 0, 0)
		t.log.Info("job begins", zap.Int("slots", t.schedule.slots.need))
	}
	t.perform(t.schedule.start(time.Now(), t.ledger, t.intent))
}

// post runs an event on the main thread and carries out what follows from it.
func (t *term) post(event func(now time.Time) []action) {
	t.main.Post(t.ctx, func() { t.perform(event(time.Now())) })
}

// postCheckpoint is post for events of the coordinator.
func (t *term) postCheckpoint(event func(now time.Time) []checkpoint.Action) {
	t.main.Post(t.ctx, func() { t.perform(t.coordinate(event(time.Now()))) })
}

// perform carries out actions and those that follow from them, then plans the next tick. Main thread.
func (t *term) perform(actions []action) {
	t.syncSessions()
	for len(actions) > 0 {
		next := actions[0]
		actions = append(actions[1:], t.carryOut(next)...)
	}
	t.plan()
}

// plan tells the clock when something is due. Main thread.
func (t *term) plan() {
	next, ok := t.schedule.next()
	if at, due := t.coordinator.Next(); due && (!ok || at.Before(next)) {
		next, ok = at, true
	}
	if !ok {
		return
	}
	select {
	case <-t.wake:
	default:
	}
	t.wake <- next // there is room: nobody else sends
}

// tickInterval is the longest pause between two ticks: how late silence may be noticed, and how much of a pause
// of this process may go unnoticed. Nothing else waits for a tick, and a process may have thousands of masters.
func (t *term) tickInterval() time.Duration {
	return min(t.jm.cfg.HeartbeatInterval/2, t.jm.cfg.HeartbeatTimeout/10)
}

// clock ticks when something is due, and at least each tickInterval: news of what is due next never put that
// off. A tick that comes late means that this process was paused or starved; the main thread is told by how
// much.
func (t *term) clock(ctx context.Context) error {
	last := time.Now()
	next := last.Add(t.tickInterval())
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(max(time.Until(next), time.Millisecond))
		select {
		case <-ctx.Done():
			return nil
		case due := <-t.wake:
			next = last.Add(t.tickInterval())
			if due.Before(next) {
				next = due
			}
		case <-timer.C:
			now := time.Now()
			late := now.Sub(next)
			last, next = now, now.Add(t.tickInterval())
			rpc.Do(ctx, t.main, func() { t.tick(late) }) // when it fails the term is over
		}
	}
}

// pauseNoticed is the lateness of a tick from which on it counts as a pause of the process.
const pauseNoticed = 100 * time.Millisecond

// tick is the event that time has passed. Main thread.
func (t *term) tick(late time.Duration) {
	now := time.Now()
	if late > pauseNoticed {
		t.log.Warn("process was paused", logging.Took(late))
		t.schedule.delay(late)
		t.coordinator.Delay(late)
		for _, s := range t.sessions {
			s.heardAt = s.heardAt.Add(late)
		}
	}
	silent := t.silent(now)
	if len(silent) > 0 && t.jm.cfg.Followers.CutOff(now, t.jm.cfg.HeartbeatTimeout) && !t.schedule.over() {
		// They are not to blame, and their tasks are better off with a leader that reaches them.
		t.group.Go(func() error { return rpc.ErrCutOff })
		return
	}
	actions := t.coordinate(t.coordinator.Tick(now))
	for _, s := range silent {
		reason := fmt.Sprintf("no heartbeat for %s", now.Sub(s.heardAt).Round(time.Millisecond))
		actions = append(actions, t.schedule.lost(now, s.member, false, reason)...)
	}
	t.perform(append(actions, t.schedule.tick(now)...))
}

// silent lists the sessions that have not been heard for the heartbeat timeout. Main thread.
func (t *term) silent(now time.Time) (list []*session) {
	for _, s := range t.sessions {
		if now.Sub(s.heardAt) >= t.jm.cfg.HeartbeatTimeout {
			list = append(list, s)
		}
	}
	return list
}

// details is what users are told. Main thread.
func (t *term) details(now time.Time) protocol.JobDetails {
	d := t.schedule.details(now)
	d.Checkpoints = t.coordinator.Summary()
	d.JobMasterEpoch = t.token.Epoch()
	return d
}

// cancel stores the wish to cancel. rpc.ErrStopped means that the term ended before that was certain.
func (t *term) cancel(ctx context.Context) error {
	stored, err := rpc.Call(ctx, t.main, func() (<-chan struct{}, error) {
		done, actions, err := t.schedule.cancel(time.Now())
		if err != nil {
			return nil, err
		}
		waiter := make(chan struct{})
		if done {
			close(waiter)
		} else {
			t.waiters = append(t.waiters, waiter)
		}
		t.perform(actions)
		return waiter, nil
	})
	if err != nil {
		return err
	}
	select {
	case <-stored:
		return nil
	case <-t.over:
		return rpc.ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// conclude makes the end of the job durable, then has everybody let go of it.
func (t *term) conclude(ctx context.Context, d protocol.JobDetails, targets farewells, rm rpc.Gateway, rmKnown bool) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := t.jm.cfg.Conclude(ctx, d)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil // the next leader finds the job ended, or ends it
		}
		t.log.Warn("result of the job is not stored yet", logging.RetryIn(pause), zap.Error(err))
		if sleep(ctx, pause) != nil {
			return nil
		}
	}
	t.jm.setResult(d)
	t.jm.releaseJob(ctx, t.token, targets, "job is "+string(d.Overview.State))
	if rmKnown {
		t.disconnect(ctx, rm)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t.log.Info("job has ended", zap.String("state", string(d.Overview.State)), zap.Int("restarts", d.Overview.Restarts))
	return errConcluded
}

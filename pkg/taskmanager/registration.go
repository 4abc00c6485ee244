package taskmanager

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

const (
	// callTimeout bounds a small call to a leader. A registration that a busy leader did not answer in that time
	// gets twice as long the next time, up to lastTimeout, as repeating keeps it busy. Flink's
	// cluster.registration.max-timeout is the last.
	callTimeout = 5 * time.Second
	lastTimeout = 30 * time.Second
	// firstBackoff and lastBackoff bound the pause between attempts to reach a leader. Flink's
	// cluster.registration.initial-timeout is the first.
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 2 * time.Second
	// farewellTimeout bounds how long a clean stop waits for the ResourceManager.
	farewellTimeout = 500 * time.Millisecond
)

// registration is how this TaskManager stands to the leading ResourceManager. Owned by the main thread,
// but for the channels.
type registration struct {
	// gateway leads to the ResourceManager that accepted this TaskManager; only with registered.
	gateway    rpc.Gateway
	registered bool
	// since is when registered became false.
	since   time.Time
	heardAt time.Time
	silence time.Duration
	// changed says that slots changed, silent that heartbeats stopped. Room for one: more say the same.
	changed, silent chan struct{}
}

func newRegistration() registration {
	return registration{changed: make(chan struct{}, 1), silent: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (r *registration) tell() { signal(r.changed) }

func (r *registration) accepted(g rpc.Gateway, answer protocol.RegisteredTaskManager, now time.Time) {
	r.gateway, r.registered, r.heardAt, r.silence = g, true, now, answer.HeartbeatTimeout
	select {
	case <-r.silent: // about the last registration
	default:
	}
}

func (r *registration) lost(now time.Time) {
	if r.registered || r.since.IsZero() {
		r.registered, r.since = false, now
	}
}

func (r *registration) excuse(deaf time.Duration) { r.heardAt = r.heardAt.Add(deaf) }

func (r *registration) passTime(now time.Time) {
	if r.registered && r.silence > 0 && now.Sub(r.heardAt) >= r.silence {
		signal(r.silent)
	}
}

func (r *registration) missingFor(now time.Time) time.Duration {
	if r.registered {
		return 0
	}
	return now.Sub(r.since)
}

// follow calls session for each new leader of c, one at a time: the old session has ended before the new
// one begins. No leader is no news: the last known one may still be there. It returns when ctx ends.
func (tm *TaskManager) follow(ctx context.Context, c haservices.Component, session func(context.Context, haservices.LeaderInformation)) {
	leaders := haservices.NewLeaderChannel()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { tm.retrieve(ctx, c, leaders) })
	stop := func() {}
	defer func() { stop() }()
	var current haservices.LeaderInformation
	for {
		select {
		case <-ctx.Done():
			return
		case leader := <-leaders.C():
			if leader.IsEmpty() || leader == current {
				continue
			}
			current = leader
			stop()
			stop = start(ctx, func(ctx context.Context) { session(ctx, leader) })
		}
	}
}

// start runs f on a goroutine; stop ends it and returns when it has ended.
func start(ctx context.Context, f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { f(ctx) })
	return func() { cancel(); wg.Wait() }
}

// retrieve observes leaders until ctx ends, whatever happens to the HA backend.
func (tm *TaskManager) retrieve(ctx context.Context, c haservices.Component, listener haservices.LeaderRetrievalListener) {
	for pause := firstBackoff; ctx.Err() == nil; pause = min(2*pause, lastBackoff) {
		if err := tm.cfg.Services.LeaderRetrieval(c).Run(ctx, listener); ctx.Err() == nil {
			tm.log.Warn("leader retrieval interrupted", zap.Stringer("leader-of", c), logging.RetryIn(pause), zap.Error(err))
			sleep(ctx, pause)
		}
	}
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// firstWarns is the level at which a failed attempt is logged: one warning for each outage.
func firstWarns(pause time.Duration) zapcore.Level {
	if pause == firstBackoff {
		return zapcore.WarnLevel
	}
	return zapcore.DebugLevel
}

// jitter spreads what many TaskManagers would do at the same time: d and up to a fifth more.
func jitter(d time.Duration) time.Duration { return d + rand.N(d/5+1) }

// afterLoss is the pause before a lost leader is asked again. One whose process has ended leads no more: its
// successor will be told, and thousands that ask in vain meanwhile would only be in its way. Without high
// availability the next process has the same address, and is the same leader.
func afterLoss(leader id.FencingToken, reason error) time.Duration {
	if errors.Is(reason, rpc.ErrGone) && !leader.IsZero() {
		return lastBackoff
	}
	return firstBackoff
}

func (tm *TaskManager) followResourceManager(ctx context.Context) error {
	tm.follow(ctx, haservices.Component{Kind: haservices.ResourceManager}, tm.stayRegistered)
	return nil
}

// stayRegistered registers with one leader, again after every loss, until ctx ends.
func (tm *TaskManager) stayRegistered(ctx context.Context, leader haservices.LeaderInformation) {
	log := tm.log.With(logging.Leader(leader.Address), logging.Token(leader.Token))
	gateway, err := tm.cfg.RPC.Gateway(leader.Address, leader.Token)
	if err != nil {
		log.Error("published address of the resource manager is wrong", zap.Error(err))
		return
	}
	defer tm.main.Post(context.WithoutCancel(ctx), func() { tm.rm.lost(time.Now()) })
	_, err = rpc.Call(ctx, tm.main, func() (struct{}, error) { return struct{}{}, tm.rmFence.Observe(leader.Token) })
	if err != nil {
		log.Info("resource manager ignored", zap.Error(err)) // a newer one has called already
		return
	}
	timeout := callTimeout
	for pause := firstBackoff; ctx.Err() == nil; {
		answer, err := tm.register(ctx, gateway, timeout, log)
		if err != nil {
			timeout = afterTimeout(timeout, err)
			log.Log(firstWarns(pause), "registration at the resource manager not done", logging.RetryIn(pause), zap.Error(err))
			sleep(ctx, jitter(pause))
			pause = min(2*pause, lastBackoff)
			continue
		}
		pause = firstBackoff
		reason := tm.serveRegistration(ctx, gateway, answer)
		if ctx.Err() == nil {
			log.Warn("connection to the resource manager lost", zap.Error(reason))
			tm.main.Post(ctx, func() { tm.rm.lost(time.Now()) })
			sleep(ctx, jitter(afterLoss(leader.Token, reason)))
		}
	}
}

// afterTimeout is how long the next registration may take when one with that timeout has failed.
func afterTimeout(timeout time.Duration, err error) time.Duration {
	if errors.Is(err, context.DeadlineExceeded) {
		return min(2*timeout, lastTimeout)
	}
	return timeout
}

func (tm *TaskManager) register(ctx context.Context, g rpc.Gateway, timeout time.Duration, log *zap.Logger) (protocol.RegisteredTaskManager, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := rpc.Call(ctx, tm.main, func() (protocol.RegisterTaskManagerRequest, error) {
		return protocol.RegisterTaskManagerRequest{
			ID: tm.cfg.ID, Instance: tm.instance, Address: tm.Address(), Slots: tm.slots.report(),
			Host: tm.cfg.Host, Version: tm.slots.version,
		}, nil
	})
	if err != nil {
		return protocol.RegisteredTaskManager{}, err
	}
	answer, err := rpc.Invoke(ctx, g, protocol.RegisterTaskManager, request)
	if err != nil {
		return answer, err
	}
	return answer, rpc.Do(ctx, tm.main, func() {
		log.Info("registered at the resource manager", logging.Took(tm.rm.missingFor(time.Now())))
		tm.rm.accepted(g, answer, time.Now())
		if tm.slots.version != request.Version {
			tm.rm.tell()
		}
	})
}

// serveRegistration reports changed slots until the registration is lost, and returns why.
func (tm *TaskManager) serveRegistration(ctx context.Context, g rpc.Gateway, answer protocol.RegisteredTaskManager) error {
	gone := make(chan error, 1) // room for the one result
	stop := start(ctx, func(ctx context.Context) {
		gone <- tm.awaitGone(ctx, g, answer.Process, answer.HeartbeatTimeout)
	})
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-gone:
			return err
		case <-tm.rm.silent:
			return rpc.ErrSilent
		case <-tm.rm.changed:
			if err := tm.reportSlots(ctx, g); err != nil {
				return err
			}
		}
	}
}

// awaitGone returns when the process at g has ended, or ctx. Silence is left to heartbeats.
func (tm *TaskManager) awaitGone(ctx context.Context, g rpc.Gateway, process id.Instance, silence time.Duration) error {
	for process != (id.Instance{}) && ctx.Err() == nil {
		err := tm.cfg.RPC.Transport().AwaitGone(ctx, g.Address().HostPort, process, silence)
		if errors.Is(err, rpc.ErrGone) {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

func (tm *TaskManager) reportSlots(ctx context.Context, g rpc.Gateway) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	report, err := rpc.Call(ctx, tm.main, func() (protocol.SlotReport, error) { return tm.slotReport(), nil })
	if err != nil {
		return err
	}
	_, err = rpc.Invoke(ctx, g, protocol.ReportSlots, report)
	return err
}

// slotReport is made on the main thread.
func (tm *TaskManager) slotReport() protocol.SlotReport {
	return protocol.SlotReport{ID: tm.cfg.ID, Instance: tm.instance, Slots: tm.slots.report(), Version: tm.slots.version}
}

// sayFarewell tells the ResourceManager of a clean stop, so that it need not notice.
func (tm *TaskManager) sayFarewell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, farewellTimeout)
	defer cancel()
	rm, err := rpc.Call(ctx, tm.main, func() (registration, error) { return tm.rm, nil })
	if err != nil || rm.gateway.Address().Endpoint == "" {
		return
	}
	if _, err := rpc.Invoke(ctx, rm.gateway, protocol.DisconnectTaskManager,
		protocol.DisconnectTaskManagerRequest{ID: tm.cfg.ID, Instance: tm.instance, Reason: "stopped"}); err != nil {
		tm.log.Debug("farewell not heard", zap.Error(err))
	}
}

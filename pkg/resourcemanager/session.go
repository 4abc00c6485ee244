package resourcemanager

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

const (
	// firstRetry and lastRetry bound the pause before a slot is asked for again when the answer was lost.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// session is one registration of a TaskManager: it beats, watches for the process's end and asks for
// slots, until a later registration replaces it or the TaskManager is lost.
type session struct {
	term     *term
	id       id.TaskManager
	instance id.Instance
	gateway  rpc.Gateway
	stop     func()
	// used: slots were in use at the registration.
	used bool
	// running counts the goroutines of the session; watching starts one of them once.
	running  sync.WaitGroup
	watching sync.Once
	// wake says that queue is not empty. Room for one: more say the same.
	wake chan struct{}

	// Owned by the main thread.
	queue []lease
	heard time.Time
}

func newSession(t *term, r protocol.RegisterTaskManagerRequest, g rpc.Gateway) *session {
	s := &session{
		term: t, id: r.ID, instance: r.Instance, gateway: g, wake: make(chan struct{}, 1),
		used: slices.ContainsFunc(r.Slots, func(s protocol.Slot) bool { return !s.Allocation.IsZero() }),
	}
	s.sayHeard()
	s.stop = t.spawn(s.run)
	return s
}

// run is the session's goroutine; it returns when ctx ends.
func (s *session) run(ctx context.Context) {
	if s.used {
		s.watch(ctx)
	}
	s.running.Go(func() { s.beat(ctx) })
	s.ask(ctx)
	s.running.Wait()
}

// watch begins to watch for the end of the TaskManager's process: at once when slots are in use, else with the
// first request or heartbeat. After a leader change thousands register, and whoever is not needed yet need not
// be connected to meanwhile.
func (s *session) watch(ctx context.Context) {
	s.watching.Do(func() { s.running.Go(func() { s.awaitGone(ctx) }) })
}

// sayHeard notes a sign of life. On the main thread.
func (s *session) sayHeard() {
	s.heard = time.Now()
	s.term.rm.cfg.Followers.Heard(s.heard)
}

// post runs f on the main thread if s is still the session of its TaskManager in the present term:
// otherwise a later registration has replaced it, and what it learned is out of date.
func (s *session) post(ctx context.Context, f func()) {
	s.term.rm.main.Post(ctx, func() {
		if s.term.rm.term == s.term && s.term.sessions[s.id] == s {
			f()
		}
	})
}

func (s *session) lost(ctx context.Context, reason string) {
	s.post(ctx, func() { s.term.loseTaskManager(s.id, s.instance, reason, zap.WarnLevel) })
}

// beat sends heartbeats, beginning at a random moment: those who registered together are not asked together, nor
// while thousands still register, as each has to be connected to first. The TaskManager is lost when it has been
// silent for the timeout and the last two heartbeats failed: one of them was sent after the timeout, so a pause of
// this process is not taken for the TaskManager's. When nobody else is heard either, it is not the TaskManager that
// is lost.
func (s *session) beat(ctx context.Context) {
	cfg := s.term.rm.cfg
	start := min(cfg.HeartbeatInterval, cfg.HeartbeatTimeout/3) // or the TaskManager might miss us
	tick := time.NewTimer(start/2 + rand.N(start))
	defer tick.Stop()
	heard, failed := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			tick.Reset(cfg.HeartbeatInterval)
		}
		s.watch(ctx)
		report, err := s.heartbeat(ctx, cfg.HeartbeatInterval)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			heard, failed = time.Now(), 0
			s.post(ctx, func() {
				s.sayHeard()
				s.term.core.report(report)
				s.term.kick()
			})
		case errors.Is(err, protocol.ErrUnknownTaskManager), errors.Is(err, rpc.ErrFenced):
			s.lost(ctx, err.Error())
			return
		default:
			failed++
			if time.Since(heard) < cfg.HeartbeatTimeout || failed < 2 {
				continue
			}
			if cfg.Followers.CutOff(time.Now(), cfg.HeartbeatTimeout) {
				s.post(ctx, func() { signal(s.term.cutOff) })
			} else {
				s.lost(ctx, fmt.Sprintf("no heartbeat answered for %s", cfg.HeartbeatTimeout))
			}
			return
		}
	}
}

func (s *session) heartbeat(ctx context.Context, timeout time.Duration) (protocol.SlotReport, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return rpc.Invoke(ctx, s.gateway, protocol.ResourceManagerHeartbeat, protocol.ResourceManagerHeartbeatRequest{Instance: s.instance})
}

// awaitGone acts on the end of the process at once; silence is left to the heartbeats.
func (s *session) awaitGone(ctx context.Context) {
	cfg := s.term.rm.cfg
	for ctx.Err() == nil {
		err := cfg.RPC.Transport().AwaitGone(ctx, s.gateway.Address().HostPort, s.instance, cfg.HeartbeatTimeout)
		if errors.Is(err, rpc.ErrGone) {
			s.lost(ctx, err.Error())
			return
		}
	}
}

// request queues a lease. On the main thread.
func (s *session) request(l lease) {
	s.queue = append(s.queue, l)
	signal(s.wake)
}

// ask carries out queued leases, one after the other.
func (s *session) ask(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		queue, err := rpc.Call(ctx, s.term.rm.main, func() ([]lease, error) {
			queue := s.queue
			s.queue = nil
			return queue, nil
		})
		if err != nil {
			return
		}
		s.watch(ctx)
		for _, l := range queue {
			s.askFor(ctx, l)
		}
	}
}

// askFor repeats one request until there is an answer: only the TaskManager knows whether a request
// whose answer was lost was carried out, and repeating it is harmless.
func (s *session) askFor(ctx context.Context, l lease) {
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		report, err := s.requestSlot(ctx, l)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			s.post(ctx, func() { s.term.core.granted(l, report); s.term.kick() })
			return
		case errors.Is(err, rpc.ErrUnreachable), errors.Is(err, context.DeadlineExceeded):
			s.term.rm.log.Warn("slot request unanswered", logging.TaskManager(s.id), logging.Allocation(l.Allocation),
				logging.RetryIn(pause), zap.Error(err))
		default:
			s.term.rm.log.Warn("slot request refused", logging.TaskManager(s.id), logging.Allocation(l.Allocation), zap.Error(err))
			s.post(ctx, func() { s.term.core.refused(l); s.term.kick() })
			return
		}
		wait := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
	}
}

func (s *session) requestSlot(ctx context.Context, l lease) (protocol.SlotReport, error) {
	ctx, cancel := context.WithTimeout(ctx, s.term.rm.cfg.HeartbeatInterval)
	defer cancel()
	return rpc.Invoke(ctx, s.gateway, protocol.RequestSlot,
		protocol.RequestSlotRequest{Slot: l.Slot, Job: l.Job, Allocation: l.Allocation})
}

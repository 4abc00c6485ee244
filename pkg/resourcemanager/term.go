package resourcemanager

import (
	"cmp"
	"context"
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// term is all that a leader knows; it is discarded with the term. Its methods run on the main thread
// unless they say otherwise.
type term struct {
	rm    *ResourceManager
	token id.FencingToken
	// spawn runs f on a goroutine of this term, whose ctx ends with the term or when stop is called.
	spawn func(f func(ctx context.Context)) (stop func())
	// changed wakes run: something may be leased now. Room for one: more say the same.
	changed chan struct{}
	// cutOff says that no TaskManager is heard any more. Room for one, as for changed.
	cutOff chan struct{}

	core     *core
	sessions map[id.TaskManager]*session
	// heard is when a JobMaster spoke last.
	heard map[id.Job]time.Time
	// untold are registrations that wait for their line in the log; nil when the next is told at once.
	untold *untold
}

func newTerm(rm *ResourceManager, token id.FencingToken, spawn func(func(context.Context)) func()) *term {
	return &term{
		rm: rm, token: token, spawn: spawn, changed: make(chan struct{}, 1), cutOff: make(chan struct{}, 1),
		core: newCore(id.NewAllocation), sessions: map[id.TaskManager]*session{}, heard: map[id.Job]time.Time{},
	}
}

// run leases slots after changes and watches JobMasters until ctx ends (nil), or no TaskManager is heard any more.
// Not on the main thread.
func (t *term) run(ctx context.Context) error {
	interval := t.rm.cfg.HeartbeatInterval
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.cutOff:
			return rpc.ErrCutOff
		case <-t.changed:
			wait(ctx, t.rm.cfg.RequestInterval)
			t.rm.main.Post(ctx, t.lease)
		case <-tick.C:
			// When this process was paused, or was too busy, nobody could be heard: that is no silence of theirs.
			now, deaf := time.Now(), max(0, time.Since(last)-2*interval)
			last = now
			t.rm.main.Post(ctx, func() { t.checkJobMasters(now, deaf) })
		}
	}
}

// wait waits for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (t *term) kick() { signal(t.changed) }

// signal puts a value into a channel with room for one, unless there is one already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// lease carries out what the core decides.
func (t *term) lease() {
	for _, l := range t.core.match() {
		t.rm.log.Debug("slot requested", logging.Job(l.Job), logging.Allocation(l.Allocation),
			logging.TaskManager(l.TaskManager), zap.Int("slot", l.Slot))
		t.sessions[l.TaskManager].request(l)
	}
}

func (t *term) registerTaskManager(r protocol.RegisterTaskManagerRequest) (protocol.RegisteredTaskManager, error) {
	gateway, err := t.rm.cfg.RPC.Gateway(r.Address, t.token)
	if err != nil {
		return protocol.RegisteredTaskManager{}, err
	}
	if old := t.sessions[r.ID]; old != nil {
		old.stop() // its answers are nobody's: see session.current
	}
	t.core.register(r)
	t.sessions[r.ID] = newSession(t, r, gateway)
	t.sayRegistered(r)
	t.kick()
	return protocol.RegisteredTaskManager{
		HeartbeatInterval: t.rm.cfg.HeartbeatInterval, HeartbeatTimeout: t.rm.cfg.HeartbeatTimeout,
		Process: t.rm.cfg.RPC.Transport().Process(),
	}, nil
}

// untold counts registrations.
type untold struct{ taskManagers, slots int }

// sayRegistered logs a registration, and those of the second that follows in one line: after a leader change
// all TaskManagers come at the same time.
func (t *term) sayRegistered(r protocol.RegisterTaskManagerRequest) {
	level := zap.InfoLevel
	if u := t.untold; u != nil {
		level = zap.DebugLevel
		u.taskManagers++
		u.slots += len(r.Slots)
	} else {
		t.untold = &untold{}
		t.spawn(func(ctx context.Context) {
			wait(ctx, time.Second)
			t.rm.main.Post(ctx, t.sayUntold)
		})
	}
	t.rm.log.Log(level, "task manager registered", logging.TaskManager(r.ID), zap.Stringer("instance", r.Instance),
		zap.Int("slots", len(r.Slots)), logging.Token(t.token))
}

func (t *term) sayUntold() {
	if u := t.untold; u.taskManagers > 0 {
		t.rm.log.Info("more task managers registered", zap.Int("task-managers", u.taskManagers), zap.Int("slots", u.slots),
			zap.Int("registered", len(t.sessions)), logging.Token(t.token))
	}
	t.untold = nil
}

func (t *term) reportSlots(r protocol.SlotReport) error {
	if err := t.core.report(r); err != nil {
		return err
	}
	t.sessions[r.ID].sayHeard()
	t.kick()
	return nil
}

// loseTaskManager forgets a TaskManager, which at level Info left of its own accord. JobMasters notice its
// end themselves.
func (t *term) loseTaskManager(tm id.TaskManager, instance id.Instance, reason string, level zapcore.Level) {
	if !t.core.lose(tm, instance) {
		return
	}
	t.sessions[tm].stop()
	delete(t.sessions, tm)
	t.rm.log.Log(level, "task manager lost", logging.TaskManager(tm), zap.Stringer("instance", instance), zap.String("reason", reason))
	t.kick()
}

func (t *term) registerJobMaster(r protocol.RegisterJobMasterRequest) (protocol.RegisteredJobMaster, error) {
	if err := t.core.registerJobMaster(r); err != nil {
		return protocol.RegisteredJobMaster{}, err
	}
	t.heard[r.Job] = time.Now()
	t.rm.log.Debug("job master registered", logging.Job(r.Job), logging.Leader(r.Address), logging.Token(r.Token))
	return protocol.RegisteredJobMaster{
		HeartbeatInterval: t.rm.cfg.HeartbeatInterval, HeartbeatTimeout: t.rm.cfg.HeartbeatTimeout,
	}, nil
}

func (t *term) declareRequirements(r protocol.DeclareRequirementsRequest) error {
	if err := t.core.declare(r); err != nil {
		return err
	}
	t.heard[r.Job] = time.Now()
	t.kick()
	return nil
}

func (t *term) endJob(r protocol.DisconnectJobMasterRequest) error {
	if err := t.core.endJob(r); err != nil {
		return err
	}
	delete(t.heard, r.Job)
	t.rm.log.Info("job ended", logging.Job(r.Job))
	t.kick()
	return nil
}

// checkJobMasters notes who is silent. deaf is how long nobody could be heard by our own fault.
func (t *term) checkJobMasters(now time.Time, deaf time.Duration) {
	for j, heard := range t.heard {
		heard = heard.Add(deaf)
		t.heard[j] = heard
		switch silence := now.Sub(heard); {
		case silence >= t.rm.cfg.JobTimeout:
			t.rm.log.Warn("requirements of a job without master dropped", logging.Job(j))
			t.core.forget(j)
			delete(t.heard, j)
		case silence >= t.rm.cfg.HeartbeatTimeout:
			t.core.silence(j)
		}
	}
}

// list shows users what is known.
func (t *term) list() protocol.TaskManagerList {
	var list protocol.TaskManagerList
	for name, tm := range t.core.taskManagers {
		list.TaskManagers = append(list.TaskManagers, protocol.TaskManagerInfo{
			ID: name, Address: tm.registration.Address, Slots: tm.slots, Host: tm.registration.Host,
			LastHeartbeat: t.sessions[name].heard,
		})
	}
	slices.SortFunc(list.TaskManagers, func(a, b protocol.TaskManagerInfo) int { return cmp.Compare(a.ID, b.ID) })
	list.Missing = t.core.missing()
	return list
}

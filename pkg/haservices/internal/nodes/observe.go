package nodes

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
)

// observation is what is seen of one component's leader. All in this process who observe that component share
// it: every JobMaster of a JobManager follows the ResourceManager.
type observation struct {
	stop  context.CancelFunc
	ended chan struct{} // closed when its goroutine has ended

	// Guarded by Leaders.observationsMu.
	observers int
	leader    haservices.LeaderInformation
	changed   chan struct{} // closed and replaced when leader changes
}

// Observe is haservices.Driver.Observe, and ends with ErrClosed when closed is. A leader whose process has
// ended is no leader, although its file stays until somebody else leads.
func (l *Leaders) Observe(ctx context.Context, closed <-chan struct{}, c haservices.Component, tell func(haservices.LeaderInformation)) error {
	o := l.join(c)
	defer l.leave(c, o)
	var told haservices.LeaderInformation
	for {
		leader, changed := l.seen(o)
		if leader != told {
			told = leader
			tell(leader)
		}
		select {
		case <-changed:
		case <-closed:
			return haservices.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *Leaders) join(c haservices.Component) *observation {
	l.observationsMu.Lock()
	defer l.observationsMu.Unlock()
	o := l.observations[c]
	if o == nil {
		ctx, stop := context.WithCancel(context.Background()) // ends when the last observer leaves
		o = &observation{stop: stop, ended: make(chan struct{}), changed: make(chan struct{})}
		l.observations[c] = o
		go func() {
			defer close(o.ended)
			l.observe(ctx, c, o)
		}()
	}
	o.observers++
	return o
}

func (l *Leaders) leave(c haservices.Component, o *observation) {
	l.observationsMu.Lock()
	o.observers--
	last := o.observers == 0
	if last {
		delete(l.observations, c)
	}
	l.observationsMu.Unlock()
	if last {
		o.stop()
		<-o.ended
	}
}

func (l *Leaders) seen(o *observation) (haservices.LeaderInformation, <-chan struct{}) {
	l.observationsMu.Lock()
	defer l.observationsMu.Unlock()
	return o.leader, o.changed
}

func (l *Leaders) see(o *observation, leader haservices.LeaderInformation) {
	l.observationsMu.Lock()
	defer l.observationsMu.Unlock()
	if o.leader != leader {
		o.leader = leader
		close(o.changed)
		o.changed = make(chan struct{})
	}
}

// observe looks at the leader's file at each change, and sees no older leader after a newer one.
func (l *Leaders) observe(ctx context.Context, c haservices.Component, o *observation) {
	changes := l.events.Follow(l.tree.root, l.tree.File(leaderNode(c)))
	defer changes.Cancel()
	var w watch
	defer w.stop()
	var highest uint64
	level := zap.WarnLevel // the first time
	for ctx.Err() == nil {
		changes.Refresh()
		now, err := l.present(c)
		if err != nil {
			l.log.Log(level, "leader not readable", zap.Error(err))
			level = zap.DebugLevel
		}
		if err == nil && (now.Token.Epoch() >= highest || now.Address == "") {
			w.turn(ctx, now.Owner)
			highest = max(highest, now.Token.Epoch())
			l.see(o, haservices.LeaderInformation{Address: now.Address, Token: now.Token})
		}
		timer := time.NewTimer(l.poll)
		select {
		case <-changes.Wake:
		case <-w.ended:
			w.ended = nil // once: if its file cannot be read now, it is watched on
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// present is the leader of c that lives, the zero value if there is none. An error says nothing about it.
func (l *Leaders) present(c haservices.Component) (Leader, error) {
	leader, err := l.Published(c)
	if errors.Is(err, haservices.ErrNotFound) || err == nil && !leader.Owner.Alive() {
		return Leader{}, nil
	}
	return leader, err
}

// watch follows one process at a time.
type watch struct {
	process Process
	ended   chan struct{} // closed when process has ended, nil when none is watched
	cancel  context.CancelFunc
	done    chan struct{}
}

func (w *watch) turn(ctx context.Context, p Process) {
	if p == w.process {
		return
	}
	w.stop()
	w.process = p
	if !p.Here() || p == Self() {
		return
	}
	ctx, w.cancel = context.WithCancel(ctx)
	ended, done := make(chan struct{}), make(chan struct{})
	w.ended, w.done = ended, done
	go func() {
		defer close(done)
		if p.AwaitEnd(ctx) == nil {
			close(ended)
		}
	}()
}

func (w *watch) stop() {
	if w.cancel != nil {
		w.cancel()
		<-w.done
	}
	*w = watch{}
}

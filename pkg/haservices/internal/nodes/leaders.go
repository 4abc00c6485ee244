package nodes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
)

// Leader is the content of leader/<component>_lock: the confirmed leader.
type Leader struct {
	Address string               `json:"address"`
	Token   id.FencingToken      `json:"leader-session-id"`
	Epoch   uint64               `json:"epoch"`
	Since   time.Time            `json:"since"`
	Leader  haservices.Contender `json:"leader"`
	Owner   Process              `json:"os-process"`
}

// Leaders publishes leaders as files of a tree, and follows them.
type Leaders struct {
	tree   *Tree
	events *Events
	poll   time.Duration
	log    *zap.Logger
}

// NewLeaders returns the leaders of a tree. Observers look at least once in each poll.
func NewLeaders(t *Tree, e *Events, poll time.Duration, log *zap.Logger) *Leaders {
	return &Leaders{tree: t, events: e, poll: poll, log: log}
}

func leaderNode(c haservices.Component) string { return "leader/" + c.Path() }

// Published reads what the leader of c published: ErrNotFound if nothing.
func (l *Leaders) Published(c haservices.Component) (Leader, error) {
	n, err := l.tree.Read(leaderNode(c))
	if err != nil {
		return Leader{}, err
	}
	var leader Leader
	if err := json.Unmarshal(n.Data, &leader); err != nil {
		return Leader{}, fmt.Errorf("%s: %w", l.tree.File(leaderNode(c)), err)
	}
	return leader, nil
}

// Publish makes this process the confirmed leader of c. Its caller has checked the fence. It is not
// durable, as a power cut ends the leader too.
func (l *Leaders) Publish(c haservices.Component, me haservices.Contender, token id.FencingToken, address string) error {
	if now, err := l.Published(c); err == nil && now.Token == token && now.Address == address {
		return nil
	}
	leader := Leader{Address: address, Token: token, Epoch: token.Epoch(), Since: time.Now(), Leader: me, Owner: Self()}
	data, err := json.MarshalIndent(leader, "", "  ")
	if err != nil {
		return err
	}
	return l.tree.Replace(l.tree.File(leaderNode(c)), append(data, '\n'), false)
}

// Withdraw removes the published leader of c if its token is that one, or any if token is nil. One that
// cannot be removed is harmless: its epoch is over, and the next Publish replaces it.
func (l *Leaders) Withdraw(c haservices.Component, token *id.FencingToken) {
	now, err := l.Published(c)
	if err == nil && token != nil && now.Token != *token || errors.Is(err, haservices.ErrNotFound) {
		return
	}
	if err := l.tree.Remove(l.tree.File(leaderNode(c))); err != nil {
		l.log.Warn("leader information of an ended term stays for now", zap.Error(err))
	}
}

// Observe is haservices.Driver.Observe, and ends with ErrClosed when closed is. A leader whose process has
// ended is no leader, although its file stays until somebody else leads.
func (l *Leaders) Observe(ctx context.Context, closed <-chan struct{}, c haservices.Component, tell func(haservices.LeaderInformation)) error {
	// The directory of a job comes and goes, its parents stay.
	file := l.tree.File(leaderNode(c))
	changes := l.events.Subscribe(filepath.Dir(file), l.tree.File("leader"), l.tree.root)
	defer changes.Cancel()
	var w watch
	defer w.stop()
	var last haservices.LeaderInformation
	var highest uint64
	for ctx.Err() == nil {
		changes.Refresh()
		now, err := l.present(c)
		if err == nil && (now.Token.Epoch() >= highest || now.Address == "") {
			w.turn(ctx, now.Owner)
			seen := haservices.LeaderInformation{Address: now.Address, Token: now.Token}
			if seen != last {
				last, highest = seen, max(highest, now.Token.Epoch())
				tell(seen)
			}
		}
		timer := time.NewTimer(l.poll)
		select {
		case <-changes.Wake:
		case <-w.ended:
		case <-timer.C:
		case <-ctx.Done():
		case <-closed:
			timer.Stop()
			return haservices.ErrClosed
		}
		timer.Stop()
	}
	return ctx.Err()
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

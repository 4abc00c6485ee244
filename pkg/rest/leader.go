package rest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// retryPause is the pause before a leader that is known but did not serve is asked again.
const retryPause = 100 * time.Millisecond

// errNoLeader: no leader was known, or none answered, for Config.LeaderTimeout. Answered as 503.
var errNoLeader = errors.New("no leader")

// leader follows the leader of one component and makes calls to it. It is its own
// LeaderRetrievalListener.
type leader struct {
	component string
	service   *rpc.Service
	wait      time.Duration
	timeout   time.Duration
	log       *zap.Logger

	mu      sync.Mutex // guards all below
	info    haservices.LeaderInformation
	lost    time.Time     // when info became empty
	changed chan struct{} // closed and replaced when info changes
}

func newLeader(cfg Config, component string) *leader {
	return &leader{
		component: component,
		service:   cfg.RPC,
		wait:      cfg.LeaderTimeout,
		timeout:   cfg.AskTimeout,
		log:       cfg.Log,
		changed:   make(chan struct{}),
	}
}

// NotifyLeader takes over the leader that retrieval tells.
func (l *leader) NotifyLeader(info haservices.LeaderInformation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.say(info)
	l.info = info
	close(l.changed)
	l.changed = make(chan struct{})
}

// say logs a change, for standbys: a leader in this process says more of itself. It needs l.mu.
func (l *leader) say(info haservices.LeaderInformation) {
	switch {
	case info.IsEmpty():
		l.lost = time.Now()
		l.log.Info("leader lost", zap.String("of", l.component), logging.Leader(l.info.Address))
	case strings.Contains(info.Address, "://"+l.service.Transport().Address()+"/"):
	default:
		fields := []zap.Field{zap.String("of", l.component), logging.Leader(info.Address), logging.Token(info.Token)}
		if !l.lost.IsZero() {
			fields = append(fields, logging.Took(time.Since(l.lost)))
		}
		l.log.Info("leader found", fields...)
	}
}

func (l *leader) current() (haservices.LeaderInformation, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.info, l.changed
}

// ask makes an idempotent call to the leader. While there is none, or it does not answer as one, ask
// waits for another, at most l.wait in all, and then returns errNoLeader. The call may so be carried
// out more than once.
func ask[Req, Resp any](ctx context.Context, l *leader, call protocol.Call[Req, Resp], req Req) (Resp, error) {
	return askWhile(ctx, l, call, req, unanswered)
}

// askWhile is ask for a caller that says after which errors the call may be made again.
func askWhile[Req, Resp any](ctx context.Context, l *leader, call protocol.Call[Req, Resp], req Req, again func(error) bool) (resp Resp, err error) {
	var patience *time.Timer // runs from the first failure on: a slow answer is no missing leader
	err = errors.New("leader is not known yet")
	for {
		info, changed := l.current()
		var pause <-chan time.Time
		if !info.IsEmpty() {
			resp, err = askOnce(ctx, l, info, changed, call, req)
			if err == nil || !again(err) || ctx.Err() != nil {
				return resp, err
			}
			pause = time.After(retryPause)
		}
		if patience == nil {
			patience = time.NewTimer(l.wait)
			defer patience.Stop()
		}
		select {
		case <-changed:
		case <-pause:
		case <-patience.C:
			return resp, fmt.Errorf("%w of %s: %w", errNoLeader, l.component, err)
		case <-ctx.Done():
			return resp, ctx.Err()
		}
	}
}

// askOnce makes one call, and gives it up when the leader changes: a frozen leader would never answer.
func askOnce[Req, Resp any](ctx context.Context, l *leader, info haservices.LeaderInformation, changed <-chan struct{},
	call protocol.Call[Req, Resp], req Req) (resp Resp, err error) {
	gateway, err := l.service.Gateway(info.Address, info.Token)
	if err != nil {
		return resp, err
	}
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	watched := make(chan struct{})
	defer func() { <-watched }()
	done := make(chan struct{})
	defer close(done)
	go func() {
		defer close(watched)
		select {
		case <-changed:
			cancel()
		case <-done:
		}
	}()
	return rpc.Invoke(ctx, gateway, call, req)
}

// unanswered reports whether err says that the process asked does not serve as the leader now, or does
// not answer.
func unanswered(err error) bool {
	return refused(err) || isAny(err, rpc.ErrStopped, rpc.ErrUnreachable, haservices.ErrNotLeader,
		context.DeadlineExceeded, context.Canceled)
}

// refused reports whether err says that the process asked does not serve as the leader and has
// certainly not carried the call out.
func refused(err error) bool {
	return isAny(err, rpc.ErrFenced, rpc.ErrNoEndpoint, protocol.ErrNotReady)
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

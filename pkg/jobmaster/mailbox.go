package jobmaster

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// mailbox is a queue without bound that one goroutine empties in order. The main thread puts things in
// and never waits.
type mailbox struct {
	mu    sync.Mutex // guards queue
	queue []func(context.Context) error
	// filled holds a value when there may be something in queue; room for one says it all.
	filled chan struct{}
}

func newMailbox() *mailbox { return &mailbox{filled: make(chan struct{}, 1)} }

func (m *mailbox) put(f func(context.Context) error) {
	m.mu.Lock()
	m.queue = append(m.queue, f)
	m.mu.Unlock()
	signal(m.filled)
}

func (m *mailbox) take() func(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		return nil
	}
	f := m.queue[0]
	m.queue = m.queue[1:]
	return f
}

// run carries out what comes, one after the other, until ctx ends (nil) or something fails.
func (m *mailbox) run(ctx context.Context) error {
	for {
		for f := m.take(); f != nil; f = m.take() {
			if err := f(ctx); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return nil
			}
		}
		select {
		case <-m.filled:
		case <-ctx.Done():
			return nil
		}
	}
}

// signal puts a value into a channel with room for one, unless there is one already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// firstPause and lastPause bound the pause between two tries.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// persist repeats a call that can be repeated until it is answered, each try with a timeout, or until
// ctx ends; then it returns the cause of that.
func persist(ctx context.Context, timeout time.Duration, call func(context.Context) error) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		callCtx, cancel := context.WithTimeout(ctx, timeout)
		err := call(callCtx)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil || !unanswered(err) {
			return err
		}
		if sleep(ctx, pause) != nil {
			return context.Cause(ctx)
		}
	}
}

// unanswered reports whether err leaves open what became of a call, or says that the far side is not
// ready for it: repeating is right.
func unanswered(err error) bool {
	for _, e := range []error{
		rpc.ErrUnreachable, rpc.ErrNoEndpoint, rpc.ErrStopped, context.DeadlineExceeded, context.Canceled, protocol.ErrNotReady,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// sleep pauses for d, shortened at random by up to a quarter, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d - time.Duration(rand.Int64N(int64(d)/4+1)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

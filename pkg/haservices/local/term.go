package local

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// Term is the time for which this process holds one lock. A term has one writer at a time, and a node is
// written by one component, so no write needs to look out for another.
type Term struct {
	driver    *Driver
	component haservices.Component
	how       haservices.Succession
	token     id.FencingToken
	latch     latch
	lost      chan struct{}

	mu   sync.Mutex // guards all below; held for a write, so that Resign waits for it
	lock *os.File   // nil when the term is over
}

func newTerm(d *Driver, c haservices.Component, l latch, lock *os.File, how haservices.Succession) *Term {
	return &Term{
		driver: d, component: c, how: how, token: id.NewFencingToken(how.Epoch), latch: l, lock: lock, lost: make(chan struct{}),
	}
}

// Token implements haservices.Term.
func (t *Term) Token() id.FencingToken { return t.token }

// Lost implements haservices.Term.
func (t *Term) Lost() <-chan struct{} { return t.lost }

// fence needs t.mu. The lock alone is enough, unless someone deleted its file; then the epoch tells.
func (t *Term) fence(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if t.lock == nil {
		return haservices.ErrNotLeader
	}
	epoch, err := t.latch.epoch()
	if err != nil {
		return err
	}
	if epoch != t.token.Epoch() || !t.latch.current(t.lock) {
		t.driver.cfg.Log.Warn("lock was deleted under its leader", logging.Token(t.token), zap.String("lock", t.latch.dir))
		t.over()
		return haservices.ErrNotLeader
	}
	return nil
}

// over needs t.mu.
func (t *Term) over() {
	t.latch.release(t.lock)
	t.lock = nil
	t.driver.member.Forget(t.component, t) // first: who sees Lost may contend again
	close(t.lost)
}

// Publish implements haservices.Term.
func (t *Term) Publish(ctx context.Context, address string) error {
	if err := t.publish(ctx, address); err != nil {
		return fmt.Errorf("publish leader of %s: %w", t.component, err)
	}
	return nil
}

func (t *Term) publish(ctx context.Context, address string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.fence(ctx); err != nil {
		return err
	}
	return t.driver.leaders.Publish(t.component, t.how.Leader, t.token, address)
}

// Write implements haservices.Term.
func (t *Term) Write(ctx context.Context, w haservices.Write) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.fence(ctx)
	if err == nil {
		err = t.driver.tree.Apply(w)
	}
	if err != nil {
		return fmt.Errorf("write node %s: %w", w.Path, err)
	}
	return nil
}

// Resign implements haservices.Term. It asks nobody, so it needs no ctx.
func (t *Term) Resign(context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lock == nil {
		return
	}
	t.driver.leaders.Withdraw(t.component, &t.token)
	if t.latch.current(t.lock) {
		t.latch.depart(departure{Contender: t.how.Leader, Epoch: t.token.Epoch(), Reason: protocol.Resigned, At: time.Now()})
	}
	t.over()
}

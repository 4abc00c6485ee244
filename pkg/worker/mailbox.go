package worker

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/tamias-project/tamias/pkg/shuffle"
)

// command is what a task is asked to do between batches. Exactly one member is set.
type command struct {
	trigger  *shuffle.Barrier
	complete int64
	abort    *checkpointRange
	finish   bool
	flush    bool
}

// checkpointRange is inclusive.
type checkpointRange struct{ first, last int64 }

func (r checkpointRange) holds(n int64) bool { return r.first <= n && n <= r.last }

// mailbox holds the commands of one task. Anyone posts, the task takes.
type mailbox struct {
	filled atomic.Bool // commands may be there: what the task looks at between batches

	mu        sync.Mutex // guards the rest
	commands  []command
	interrupt func() // ends the task's present wait, nil before the task runs
}

// post adds a command and wakes the task.
func (m *mailbox) post(c command) {
	m.mu.Lock()
	m.commands = append(m.commands, c)
	m.filled.Store(true)
	interrupt := m.interrupt
	m.mu.Unlock()
	if interrupt != nil {
		interrupt()
	}
}

// onPost sets what post calls.
func (m *mailbox) onPost(interrupt func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.interrupt = interrupt
}

// take returns the commands in order.
func (m *mailbox) take() []command {
	if !m.filled.Load() {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.commands
	m.commands = nil
	m.filled.Store(false)
	return c
}

// interruptible makes contexts that end with the next post.
type interruptible struct {
	mail   *mailbox
	ctx    context.Context
	cancel context.CancelFunc
}

// context returns a context below parent that ends with the next post. One that has not ended yet is
// returned again. The caller takes the mail afterwards: what was posted earlier is in there, and what is
// posted later ends the context.
func (i *interruptible) context(parent context.Context) context.Context {
	if i.ctx != nil && i.ctx.Err() == nil {
		return i.ctx
	}
	i.ctx, i.cancel = context.WithCancel(parent)
	i.mail.onPost(i.cancel)
	return i.ctx
}

func (i *interruptible) stop() {
	if i.cancel != nil {
		i.cancel()
	}
}

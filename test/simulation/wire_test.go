package simulation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
)

// wire is the network of one life, watched by the world.
type wire struct {
	*rpctest.Node
	life *life
}

// Call implements rpc.Transport.
func (x *wire) Call(ctx context.Context, address string, r *rpc.Request) (*rpc.Response, error) {
	w, from := x.life.process.world, x.life.process.name
	reset := fmt.Errorf("%w: %s: connection reset", rpc.ErrUnreachable, address)
	if w.traps.pass(x.life, sending, r.Method) {
		return nil, reset
	}
	w.witness.sends(x.life, r)
	// A leader tells completions in order, over one connection, so they do not overtake each other.
	if by, late := w.chance.delayed(from, address, r.Method); late && r.Method != protocol.CompleteCheckpoint.Method {
		w.deliverLate(by, address, r)
		return nil, reset
	}
	answer, err := x.Node.Call(ctx, address, r)
	if err == nil && w.traps.pass(x.life, answered, r.Method) {
		return nil, reset
	}
	return answer, err
}

// deliverLate brings a message to its receiver later, whatever has become of its sender, and nobody waits
// for the answer: it lay in a buffer somewhere.
func (w *world) deliverLate(by time.Duration, address string, r *rpc.Request) {
	w.late.Go(func() {
		ctx, cancel := context.WithTimeout(w.lateCtx, by+5*time.Second)
		defer cancel()
		select {
		case <-time.After(by):
			w.post.Call(ctx, address, r)
		case <-ctx.Done():
		}
	})
}

// Serve implements rpc.Transport.
func (x *wire) Serve(ctx context.Context, h rpc.Handler) error {
	w := x.life.process.world
	return x.Node.Serve(ctx, func(ctx context.Context, r *rpc.Request) *rpc.Response {
		w.traps.pass(x.life, arrived, r.Method)
		before := w.witness.arrives(x.life, r)
		answer := h(ctx, r)
		w.witness.answers(x.life, r, answer, before)
		w.traps.pass(x.life, handled, r.Method)
		return answer
	})
}

// backend is the HA services' driver of one life, watched by the world.
type backend struct {
	haservices.Driver
	life *life

	mu         sync.Mutex // guards all below
	time       int        // counts what is read
	read       map[string]int
	dispatcher *term // the last one won, or nil
}

// saw notes that the process has read something.
func (b *backend) saw(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.read == nil {
		b.read = map[string]int{}
	}
	b.time++
	b.read[what] = b.time
}

// Read implements haservices.Driver.
func (b *backend) Read(ctx context.Context, path string) (haservices.Node, error) {
	if f, ok := b.life.process.world.slow.Load().(func(string) time.Duration); ok {
		<-time.After(f(path))
	}
	n, err := b.Driver.Read(ctx, path)
	if err == nil || errors.Is(err, haservices.ErrNotFound) {
		b.saw(path)
	}
	return n, err
}

// Children implements haservices.Driver.
func (b *backend) Children(ctx context.Context, path string) ([]string, error) {
	names, err := b.Driver.Children(ctx, path)
	if err == nil {
		b.saw(path + "/")
	}
	return names, err
}

// Campaign implements haservices.Driver.
func (b *backend) Campaign(ctx context.Context, c haservices.Component, me haservices.Contender) (haservices.Term, error) {
	t, err := b.Driver.Campaign(ctx, c, me)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	won := &term{Term: t, backend: b, component: c, began: b.time}
	if c.Kind == haservices.Dispatcher {
		b.dispatcher = won
	}
	return won, nil
}

// Succession implements haservices.Chronicler.
func (b *backend) Succession(ctx context.Context, c haservices.Component) (haservices.Succession, error) {
	return b.Driver.(haservices.Chronicler).Succession(ctx, c)
}

// leads reports whether this life leads the dispatcher.
func (b *backend) leads() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.dispatcher
	return t != nil && t.Token().Epoch() == b.life.process.world.ha.Epoch(t.component)
}

// term is one leadership, watched by the world.
type term struct {
	haservices.Term
	backend   *backend
	component haservices.Component
	began     int
}

// Succession implements haservices.Successor.
func (t *term) Succession() haservices.Succession { return t.Term.(haservices.Successor).Succession() }

// mustRead lists what a leader reads before others may find it.
func (t *term) mustRead() []string {
	switch t.component.Kind {
	case haservices.Dispatcher:
		return []string{"job-results/", "jobgraphs/"}
	case haservices.JobManager:
		job := "jobs/" + t.component.Job.String()
		return []string{job + "/executions", job + "/intent", job + "/checkpoint_id_counter", job + "/checkpoints/"}
	}
	return nil
}

func (t *term) unread() (list []string) {
	t.backend.mu.Lock()
	defer t.backend.mu.Unlock()
	for _, what := range t.mustRead() {
		if t.backend.read[what] <= t.began {
			list = append(list, what)
		}
	}
	return list
}

// Publish implements haservices.Term.
func (t *term) Publish(ctx context.Context, address string) error {
	if unread := t.unread(); len(unread) > 0 {
		t.backend.life.process.world.witness.violate("%s publishes itself as leader of %s before it has read %v", address, t.component, unread)
	}
	return t.change("publish "+t.component.Path(), func() error { return t.Term.Publish(ctx, address) })
}

// Write implements haservices.Term.
func (t *term) Write(ctx context.Context, w haservices.Write) error {
	return t.change(operations[w.Operation]+" "+w.Path, func() error { return t.Term.Write(ctx, w) })
}

func (t *term) change(what string, do func() error) error {
	l := t.backend.life
	traps := &l.process.world.traps
	traps.pass(l, writing, what)
	err := do()
	if err != nil {
		return err
	}
	if traps.pass(l, written, what) || l.killed() {
		return fmt.Errorf("%w: the answer was lost", haservices.ErrUnknownOutcome)
	}
	return nil
}

package nodes

import (
	"context"
	"fmt"
	"sync"

	"github.com/tamias-project/tamias/pkg/haservices"
)

// Store is where nodes can be read: a Tree, or a Memory of one goroutine.
type Store interface {
	Read(path string) (haservices.Node, error)
	Children(path string) ([]string, error)
}

// Member is one process's part in a cluster: what it contends for and what it leads, the nodes that it reads, and
// the calls that its Close waits for. T is the backend's term. Methods may be called on any goroutine.
type Member[T term] struct {
	store Store
	// contended is the error for contending for a component twice.
	contended error
	closed    chan struct{}
	calls     sync.WaitGroup

	mu sync.Mutex // guards all below
	// contending holds the components with a campaign under way.
	contending map[haservices.Component]bool
	terms      map[haservices.Component]T // those that are not over
	isClosed   bool
}

// term is a pointer to a backend's term.
type term interface {
	comparable
	haservices.Term
}

// NewMember returns the part of a process that contends for nothing yet. contended is what Claim returns for a
// component that the process contends for, or leads, already.
func NewMember[T term](s Store, contended error) *Member[T] {
	return &Member[T]{
		store: s, contended: contended, closed: make(chan struct{}),
		contending: map[haservices.Component]bool{}, terms: map[haservices.Component]T{},
	}
}

// Read is haservices.Driver.Read.
func (m *Member[T]) Read(ctx context.Context, path string) (haservices.Node, error) {
	if err := m.Usable(ctx); err != nil {
		return haservices.Node{}, err
	}
	n, err := m.store.Read(path)
	if err != nil {
		return haservices.Node{}, fmt.Errorf("read node %s: %w", path, err)
	}
	return n, nil
}

// Children is haservices.Driver.Children.
func (m *Member[T]) Children(ctx context.Context, path string) ([]string, error) {
	if err := m.Usable(ctx); err != nil {
		return nil, err
	}
	names, err := m.store.Children(path)
	if err != nil {
		return nil, fmt.Errorf("list nodes below %s: %w", path, err)
	}
	return names, nil
}

// Usable returns ErrClosed after Close, else ctx's error.
func (m *Member[T]) Usable(ctx context.Context) error {
	select {
	case <-m.closed:
		return haservices.ErrClosed
	default:
		return ctx.Err()
	}
}

// Closed is closed when Close begins.
func (m *Member[T]) Closed() <-chan struct{} { return m.closed }

// Enter begins a call that Close must wait for, and that ends when Closed is closed. Without an error the caller
// calls Leave in the end.
func (m *Member[T]) Enter(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.isClosed {
		return haservices.ErrClosed
	}
	if ctx.Err() == nil {
		m.calls.Add(1)
	}
	return ctx.Err()
}

// Leave ends what Enter began.
func (m *Member[T]) Leave() { m.calls.Done() }

// Claim notes that this process contends for c. Without an error the caller calls Settle or Withdraw in the end.
func (m *Member[T]) Claim(c haservices.Component) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, leads := m.terms[c]
	switch {
	case m.isClosed:
		return haservices.ErrClosed
	case m.contending[c], leads:
		return fmt.Errorf("campaign for %s: %w", c, m.contended)
	}
	m.contending[c] = true
	return nil
}

// Withdraw ends what Claim began, without a term.
func (m *Member[T]) Withdraw(c haservices.Component) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.contending, c)
}

// Settle ends what Claim began, with the term that was won. It reports false, and does not take the term, when the
// process was closed meanwhile.
func (m *Member[T]) Settle(c haservices.Component, t T) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.contending, c)
	if !m.isClosed {
		m.terms[c] = t
	}
	return !m.isClosed
}

// Forget notes that a term of c is over.
func (m *Member[T]) Forget(c haservices.Component, t T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.terms[c] == t {
		delete(m.terms, c)
	}
}

// Close is End, resigns those terms, and waits for all calls.
func (m *Member[T]) Close() {
	for _, t := range m.End() {
		t.Resign(context.Background())
	}
	m.calls.Wait()
}

// End ends all calls that wait, and returns the terms that are not over. Nothing begins any more.
func (m *Member[T]) End() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.isClosed {
		m.isClosed = true
		close(m.closed)
	}
	terms := make([]T, 0, len(m.terms))
	for _, t := range m.terms {
		terms = append(terms, t)
	}
	return terms
}

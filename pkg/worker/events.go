package worker

import (
	"context"
	"slices"
	"sync"

	"github.com/tamias-project/tamias/pkg/protocol"
)

// eventLog keeps the events of a process until its TaskManager has taken them.
type eventLog struct {
	mu     sync.Mutex // guards the rest
	events []protocol.WorkerEvent
	last   int64
	grown  chan struct{} // closed and replaced when events grow
}

func newEventLog() *eventLog { return &eventLog{grown: make(chan struct{})} }

// add numbers e and keeps it.
func (l *eventLog) add(e protocol.WorkerEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	e.Number = l.last
	l.events = append(l.events, e)
	close(l.grown)
	l.grown = make(chan struct{})
}

// after forgets events up to and including n and waits for later ones. Several callers may wait; each
// gets all events after its number that no other has had forgotten.
func (l *eventLog) after(ctx context.Context, n int64) ([]protocol.WorkerEvent, error) {
	for {
		l.mu.Lock()
		keep := slices.IndexFunc(l.events, func(e protocol.WorkerEvent) bool { return e.Number > n })
		if keep < 0 {
			keep = len(l.events)
		}
		l.events = slices.Clone(l.events[keep:])
		events, grown := l.events, l.grown
		l.mu.Unlock()
		if len(events) > 0 {
			return slices.Clone(events), nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

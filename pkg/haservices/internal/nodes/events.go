package nodes

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

// Events tells subscriptions that something changed in directories. One watcher serves all; it is
// started by the first subscription.
type Events struct {
	log *zap.Logger

	mu      sync.Mutex // guards all below
	watcher *fsnotify.Watcher
	failed  bool
	closed  bool
	subs    map[*Subscription]bool
	done    chan struct{} // closed when the watcher's goroutine has ended
}

// NewEvents returns events without a watcher.
func NewEvents(log *zap.Logger) *Events {
	return &Events{log: log, subs: map[*Subscription]bool{}}
}

// Subscription is woken by changes in its directories. Waking up means: look again.
type Subscription struct {
	events *Events
	dirs   []string
	// Wake is received from.
	Wake chan struct{} // room for one: many changes are one reason to look
}

// Subscribe watches directories; one that is not there now is watched from the Refresh after it came.
func (e *Events) Subscribe(dirs ...string) *Subscription {
	s := &Subscription{events: e, dirs: dirs, Wake: make(chan struct{}, 1)}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.subs[s] = true
	if e.watcher == nil && !e.failed && !e.closed {
		e.start()
	}
	return s
}

// start needs e.mu.
func (e *Events) start() {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		e.failed = true
		e.log.Warn("directories cannot be watched, changes are noticed by polling", zap.Error(err))
		return
	}
	e.watcher, e.done = w, make(chan struct{})
	go e.run(w)
}

func (e *Events) run(w *fsnotify.Watcher) {
	defer close(e.done)
	for {
		select {
		case event, ok := <-w.Events:
			if !ok {
				return
			}
			e.notify(func(s *Subscription) bool {
				return slices.Contains(s.dirs, filepath.Dir(event.Name)) || slices.Contains(s.dirs, event.Name)
			})
		case err, ok := <-w.Errors:
			if !ok {
				return
			}
			e.log.Debug("directory watch", zap.Error(err)) // an overflow: anything may have changed
			e.notify(func(*Subscription) bool { return true })
		}
	}
}

func (e *Events) notify(concerns func(*Subscription) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for s := range e.subs {
		if concerns(s) {
			select {
			case s.Wake <- struct{}{}:
			default:
			}
		}
	}
}

// Refresh watches directories that have come into being. Call it before each look, so that no change
// falls between looking and waiting.
func (s *Subscription) Refresh() {
	s.events.mu.Lock()
	w := s.events.watcher
	s.events.mu.Unlock()
	if w == nil {
		return
	}
	for _, dir := range s.dirs {
		_ = w.Add(dir) // one that is not there shows in its parent when it comes
	}
}

// Cancel ends the subscription.
func (s *Subscription) Cancel() {
	e := s.events
	e.mu.Lock()
	delete(e.subs, s)
	var unused []string
	for _, dir := range s.dirs {
		if !e.watched(dir) {
			unused = append(unused, dir)
		}
	}
	w := e.watcher
	e.mu.Unlock()
	if w == nil {
		return
	}
	for _, dir := range unused {
		_ = w.Remove(dir) // fails if it is gone
	}
}

// watched needs e.mu.
func (e *Events) watched(dir string) bool {
	for s := range e.subs {
		if slices.Contains(s.dirs, dir) {
			return true
		}
	}
	return false
}

// Close stops the watcher and waits for its goroutine. Subscriptions are not woken any more.
func (e *Events) Close() error {
	e.mu.Lock()
	w, done := e.watcher, e.done
	e.closed, e.watcher = true, nil
	e.mu.Unlock()
	if w == nil {
		return nil
	}
	err := w.Close()
	<-done
	if err != nil {
		return fmt.Errorf("stop watching directories: %w", err)
	}
	return nil
}

package nodes

import (
	"fmt"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

// Events tells subscriptions that something changed in directories. One watcher serves all; it is
// started by the first subscription.
type Events struct {
	log *zap.Logger

	// watchingMu is held while the watcher is given directories or loses some, so that it loses none that somebody has just
	// begun to need. The watcher's goroutine never takes it.
	watchingMu sync.Mutex

	mu      sync.Mutex // guards all below; a leaf
	watcher *fsnotify.Watcher
	failed  bool
	closed  bool
	// subs by the paths that concern them; inside(dir) stands for everything directly in dir.
	subs map[string]map[*Subscription]bool
	// watching counts the subscriptions of each directory.
	watching map[string]int
	done     chan struct{} // closed when the watcher's goroutine has ended
}

// NewEvents returns events without a watcher.
func NewEvents(log *zap.Logger) *Events {
	return &Events{log: log, subs: map[string]map[*Subscription]bool{}, watching: map[string]int{}}
}

// Subscription is woken by changes that concern it. Waking up means: look again.
type Subscription struct {
	events   *Events
	dirs     []string
	concerns []string
	// Wake is received from.
	Wake chan struct{} // room for one: many changes are one reason to look
}

// Subscribe watches a directory; one that is not there now is watched from the Refresh after it came.
func (e *Events) Subscribe(dir string) *Subscription {
	return e.subscribe([]string{dir}, []string{dir, inside(dir)})
}

// Follow watches a file below root, which may come and go together with its directories.
func (e *Events) Follow(root, file string) *Subscription {
	var dirs, concerns []string
	for path := file; path != root; path = filepath.Dir(path) {
		dirs, concerns = append(dirs, filepath.Dir(path)), append(concerns, path)
	}
	return e.subscribe(dirs, concerns)
}

func inside(dir string) string { return dir + string(filepath.Separator) }

func (e *Events) subscribe(dirs, concerns []string) *Subscription {
	s := &Subscription{events: e, dirs: dirs, concerns: concerns, Wake: make(chan struct{}, 1)}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, path := range concerns {
		if e.subs[path] == nil {
			e.subs[path] = map[*Subscription]bool{}
		}
		e.subs[path][s] = true
	}
	for _, dir := range dirs {
		e.watching[dir]++
	}
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
			e.notify(event.Name, inside(filepath.Dir(event.Name)))
		case err, ok := <-w.Errors:
			if !ok {
				return
			}
			e.log.Debug("directory watch", zap.Error(err)) // an overflow: anything may have changed
			e.notifyAll()
		}
	}
}

func (e *Events) notify(paths ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, path := range paths {
		for s := range e.subs[path] {
			s.wake()
		}
	}
}

func (e *Events) notifyAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, subs := range e.subs {
		for s := range subs {
			s.wake()
		}
	}
}

func (s *Subscription) wake() {
	select {
	case s.Wake <- struct{}{}:
	default:
	}
}

// Refresh watches directories that have come into being. Call it before each look, so that no change
// falls between looking and waiting.
func (s *Subscription) Refresh() {
	s.events.watchingMu.Lock()
	defer s.events.watchingMu.Unlock()
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
	e.watchingMu.Lock()
	defer e.watchingMu.Unlock()
	e.mu.Lock()
	for _, path := range s.concerns {
		delete(e.subs[path], s)
		if len(e.subs[path]) == 0 {
			delete(e.subs, path)
		}
	}
	var unused []string
	for _, dir := range s.dirs {
		if e.watching[dir]--; e.watching[dir] == 0 {
			delete(e.watching, dir)
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

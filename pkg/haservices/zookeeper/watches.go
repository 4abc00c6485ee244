package zookeeper

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/logging"
)

// watches follows nodes for any number of subscribers. A server tells one change and forgets the watch,
// and forgets all when the connection breaks, so a path is read again, with a watch, after each change
// and on each new connection.
//
// The library's own watch calls are not used: it keeps a channel for each call for ever, arms them again
// in a way that races with other requests, and only logs when that fails. Instead link asks for the watch
// in ordinary reads of the paths that are armed here. However often a path is followed, the server has
// at most one watch of it and the library none.
type watches struct {
	client *client

	mu        sync.Mutex // guards the fields below, and those of follower that say so
	followers map[string]*follower
	// armed are the paths whose next change a server will tell, on that connection.
	armed map[string]connection
}

// reading is what is known of a node.
type reading struct {
	// known is false before the first reading, and while the connection's state makes the last one doubtful.
	known   bool
	exists  bool
	data    []byte
	stat    *zk.Stat
	session *session // in which it was read
}

// follower reads one path again and again for its subscribers.
type follower struct {
	watches *watches
	path    string
	// final: the node will not come back, as nobody else creates a node of that name.
	final bool
	stop  context.CancelFunc
	ended chan struct{}
	told  chan struct{} // room for one: the server told a change

	// Guarded by watches.mu.
	subscribers int // none when it is ending
	latest      reading
	changed     chan struct{} // closed and replaced with each new reading
}

func newWatches(c *client) *watches {
	return &watches{client: c, followers: map[string]*follower{}, armed: map[string]connection{}}
}

// subscription is one subscriber's view of a node.
type subscription struct{ follower *follower }

// follow begins to watch path. The caller calls end when it is done, and not from under a lock.
func (w *watches) follow(path string, final bool) subscription {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.followers[path]
	if f == nil || f.subscribers == 0 {
		before := f
		ctx, cancel := context.WithCancel(context.Background())
		f = &follower{
			watches: w, path: path, final: final, stop: cancel,
			ended: make(chan struct{}), told: make(chan struct{}, 1), changed: make(chan struct{}),
		}
		w.followers[path] = f
		go func() {
			defer close(f.ended)
			if before != nil {
				<-before.ended // else it might still take back what this one has armed
			}
			f.run(ctx)
		}()
	}
	f.subscribers++
	return subscription{f}
}

// end gives the subscription up. The follower ends with its last subscriber; the server keeps its watch and
// tells one more change, which nobody reads.
func (s subscription) end() {
	f := s.follower
	w := f.watches
	w.mu.Lock()
	f.subscribers--
	last := f.subscribers == 0
	w.mu.Unlock()
	if !last {
		return
	}
	f.stop()
	<-f.ended
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.followers[f.path] == f {
		delete(w.followers, f.path)
	}
}

// read returns the latest reading, and a channel that is closed when there is another one.
func (s subscription) read() (reading, <-chan struct{}) {
	s.follower.watches.mu.Lock()
	defer s.follower.watches.mu.Unlock()
	return s.follower.latest, s.follower.changed
}

// fired is told each event of a watch by the library's goroutines.
func (w *watches) fired(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.armed, path)
	if f := w.followers[path]; f != nil {
		select {
		case f.told <- struct{}{}:
		default: // it has not looked since the last one
		}
	}
}

// wanted says whether a read of path should leave a watch.
func (w *watches) wanted(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, yes := w.armed[path]
	return yes
}

// forget drops what servers no longer watch, when a new connection has begun.
func (w *watches) forget(before connection) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for path, at := range w.armed {
		if at.session != before.session || at.number < before.number {
			delete(w.armed, path)
		}
	}
}

func (f *follower) run(ctx context.Context) {
	c := f.watches.client
	var seen connection // for which the latest reading was made
	stale := true
	for {
		now, changed := c.state()
		pause := time.Duration(0)
		switch {
		case !now.ready:
			if !c.cfg.TolerateSuspended || now.session != seen.session {
				f.publish(reading{})
			}
		case stale || now != seen:
			r, err := f.fetch(ctx, now)
			switch {
			case err == nil:
				f.publish(r)
				seen, stale = now, false
			case errors.Is(err, errUnsent), errors.Is(err, errInFlight), errors.Is(err, errLost):
				stale = true // the connection broke; its state changes, or has already
				pause = firstPause
			default:
				f.watches.client.cfg.Log.Error("node not readable", logging.Znode(f.path), zap.Error(err))
				stale = true
				pause = c.cfg.RetryWait
			}
		}
		var again <-chan time.Time
		if pause > 0 {
			again = time.After(pause)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-again:
		case <-f.told:
			stale = true
		}
	}
}

func (f *follower) publish(r reading) {
	w := f.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	if !r.known && !f.latest.known {
		return
	}
	// Alike is not unchanged: what was repaired may have been damaged again before we read it.
	f.latest = r
	close(f.changed)
	f.changed = make(chan struct{})
}

// fetch reads the node and sees to it that the server will tell the next change.
func (f *follower) fetch(ctx context.Context, now connection) (reading, error) {
	f.arm(now)
	r := reading{known: true, session: now.session}
	n, err := now.session.get(ctx, f.path)
	if errors.Is(err, zk.ErrNoNode) && !f.final {
		// Reading what is not there leaves no watch, asking whether it is there does. Meanwhile it may have come.
		var exists bool
		if exists, err = now.session.exists(ctx, f.path); err == nil && !exists {
			return r, nil
		}
		if err == nil {
			n, err = now.session.get(ctx, f.path)
		}
	}
	if err != nil {
		f.disarm()
	}
	if errors.Is(err, zk.ErrNoNode) {
		return r, nil
	}
	r.exists, r.data, r.stat = err == nil, n.data, n.stat
	return r, err
}

// arm notes that path is watched, before the request is sent: link asks for the watch then, and the event
// may arrive before the answer is looked at.
func (f *follower) arm(now connection) {
	f.watches.mu.Lock()
	defer f.watches.mu.Unlock()
	f.watches.armed[f.path] = now
}

func (f *follower) disarm() {
	f.watches.mu.Lock()
	defer f.watches.mu.Unlock()
	delete(f.watches.armed, f.path)
}

package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/tamias-project/tamias/pkg/haservices"
)

// Outcomes of a call that did not bring an answer. Callers turn them into the errors of haservices.
var (
	// errUnsent: the request was not sent.
	errUnsent = errors.New("not sent")
	// errInFlight: the request was sent, or may have been, and nobody knows what became of it.
	errInFlight = errors.New("connection broke before the answer")
	// errLost: the request was not sent, and the session that it belongs to is over.
	errLost = errors.New("zookeeper session lost")
)

// client holds the current session and replaces it when it is over.
type client struct {
	cfg     Config
	watches *watches
	cancel  context.CancelFunc
	ended   chan struct{} // closed when run has returned

	mu      sync.Mutex // guards the fields below, and those of session that say so
	current *session   // nil before the first
	owned   map[int64]bool
	closed  bool
	changed chan struct{} // closed and replaced when a session becomes ready, suspended or over
}

func newClient(cfg Config) *client {
	c := &client{cfg: cfg, owned: map[int64]bool{}, changed: make(chan struct{})}
	c.watches = newWatches(c)
	return c
}

// start is called once; close ends what it starts.
func (c *client) start() {
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(context.Background())
	c.ended = make(chan struct{})
	go func() {
		defer close(c.ended)
		c.run(ctx)
	}()
}

func (c *client) run(ctx context.Context) {
	var old sync.WaitGroup // sessions that are being shut
	defer old.Wait()
	for ctx.Err() == nil {
		s, err := newSession(c)
		if err != nil {
			// Only a quorum without servers is refused, and withDefaults has looked at that.
			panic(fmt.Sprintf("zookeeper: %v", err))
		}
		c.mu.Lock()
		c.current = s
		c.notify()
		c.mu.Unlock()
		s.run(ctx)
		old.Go(s.shut)
	}
}

// close ends the session and waits for all goroutines.
func (c *client) close() {
	c.mu.Lock()
	c.closed = true
	c.notify()
	c.mu.Unlock()
	c.cancel()
	<-c.ended
}

// notify wakes all who wait for a change. It needs c.mu.
func (c *client) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// connection says how the client stands with the servers.
type connection struct {
	session *session
	ready   bool
	number  int // of the connection within its session, from 1
}

// state returns how things are, and a channel that is closed when they change.
func (c *client) state() (connection, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		return connection{}, c.changed
	}
	return connection{session: c.current, ready: c.current.ready, number: c.current.connections}, c.changed
}

// ready waits for a session that calls can be sent on.
func (c *client) ready(ctx context.Context) (*session, error) {
	for {
		c.mu.Lock()
		s, closed, changed := c.current, c.closed, c.changed
		ready := s != nil && s.ready
		c.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case closed:
			return nil, haservices.ErrClosed
		case ready:
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// awaitReady waits until a call can be sent on s, at most for the connection timeout: errUnsent.
func (s *session) awaitReady(ctx context.Context) error {
	c := s.client
	timeout := time.NewTimer(c.cfg.ConnectionTimeout)
	defer timeout.Stop()
	for {
		c.mu.Lock()
		ready, over, changed := s.ready, s.over, c.changed
		end, begun := s.leaseEnd()
		c.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", errUnsent, ctx.Err())
		case over:
			return errLost
		case begun && !time.Now().Before(end):
			s.end(errSilent) // we were asleep; our clock says it before the timer does
			return errLost
		case ready:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-timeout.C:
			return errUnsent
		}
	}
}

// do sends one request on s when it is ready.
func do[T any](ctx context.Context, s *session, call func(*zk.Conn) (T, error)) (answer T, err error) {
	if err := s.awaitReady(ctx); err != nil {
		return answer, err
	}
	return roundTrip(ctx, s, call)
}

// classify gives errors about the connection their outcome. All others are answers.
func classify(err error) error {
	switch {
	case errors.Is(err, zk.ErrConnectionClosed), errors.Is(err, zk.ErrClosing), errors.Is(err, zk.ErrSessionExpired):
		return fmt.Errorf("%w: %w", errInFlight, err)
	case errors.Is(err, zk.ErrNoServer), errors.Is(err, zk.ErrSessionMoved):
		return fmt.Errorf("%w: %w", errUnsent, err)
	default:
		var netErr interface{ Timeout() bool }
		if errors.As(err, &netErr) { // an error of writing to the socket
			return fmt.Errorf("%w: %w", errInFlight, err)
		}
		return err
	}
}

// node is what one read tells.
type node struct {
	data []byte
	stat *zk.Stat
}

func (s *session) get(ctx context.Context, path string) (node, error) {
	return do(ctx, s, func(c *zk.Conn) (n node, err error) {
		n.data, n.stat, err = c.Get(path)
		return n, err
	})
}

func (s *session) exists(ctx context.Context, path string) (bool, error) {
	return do(ctx, s, func(c *zk.Conn) (bool, error) {
		yes, _, err := c.Exists(path)
		return yes, err
	})
}

func (s *session) children(ctx context.Context, path string) ([]string, error) {
	return do(ctx, s, func(c *zk.Conn) ([]string, error) {
		names, _, err := c.Children(path)
		return names, err
	})
}

func (s *session) create(ctx context.Context, path string, data []byte, flags int32) (string, error) {
	acl := s.client.cfg.acl()
	return do(ctx, s, func(c *zk.Conn) (string, error) { return c.Create(path, data, flags, acl) })
}

func (s *session) set(ctx context.Context, path string, data []byte, version int32) (*zk.Stat, error) {
	return do(ctx, s, func(c *zk.Conn) (*zk.Stat, error) { return c.Set(path, data, version) })
}

func (s *session) delete(ctx context.Context, path string) error {
	_, err := do(ctx, s, func(c *zk.Conn) (struct{}, error) { return struct{}{}, c.Delete(path, anyVersion) })
	return err
}

// refused is the answer to a transaction that was not carried out: which of its operations failed, and
// how.
type refused struct {
	operation int
	err       error
}

func (r *refused) Error() string { return fmt.Sprintf("operation %d: %v", r.operation, r.err) }
func (r *refused) Unwrap() error { return r.err }

// refusedAt says whether err is the refusal of that operation.
func refusedAt(err error, operation int) bool {
	var r *refused
	return errors.As(err, &r) && r.operation == operation
}

// refusedFor says whether err is the refusal of a transaction for that reason. Errors of other calls, and
// those that only mention the reason, are not.
func refusedFor(err, reason error) bool {
	var r *refused
	return errors.As(err, &r) && errors.Is(r.err, reason)
}

// multi carries out all operations or none.
func (s *session) multi(ctx context.Context, operations ...any) error {
	_, err := s.transact(ctx, operations)
	return err
}

// transact is multi that returns the result of each operation.
func (s *session) transact(ctx context.Context, operations []any) ([]zk.MultiResponse, error) {
	return do(ctx, s, func(c *zk.Conn) ([]zk.MultiResponse, error) {
		results, err := c.Multi(operations...)
		if err == nil {
			return results, nil
		}
		// Operations before the one that failed have no error, those after it have one that says nothing.
		for i, r := range results {
			if r.Error != nil {
				return nil, &refused{i, r.Error}
			}
		}
		return nil, err
	})
}

// anyVersion makes ZooKeeper's operations unconditional; in a check it tests existence.
const anyVersion int32 = -1

func check(path string, version int32) *zk.CheckVersionRequest {
	return &zk.CheckVersionRequest{Path: path, Version: version}
}

func deletion(path string, version int32) *zk.DeleteRequest {
	return &zk.DeleteRequest{Path: path, Version: version}
}

func (c *client) creation(path string, data []byte, flags int32) *zk.CreateRequest {
	return &zk.CreateRequest{Path: path, Data: data, Acl: c.cfg.acl(), Flags: flags}
}

// ensure creates the persistent node at path, and those above it, unless they are there. Nobody is
// harmed by an empty parent, so this needs no fence and may be repeated.
func (s *session) ensure(ctx context.Context, path string) error {
	if path == "" || path == "/" {
		return nil
	}
	for {
		_, err := s.create(ctx, path, nil, 0)
		switch {
		case err == nil, errors.Is(err, zk.ErrNodeExists):
			return nil
		case errors.Is(err, errInFlight) && ctx.Err() == nil:
			continue // waits for the connection, or tells that the session is over
		case !errors.Is(err, zk.ErrNoNode):
			return err
		}
		if err := s.ensure(ctx, parent(path)); err != nil {
			return err
		}
	}
}

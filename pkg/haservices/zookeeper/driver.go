package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
)

// Driver implements haservices.Driver. It connects at its first use. See the package comment.
type Driver struct {
	cfg    Config
	client *client
	log    *zap.Logger
	ending context.Context // ends with Close
	end    context.CancelFunc

	mu      sync.Mutex // guards the fields below
	started bool
	closed  bool
	active  map[haservices.Component]*stake
	evicted map[haservices.Component]evictions
	// condemned are processes that we have evicted because they did not answer.
	condemned map[id.Instance]condemnation
	// finished are processes that we have found to be gone.
	finished map[id.Instance]time.Time
	calls    sync.WaitGroup // methods in progress and goroutines of terms
}

var _ haservices.Driver = (*Driver)(nil)

// stake is this process's part in the election of one component: a campaign, then its term.
type stake struct {
	term *Term // nil while it campaigns
}

// New checks cfg and returns a driver, which connects when it is first used. Whether ZooKeeper can be
// reached shows then: calls wait, and are ErrUnavailable after the connection timeout.
func New(cfg Config) (*Driver, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Driver{
		cfg: cfg, client: newClient(cfg), log: cfg.Log,
		active: map[haservices.Component]*stake{}, evicted: map[haservices.Component]evictions{}, condemned: map[id.Instance]condemnation{},
		finished: map[id.Instance]time.Time{},
	}
	d.ending, d.end = context.WithCancel(context.Background())
	return d, nil
}

// enter begins a call: its context ends with the caller's and with Close. The caller calls leave.
func (d *Driver) enter(ctx context.Context) (inner context.Context, leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, nil, haservices.ErrClosed
	}
	if !d.started {
		d.started = true
		d.client.start()
	}
	d.calls.Add(1)
	inner, cancel := context.WithCancel(ctx)
	unhook := context.AfterFunc(d.ending, cancel)
	return inner, func() { unhook(); cancel(); d.calls.Done() }, nil
}

// ended is why a call's inner context has ended.
func (d *Driver) ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return haservices.ErrClosed
}

// Close implements haservices.Driver. It ends the session on the server, so that successors lead at once;
// if the server cannot be reached this takes a second and the session ends by its timeout.
func (d *Driver) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	started := d.started
	d.mu.Unlock()
	d.end()
	d.calls.Wait()
	if started {
		d.client.close()
	}
	return nil
}

// Read implements haservices.Driver.
func (d *Driver) Read(ctx context.Context, path string) (haservices.Node, error) {
	n, err := read(ctx, d, path, func(ctx context.Context, s *session, znode string) (haservices.Node, error) {
		n, err := s.get(ctx, znode)
		if errors.Is(err, zk.ErrNoNode) {
			return haservices.Node{}, haservices.ErrNotFound
		}
		if err != nil {
			return haservices.Node{}, err
		}
		return haservices.Node{Data: n.data, Version: int64(n.stat.Version)}, nil
	})
	if err != nil {
		return haservices.Node{}, fmt.Errorf("read node %s: %w", path, err)
	}
	return n, nil
}

// Children implements haservices.Driver.
func (d *Driver) Children(ctx context.Context, path string) ([]string, error) {
	names, err := read(ctx, d, path, func(ctx context.Context, s *session, znode string) ([]string, error) {
		names, err := s.children(ctx, znode)
		if errors.Is(err, zk.ErrNoNode) {
			return nil, nil
		}
		slices.Sort(names)
		return names, err
	})
	if err != nil {
		return nil, fmt.Errorf("list nodes below %s: %w", path, err)
	}
	return names, nil
}

// read makes a request that changes nothing, and makes it again when the connection broke. A session that
// ends meanwhile is no obstacle: the next one reads as well.
func read[T any](ctx context.Context, d *Driver, path string, f func(ctx context.Context, s *session, znode string) (T, error)) (answer T, err error) {
	znode, err := d.absolute(path)
	if err != nil {
		return answer, err
	}
	inner, leave, err := d.enter(ctx)
	if err != nil {
		return answer, err
	}
	defer leave()
	limited, cancel := context.WithTimeoutCause(inner, d.cfg.ConnectionTimeout, errUnsent)
	defer cancel()
	for attempt := 0; ; attempt++ {
		var s *session
		if s, err = d.client.ready(limited); err == nil {
			answer, err = f(limited, s, znode)
		}
		broken := errors.Is(err, errInFlight) || errors.Is(err, errUnsent) || errors.Is(err, errLost)
		switch {
		case err == nil:
			return answer, nil
		case inner.Err() != nil:
			return answer, fmt.Errorf("%w: %w", haservices.ErrUnavailable, d.ended(ctx))
		case limited.Err() != nil:
			return answer, fmt.Errorf("%w: no answer within %s", haservices.ErrUnavailable, d.cfg.ConnectionTimeout)
		case !broken:
			return answer, err
		case attempt >= d.cfg.MaxRetryAttempts:
			return answer, fmt.Errorf("%w: %w", haservices.ErrUnavailable, err)
		}
	}
}

// claim notes that this process contends for c.
func (d *Driver) claim(c haservices.Component) (*stake, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.active[c]; old != nil && (old.term == nil || !old.term.over()) {
		return nil, fmt.Errorf("campaign for %s: this process contends already", c)
	}
	s := &stake{}
	d.active[c] = s
	return s, nil
}

// release undoes claim. A later stake is left alone.
func (d *Driver) release(c haservices.Component, s *stake) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.active[c] == s {
		delete(d.active, c)
	}
}

// background runs f until it returns; its ctx ends with Close, which waits for it. It is called from
// within a call, so Close cannot have waited yet.
func (d *Driver) background(f func(ctx context.Context)) {
	d.calls.Add(1)
	go func() {
		defer d.calls.Done()
		f(d.ending)
	}()
}

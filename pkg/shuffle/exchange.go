package shuffle

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

const (
	// Credit is the most frames that a producer may have under way on one channel.
	Credit = 8
	// leastCredit keeps a producer busy while its consumer works.
	leastCredit = 2
	// gateFrames is how many frames the channels of a gate share, as long as each has leastCredit: it bounds the
	// memory of a consumer that is slower than its producers.
	gateFrames = 256
	// acceptPause follows a connection that could not be accepted.
	acceptPause = 50 * time.Millisecond
)

// Config is what an Exchange needs.
type Config struct {
	Job id.Job
	// Listener takes connections of other job processes. Nil: all tasks are in this process.
	Listener net.Listener
	// Host is what peers dial; the port is the listener's.
	Host string
	Log  *zap.Logger
}

// Exchange is a job process's part in the exchange of records: its gates, and the connections from and to
// other processes.
type Exchange struct {
	cfg   Config
	start chan func(ctx context.Context) // goroutines for Run to own
	ended chan struct{}                  // closed when Run returns

	mu      sync.Mutex // guards the rest
	gates   map[id.ExecutionAttempt]*Gate
	newest  map[subtask]int // the highest attempt that a gate was opened for
	waiting map[id.ExecutionAttempt][]opening
	peers   map[string]*peer
}

// PeerError is that a channel's other end has ended or cannot be reached. Why it ended, its own task tells.
type PeerError struct{ err error }

func (e *PeerError) Error() string { return e.err.Error() }

// Unwrap returns what happened to the channel.
func (e *PeerError) Unwrap() error { return e.err }

// subtask is what attempts are attempts of.
type subtask struct {
	vertex id.Vertex
	index  int
}

func subtaskOf(a id.ExecutionAttempt) subtask { return subtask{a.Vertex, a.Subtask} }

// opening is a producer that asks for a channel.
type opening struct {
	key    channelKey
	origin origin
	// One of these is called, without a lock of this package held.
	accepted func(g *Gate, channel int)
	refused  func(reason string)
}

// New returns an exchange. Run must be called for channels to other processes to work.
func New(cfg Config) *Exchange {
	return &Exchange{
		cfg:     cfg,
		start:   make(chan func(ctx context.Context)),
		ended:   make(chan struct{}),
		gates:   map[id.ExecutionAttempt]*Gate{},
		newest:  map[subtask]int{},
		waiting: map[id.ExecutionAttempt][]opening{},
		peers:   map[string]*peer{},
	}
}

// Address is host:port as peers dial it, or empty without a listener.
func (x *Exchange) Address() string {
	if x.cfg.Listener == nil {
		return ""
	}
	_, port, _ := net.SplitHostPort(x.cfg.Listener.Addr().String()) // a listener's address always has a port
	return net.JoinHostPort(x.cfg.Host, port)
}

// Run serves connections until ctx ends, closes them, and returns when nothing of the exchange runs any
// more.
func (x *Exchange) Run(ctx context.Context) error {
	defer close(x.ended)
	g, ctx := errgroup.WithContext(ctx)
	if x.cfg.Listener != nil {
		g.Go(func() error { return x.listen(ctx, g) })
	}
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case f := <-x.start:
				g.Go(func() error { f(ctx); return nil })
			}
		}
	})
	return g.Wait()
}

func (x *Exchange) listen(ctx context.Context, g *errgroup.Group) error {
	stop := context.AfterFunc(ctx, func() { x.cfg.Listener.Close() })
	defer stop()
	for {
		c, err := x.cfg.Listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("listen for records on %s: %w", x.cfg.Listener.Addr(), err)
		case err != nil:
			// No file descriptor is left, perhaps: the next try would fail as well.
			x.cfg.Log.Warn("connection was not accepted", zap.Error(err))
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
		default:
			g.Go(func() error { x.serve(ctx, c); return nil })
		}
	}
}

// OpenGate makes the input side of an attempt. inputs are TaskDeployment.Inputs. Producers that are here
// already are connected at once.
func (x *Exchange) OpenGate(attempt id.ExecutionAttempt, inputs [][]protocol.Channel) *Gate {
	g := newGate(x, attempt, inputs)
	x.mu.Lock()
	x.gates[attempt] = g
	x.newest[subtaskOf(attempt)] = max(x.newest[subtaskOf(attempt)], attempt.Attempt)
	mine := x.waiting[attempt]
	delete(x.waiting, attempt)
	var late []opening
	for a, openings := range x.waiting {
		if subtaskOf(a) == subtaskOf(attempt) && a.Attempt < attempt.Attempt {
			late = append(late, openings...)
			delete(x.waiting, a)
		}
	}
	x.mu.Unlock()
	for _, o := range mine {
		o.attach(g)
	}
	for _, o := range late {
		o.refused(fmt.Sprintf("consumer %s has been replaced by attempt %d", o.key.consumer, attempt.Attempt))
	}
	return g
}

// Open makes the output side of one edge of producer: a channel to each consumer, on its input number
// input. It returns at once; sending waits until the consumer is there.
func (x *Exchange) Open(producer id.ExecutionAttempt, consumers []protocol.Channel, input int) *Output {
	senders := make([]*Sender, len(consumers))
	for i, c := range consumers {
		s := newSender(channelKey{consumer: c.Peer, input: input, producer: producer})
		senders[i] = s
		if c.Address == x.Address() {
			x.open(opening{
				key: s.key, origin: s,
				accepted: func(g *Gate, channel int) { s.accept(local{g, channel}, g.credit()) },
				refused:  func(reason string) { s.fail(errors.New(reason)) },
			})
		} else {
			x.connect(c.Address, s)
		}
	}
	return NewOutput(senders)
}

// open finds the gate for a producer, or keeps it waiting until there is one.
func (x *Exchange) open(o opening) {
	x.mu.Lock()
	g := x.gates[o.key.consumer]
	newest, seen := x.newest[subtaskOf(o.key.consumer)]
	gone := g == nil && seen && newest >= o.key.consumer.Attempt
	if g == nil && !gone {
		x.waiting[o.key.consumer] = append(x.waiting[o.key.consumer], o)
	}
	x.mu.Unlock()
	switch {
	case g != nil:
		o.attach(g)
	case gone:
		o.refused(fmt.Sprintf("consumer %s has ended", o.key.consumer))
	}
}

func (o opening) attach(g *Gate) {
	if channel, err := g.attach(o.key, o.origin); err != nil {
		o.refused(err.Error())
	} else {
		o.accepted(g, channel)
	}
}

// withdraw drops the openings of a connection that is gone.
func (x *Exchange) withdraw(c *inConn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for a, openings := range x.waiting {
		kept := openings[:0]
		for _, o := range openings {
			if r, ok := o.origin.(*remoteOrigin); !ok || r.conn != c {
				kept = append(kept, o)
			}
		}
		if x.waiting[a] = kept; len(kept) == 0 {
			delete(x.waiting, a)
		}
	}
}

func (x *Exchange) forget(g *Gate) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.gates[g.attempt] == g {
		delete(x.gates, g.attempt)
	}
}

// spawn hands f to Run. It reports false when Run has ended.
func (x *Exchange) spawn(f func(ctx context.Context)) bool {
	select {
	case x.start <- f:
		return true
	case <-x.ended:
		return false
	}
}

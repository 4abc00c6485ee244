package simulation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// client is a user: it asks whoever leads, and asks again until it is answered.
type client struct {
	services *haservices.Services
	rpc      *rpc.Service
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu      sync.Mutex // guards leaders
	leaders map[haservices.Kind]haservices.LeaderInformation
}

// callTimeout is how long one call may take before the client asks again.
const callTimeout = 10 * time.Second

func newClient(w *world) *client {
	c := &client{leaders: map[haservices.Kind]haservices.LeaderInformation{}}
	var ctx context.Context
	ctx, c.stop = context.WithCancel(context.Background())
	c.services, c.rpc = w.user.newLife(c.stop).services()
	c.running.Go(func() { c.rpc.Run(ctx) })
	for _, kind := range []haservices.Kind{haservices.Dispatcher, haservices.ResourceManager} {
		c.running.Go(func() {
			c.services.LeaderRetrieval(haservices.Component{Kind: kind}).Run(ctx, following{c, kind})
		})
	}
	return c
}

func (c *client) close() {
	c.stop()
	c.running.Wait()
	c.services.Close(context.Background())
}

// following is the client as the listener of one retrieval.
type following struct {
	client *client
	kind   haservices.Kind
}

// NotifyLeader is the retrieval's.
func (f following) NotifyLeader(l haservices.LeaderInformation) {
	f.client.mu.Lock()
	defer f.client.mu.Unlock()
	f.client.leaders[f.kind] = l
}

func (c *client) leader(kind haservices.Kind) haservices.LeaderInformation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leaders[kind]
}

// ask calls the leading Dispatcher until it answers, or until ctx ends. An error that says something
// about the request is returned.
func ask[Req, Resp any](ctx context.Context, c *client, call protocol.Call[Req, Resp], req Req) (Resp, error) {
	return askLeader(ctx, c, haservices.Dispatcher, call, req)
}

func askLeader[Req, Resp any](ctx context.Context, c *client, kind haservices.Kind, call protocol.Call[Req, Resp], req Req) (resp Resp, err error) {
	err = errors.New("no leader seen")
	for ctx.Err() == nil {
		if leader := c.leader(kind); !leader.IsEmpty() {
			var g rpc.Gateway
			if g, err = c.rpc.Gateway(leader.Address, leader.Token); err != nil {
				return resp, err
			}
			try, cancel := context.WithTimeout(ctx, callTimeout)
			resp, err = rpc.Invoke(try, g, call, req)
			cancel()
			if err == nil || decided(err) {
				return resp, err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	return resp, fmt.Errorf("%s: %w; last answer: %w", call.Method, ctx.Err(), err)
}

// decided reports whether err is about the request itself.
func decided(err error) bool {
	for _, e := range []error{protocol.ErrUnknownJob, protocol.ErrInvalidJob, protocol.ErrJobConflict, protocol.ErrJobEnded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// submission is a job that a client wants to run.
type submission struct {
	graph jobgraph.JobGraph
	// acknowledged: a Dispatcher said that the job is stored.
	acknowledged bool
	// settled: the job ran with all its tasks before the faults began, so not one of its tasks may start
	// again because of a fault of the control plane.
	settled bool
	// drained: it was told to end its input; cancelled: by a user. Such a job ends.
	drained, cancelled bool
	// cancelAnswered: a Dispatcher said that the wish to cancel it is stored.
	cancelAnswered bool
}

func (s *submission) ends() bool { return s.drained || s.cancelled }

func (s *submission) tasks() int {
	n := 0
	for _, v := range s.graph.Vertices {
		n += v.Parallelism
	}
	return n
}

// graph draws a job: a source, perhaps keyed or chained stages, a sink.
func (w *world) graph() jobgraph.JobGraph {
	parallelism := 1 + w.rand.IntN(3)
	g := jobgraph.JobGraph{ID: id.Job(w.bytes()), Name: "job", MaxParallelism: 128, DefaultParallelism: parallelism,
		Binary:  jobgraph.Binary{Key: binaryKey, Size: int64(len(binary))},
		Restart: jobgraph.Restart{Kind: jobgraph.RestartFixedDelay, Attempts: 1000, Delay: time.Second}}
	if w.rand.IntN(4) > 0 {
		g.Checkpointing = jobgraph.Checkpointing{
			Interval: time.Duration(1+w.rand.IntN(5)) * time.Second, Timeout: time.Minute, Retained: 1 + w.rand.IntN(3), TolerableFailures: 1000,
		}
	}
	stages := 1 + w.rand.IntN(3)
	if w.rand.IntN(6) == 0 {
		stages = 8 // a ledger that does not fit into its node
	}
	for i := range stages {
		g.Vertices = append(g.Vertices, jobgraph.Vertex{
			ID: id.Vertex{byte(i + 1)}, Name: fmt.Sprintf("stage %d", i), Parallelism: parallelism, Source: i == 0,
			Operators: []jobgraph.Operator{{UID: fmt.Sprintf("op-%d", i), Name: "operator"}},
			Commits:   i == stages-1 && w.rand.IntN(2) == 0,
		})
		if i > 0 {
			partition := []jobgraph.Partition{jobgraph.Hash, jobgraph.Hash, jobgraph.Forward}[w.rand.IntN(3)]
			g.Edges = append(g.Edges, jobgraph.Edge{From: id.Vertex{byte(i)}, To: id.Vertex{byte(i + 1)}, Partition: partition})
		}
	}
	return g
}

func (w *world) bytes() (b [16]byte) {
	for i := range b {
		b[i] = byte(w.rand.UintN(256))
	}
	return b
}

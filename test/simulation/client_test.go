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

// client is a user: it asks whoever leads the Dispatcher, and asks again until it is answered.
type client struct {
	services *haservices.Services
	rpc      *rpc.Service
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu     sync.Mutex // guards leader
	leader haservices.LeaderInformation
}

// callTimeout is how long one call may take before the client asks again.
const callTimeout = 10 * time.Second

func newClient(w *world) *client {
	c := &client{}
	var ctx context.Context
	ctx, c.stop = context.WithCancel(context.Background())
	c.services, c.rpc = w.user.newLife(c.stop).services()
	c.running.Go(func() { c.rpc.Run(ctx) })
	c.running.Go(func() {
		c.services.LeaderRetrieval(haservices.Component{Kind: haservices.Dispatcher}).Run(ctx, c)
	})
	return c
}

func (c *client) close() {
	c.stop()
	c.running.Wait()
	c.services.Close(context.Background())
}

// NotifyLeader is the retrieval's.
func (c *client) NotifyLeader(l haservices.LeaderInformation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = l
}

// ask calls the leading Dispatcher until it answers, or until ctx ends. An error that says something
// about the request is returned.
func ask[Req, Resp any](ctx context.Context, c *client, call protocol.Call[Req, Resp], req Req) (resp Resp, err error) {
	err = errors.New("no leader seen")
	for ctx.Err() == nil {
		c.mu.Lock()
		leader := c.leader
		c.mu.Unlock()
		if !leader.IsEmpty() {
			var g rpc.Gateway
			if g, err = c.rpc.Gateway(leader.Address, leader.Token); err != nil {
				return resp, err
			}
			try, cancel := context.WithTimeout(ctx, callTimeout)
			resp, err = rpc.Invoke(try, g, call, req)
			cancel()
			if err == nil || errors.Is(err, protocol.ErrUnknownJob) || errors.Is(err, protocol.ErrInvalidJob) || errors.Is(err, protocol.ErrJobConflict) || errors.Is(err, protocol.ErrJobEnded) {
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
	for i := range stages {
		g.Vertices = append(g.Vertices, jobgraph.Vertex{
			ID: id.Vertex{byte(i + 1)}, Name: fmt.Sprintf("stage %d", i), Parallelism: parallelism, Source: i == 0,
			Operators: []jobgraph.Operator{{UID: fmt.Sprintf("op-%d", i), Name: "operator"}},
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

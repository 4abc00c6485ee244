package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
)

func all(state string, n int) (lines []string) {
	for _, t := range []string{"sink-0", "sink-1", "source-0", "source-1"} {
		lines = append(lines, fmt.Sprintf("%s/%d %s", t, n, state))
	}
	return lines
}

// ten emits ten records and ends.
func ten(c *fakeChain, ctx, read context.Context) (Polled, error) {
	c.emit()
	return Polled{Records: 1, End: c.count == 10}, nil
}

func TestBoundedJob(t *testing.T) {
	run(t, script{poll: ten}, func(b *bench) {
		req := deployments(0)
		b.deploy(req)
		b.expect(slices.Concat(all("INITIALIZING", 0), all("RUNNING", 0), all("drained", 0))...)
		b.trigger(1, req)
		var acks []string
		for _, s := range []int{0, 1} {
			acks = append(acks,
				fmt.Sprintf("source-%d/0 acknowledged 1: /chk-1/%s-%d-op0-attempt0-epoch4 [3,5]", s, sourceID, s),
				fmt.Sprintf("sink-%d/0 acknowledged 1: /chk-1/%s-%d-op0-attempt0-epoch4 [3,5]", s, sinkID, s))
		}
		b.expect(acks...)
		b.must(b.CompleteCheckpoint(b.ctx, protocol.CompleteCheckpointRequest{Checkpoint: 1, Attempts: attempts(req)}))
		b.must(b.Finish(b.ctx, protocol.FinishTasksRequest{Attempts: attempts(req)}))
		b.expect(all("FINISHED", 0)...)
		var want []string
		for _, c := range []string{"source-0", "source-1", "sink-0", "sink-1"} {
			n := 10
			if strings.HasPrefix(c, "sink") {
				n = 20
			}
			want = append(want, fmt.Sprintf("%s drained at %d", c, n), c+" released", c+" committed 1", c+" finished", c+" closed")
		}
		slices.Sort(want)
		if got := b.program.heard(); !slices.Equal(got, want) {
			t.Errorf("chains:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
	})
}

func TestPanicFailsThatAttemptAlone(t *testing.T) {
	s := script{
		poll: func(c *fakeChain, ctx, read context.Context) (Polled, error) {
			if c.task.Attempt.Subtask == 1 && c.count == 3 {
				panic("user code")
			}
			if c.count == 3 {
				<-read.Done()
				return Polled{Dry: true}, ctx.Err()
			}
			c.emit()
			return Polled{Records: 1}, nil
		},
	}
	run(t, s, func(b *bench) {
		b.deploy(deployments(0))
		b.expect(append(slices.Concat(all("INITIALIZING", 0), all("RUNNING", 0)), "source-1/0 FAILED: Source (2/2): panic: user code")...)
		b.must(b.Cancel(b.ctx, protocol.CancelTasksRequest{Attempts: attempts(deployments(0))}))
		b.expect("sink-0/0 CANCELED", "sink-1/0 CANCELED", "source-0/0 CANCELED")
		again := deployments(1)
		b.deploy(again)
		got := b.news()
		if !slices.Contains(got, "sink-0/1 RUNNING") {
			t.Errorf("after a panic the next attempt does not run: %q", got)
		}
	})
}

func TestPanicShowsItsStack(t *testing.T) {
	s := script{consume: func(*fakeChain, context.Context, []byte) error { panic(errors.New("deep")) }, poll: ten}
	run(t, s, func(b *bench) {
		b.deploy(deployments(0))
		answer, err := b.Events(b.ctx, protocol.WorkerEventsRequest{})
		b.must(err)
		for _, e := range answer.Events {
			// A producer whose consumer has panicked may be heard first; it says that it is not the cause.
			if e.State == nil || e.State.State != protocol.Failed || e.State.Failure.Consequence {
				continue
			}
			if !strings.Contains(e.State.Failure.Stack, "TestPanicShowsItsStack") {
				t.Errorf("stack does not show the user's function:\n%s", e.State.Failure.Stack)
			}
			return
		}
		t.Error("no task failed")
	})
}

func TestCancelEndsBlockedUserCode(t *testing.T) {
	blocked := func(c *fakeChain, ctx context.Context, _ []byte) error {
		<-ctx.Done()
		return fmt.Errorf("gave up: %w", ctx.Err())
	}
	endless := func(c *fakeChain, ctx, read context.Context) (Polled, error) {
		c.emit()
		return Polled{Records: 1}, errors.Join(c.task.Outputs[0].FlushAll(ctx))
	}
	for name, s := range map[string]script{
		"in a source":                      {},
		"in an operator":                   {consume: blocked, poll: ten},
		"by back pressure":                 {consume: blocked, poll: endless},
		"while it opens":                   {open: func(c *fakeChain, ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		"after an error of its own making": {open: func(c *fakeChain, ctx context.Context) error { <-ctx.Done(); return errors.New("x") }},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, s, func(b *bench) {
				b.deploy(deployments(0))
				b.news()
				start := time.Now()
				b.must(b.Cancel(b.ctx, protocol.CancelTasksRequest{Attempts: attempts(deployments(0))}))
				b.expect(all("CANCELED", 0)...)
				if took := time.Since(start); took > 0 {
					t.Errorf("canceled after %s", took)
				}
				metrics, err := b.Metrics(b.ctx)
				b.must(err)
				if len(metrics.Attempts) != 0 {
					t.Errorf("%d attempts are left", len(metrics.Attempts))
				}
			})
		})
	}
}

func TestDeployIsIdempotentAndOrdered(t *testing.T) {
	run(t, script{}, func(b *bench) {
		b.deploy(deployments(1))
		b.news()
		b.deploy(deployments(1))
		b.deploy(deployments(0))
		b.expect()
		b.deploy(deployments(2))
		b.expect(slices.Concat(all("CANCELED", 1), all("INITIALIZING", 2), all("RUNNING", 2))...)
		wrong := deployments(3)
		wrong.Job = id.Job{1}
		if err := b.Deploy(b.ctx, wrong); !errors.Is(err, protocol.ErrUnknownJob) {
			t.Errorf("deploy of another job = %v", err)
		}
		wrong = deployments(3)
		wrong.Tasks[3].Attempt.Vertex = id.Vertex{77}
		if err := b.Deploy(b.ctx, wrong); !errors.Is(err, protocol.ErrInvalidJob) {
			t.Errorf("deploy of an unknown vertex = %v", err)
		}
		b.expect()
	})
}

func TestStopCancelsEverything(t *testing.T) {
	run(t, script{}, func(b *bench) {
		b.deploy(deployments(0))
		b.news()
		b.stop()
		b.expect(all("CANCELED", 0)...)
		b.stop = func() {}
	})
}

func TestProgramMustBuildTheSameGraph(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(g *jobgraph.JobGraph)
		want   string
	}{
		{"vertex missing", func(g *jobgraph.JobGraph) { g.Vertices = g.Vertices[:1] }, "1 vertices"},
		{"other vertex", func(g *jobgraph.JobGraph) { g.Vertices[1].ID = id.Vertex{8} }, `does not build vertex "Sink"`},
		{"other parallelism", func(g *jobgraph.JobGraph) { g.Vertices[0].Parallelism = 3 }, "parallelism 3 now, but 2"},
		{"other edge", func(g *jobgraph.JobGraph) { g.Edges[0].Partition = jobgraph.Hash }, "edge 0"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := &fakeProgram{graph: testJob()}
			tc.change(p.graph)
			w := New(p, Config{Log: zap.NewNop()})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go w.Run(ctx)
			_, err := w.Start(ctx, protocol.StartWorkerRequest{Graph: *testJob()})
			if !errors.Is(err, protocol.ErrInvalidJob) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: Start = %v, want ErrInvalidJob with %q", tc.name, err, tc.want)
			}
			if err := w.Deploy(ctx, deployments(0)); !errors.Is(err, protocol.ErrNotReady) {
				t.Errorf("%s: Deploy before Start = %v, want ErrNotReady", tc.name, err)
			}
		})
	}
}

func TestEndpointServesTheCalls(t *testing.T) {
	run(t, script{poll: ten}, func(b *bench) {
		network := rpctest.NewNetwork(rpctest.Faults{})
		server := rpc.NewService(network.Node("worker"))
		server.Add(b.Endpoint())
		ctx, cancel := context.WithCancel(b.ctx)
		served := make(chan error, 1)
		go func() { served <- server.Run(ctx) }()
		synctest.Wait()
		g, err := rpc.NewService(network.Node("tm")).Gateway("tamias://worker/worker", id.FencingToken{})
		b.must(err)
		_, err = rpc.Invoke(ctx, g, protocol.StartWorker, protocol.StartWorkerRequest{Graph: *testJob()})
		b.must(err)
		_, err = rpc.Invoke(ctx, g, protocol.WorkerDeploy, deployments(0))
		b.must(err)
		answer, err := rpc.Invoke(ctx, g, protocol.WorkerEvents, protocol.WorkerEventsRequest{})
		b.must(err)
		if len(answer.Events) != 12 {
			t.Errorf("%d events, want 12", len(answer.Events))
		}
		metrics, err := rpc.Invoke(ctx, g, protocol.WorkerMetrics, protocol.Empty{})
		b.must(err)
		if len(metrics.Attempts) != 4 {
			t.Errorf("metrics of %d attempts, want 4", len(metrics.Attempts))
		}
		_, err = rpc.Invoke(ctx, g, protocol.WorkerFinish, protocol.FinishTasksRequest{Attempts: attempts(deployments(0))})
		b.must(err)
		answer, err = rpc.Invoke(ctx, g, protocol.WorkerEvents, protocol.WorkerEventsRequest{After: 12})
		b.must(err)
		if len(answer.Events) != 4 || answer.Events[0].State.State != protocol.Finished {
			t.Errorf("after finish: %+v", answer.Events)
		}
		cancel()
		b.must(<-served)
	})
}

func TestIdleAndBusyTime(t *testing.T) {
	s := script{poll: func(c *fakeChain, ctx, read context.Context) (Polled, error) {
		select {
		case <-read.Done():
			return Polled{Dry: true}, ctx.Err()
		case <-time.After(time.Second):
			c.emit()
			return Polled{Records: 1, Dry: true, Reading: time.Second, Gap: time.Duration(c.count) * 100 * time.Millisecond}, nil
		}
	}}
	run(t, s, func(b *bench) {
		b.deploy(deployments(0))
		<-time.After(10*time.Second + time.Millisecond)
		synctest.Wait()
		metrics, err := b.Metrics(b.ctx)
		b.must(err)
		for _, a := range metrics.Attempts {
			m := a.Metrics
			if a.Attempt.Vertex == sinkID && (m.IdleMillis < 9900 || m.BusyMillis > 100 || m.RecordsIn != 20) {
				t.Errorf("sink: %+v, want 20 records and 10 s idle", m)
			}
			if a.Attempt.Vertex == sourceID && (m.MaxGapMillis != 1000 || m.RecordsOut != 20 || m.IdleMillis < 8900) {
				t.Errorf("source: %+v, want 20 records out (10 to each of two), a gap of 1000 ms and 9 s idle", m)
			}
		}
	})
}

// TestACanceledRequestIsNoInterruption: user code may end with the same error as a source that is interrupted. Were
// the task to go on, the checkpoint that has just been triggered would be behind records that were not processed.
func TestACanceledRequestIsNoInterruption(t *testing.T) {
	s := script{poll: func(c *fakeChain, ctx, read context.Context) (Polled, error) {
		<-read.Done()
		return Polled{Records: 1}, fmt.Errorf("request of user code: %w", context.Canceled)
	}}
	run(t, s, func(b *bench) {
		req := deployments(0)
		b.deploy(req)
		b.news()
		b.trigger(1, req)
		b.expect("source-0/0 FAILED: Source (1/2): request of user code: context canceled",
			"source-1/0 FAILED: Source (2/2): request of user code: context canceled")
	})
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
)

var (
	sourceID = id.Vertex{1}
	sinkID   = id.Vertex{2}
)

// testJob is two source subtasks that each feed both of two sink subtasks.
func testJob() *jobgraph.JobGraph {
	return &jobgraph.JobGraph{
		ID: id.Job{9}, Name: "test", MaxParallelism: 128, BufferTimeout: 100 * time.Millisecond,
		Vertices: []jobgraph.Vertex{
			{ID: sourceID, Name: "Source", Parallelism: 2, Source: true, Operators: []jobgraph.Operator{{UID: "source"}}},
			{ID: sinkID, Name: "Sink", Parallelism: 2, Commits: true, Operators: []jobgraph.Operator{{UID: "sink"}}},
		},
		Edges: []jobgraph.Edge{{From: sourceID, To: sinkID, Partition: jobgraph.Rebalance}},
	}
}

// script is what the chains of a test do. Nil members do the obvious.
type script struct {
	poll     func(c *fakeChain, ctx, read context.Context) (Polled, error)
	consume  func(c *fakeChain, ctx context.Context, frame []byte) error
	open     func(c *fakeChain, ctx context.Context) error
	snapshot func(c *fakeChain, checkpoint int64) error
}

type fakeProgram struct {
	graph  *jobgraph.JobGraph
	script script
	mu     sync.Mutex // guards said
	said   []string
}

func (p *fakeProgram) Graph() *jobgraph.JobGraph { return p.graph }
func (p *fakeProgram) NewChain(v id.Vertex) (Chain, error) {
	return &fakeChain{program: p}, nil
}

// say notes something that a test looks for.
func (p *fakeProgram) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, fmt.Sprintf(format, args...))
}

func (p *fakeProgram) heard() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(slices.Values(p.said))
}

// fakeChain is a source that emits single bytes, or a sink that counts them.
type fakeChain struct {
	program *fakeProgram
	task    *Task
	count   int
}

func (c *fakeChain) String() string {
	return fmt.Sprintf("%s-%d", strings.ToLower(c.task.Vertex.Name), c.task.Attempt.Subtask)
}

func (c *fakeChain) Open(ctx context.Context, t *Task) error {
	c.task = t
	if t.Restore != nil {
		for _, o := range t.Restore.Operators {
			c.count += int(o.Raw[0])
			for _, k := range o.Keyed {
				r, err := t.OpenFile(ctx, k.File)
				if err != nil {
					return err
				}
				data, err := io.ReadAll(r)
				if err := errors.Join(err, r.Close()); err != nil {
					return err
				}
				c.program.say("%s restored %q", c, data)
			}
		}
	}
	if f := c.program.script.open; f != nil {
		return f(c, ctx)
	}
	return nil
}

// Poll waits for ever, unless the script says otherwise.
func (c *fakeChain) Poll(ctx, read context.Context) (Polled, error) {
	if f := c.program.script.poll; f != nil {
		return f(c, ctx, read)
	}
	<-read.Done()
	return Polled{}, read.Err()
}

// emit sends one byte to each consumer.
func (c *fakeChain) emit() {
	for channel := range c.task.Outputs[0].Channels() {
		f := c.task.Outputs[0].Frame(channel)
		f.Data, f.Records = append(f.Data, 'x'), f.Records+1
	}
	c.count++
}

func (c *fakeChain) Consume(ctx context.Context, _ int, frame []byte) error {
	c.count += len(frame)
	if f := c.program.script.consume; f != nil {
		return f(c, ctx, frame)
	}
	return nil
}

func (c *fakeChain) Flush(context.Context) error { return nil }

func (c *fakeChain) Drain(context.Context) error {
	c.program.say("%s drained at %d", c, c.count)
	return nil
}

func (c *fakeChain) Snapshot(_ context.Context, n int64) ([]OperatorSnapshot, error) {
	if f := c.program.script.snapshot; f != nil {
		if err := f(c, n); err != nil {
			return nil, err
		}
	}
	return []OperatorSnapshot{{
		UID: c.task.Vertex.Operators[0].UID, Raw: []byte{byte(c.count)},
		Keyed: keyed{c, fmt.Sprintf("%s at %d", c, c.count)}, First: 3, Last: 5,
	}}, nil
}

func (c *fakeChain) Commit(_ context.Context, n int64) error {
	c.program.say("%s committed %d", c, n)
	return nil
}

func (c *fakeChain) Finish(context.Context) error {
	c.program.say("%s finished", c)
	return nil
}

func (c *fakeChain) Close() error {
	c.program.say("%s closed", c)
	return nil
}

type keyed struct {
	chain *fakeChain
	text  string
}

func (k keyed) Write(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, k.text)
	return int64(n), err
}

func (k keyed) Release() { k.chain.program.say("%s released", k.chain) }

// bench is a worker that runs in a synctest bubble.
type bench struct {
	*Worker
	t       *testing.T
	program *fakeProgram
	fs      *filesystem.Memory
	ctx     context.Context // as long as the worker runs
	last    int64
	stop    func()
}

func run(t *testing.T, s script, f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &fakeProgram{graph: testJob(), script: s}
		b := &bench{t: t, program: p, fs: filesystem.NewMemory()}
		b.Worker = New(p, Config{FileSystem: b.fs, Log: zap.NewNop()})
		ctx, cancel := context.WithCancel(t.Context())
		b.ctx = t.Context()
		ended := make(chan error, 1)
		go func() { ended <- b.Run(ctx) }()
		b.stop = func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run = %v", err)
			}
		}
		if _, err := b.Start(ctx, protocol.StartWorkerRequest{Graph: *testJob()}); err != nil {
			t.Fatal(err)
		}
		f(b)
		b.stop()
	})
}

// deployments are all tasks of the job in one attempt.
func deployments(n int) protocol.DeployTasksRequest {
	req := protocol.DeployTasksRequest{Job: testJob().ID}
	far := func(v id.Vertex) []protocol.Channel {
		return []protocol.Channel{
			{Peer: id.ExecutionAttempt{Vertex: v, Subtask: 0, Attempt: n}},
			{Peer: id.ExecutionAttempt{Vertex: v, Subtask: 1, Attempt: n}},
		}
	}
	for s := range 2 {
		req.Tasks = append(req.Tasks,
			protocol.TaskDeployment{Attempt: id.ExecutionAttempt{Vertex: sourceID, Subtask: s, Attempt: n}, Outputs: [][]protocol.Channel{far(sinkID)}},
			protocol.TaskDeployment{Attempt: id.ExecutionAttempt{Vertex: sinkID, Subtask: s, Attempt: n}, Inputs: [][]protocol.Channel{far(sourceID)}})
	}
	return req
}

func attempts(req protocol.DeployTasksRequest, only ...id.Vertex) (all []id.ExecutionAttempt) {
	for _, d := range req.Tasks {
		if len(only) == 0 || slices.Contains(only, d.Attempt.Vertex) {
			all = append(all, d.Attempt)
		}
	}
	return all
}

func (b *bench) deploy(req protocol.DeployTasksRequest) {
	b.t.Helper()
	if err := b.Deploy(b.ctx, req); err != nil {
		b.t.Fatal(err)
	}
	synctest.Wait()
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Error(err)
	}
	synctest.Wait()
}

func (b *bench) trigger(n int64, req protocol.DeployTasksRequest) {
	b.t.Helper()
	b.must(b.TriggerCheckpoint(b.ctx, protocol.TriggerCheckpointRequest{
		Job: req.Job, Checkpoint: n, Sources: attempts(req, sourceID), Dir: fmt.Sprintf("/chk-%d", n), Epoch: 4,
	}))
}

// news is what has happened since the last call, one line for each event, sorted.
func (b *bench) news() []string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Second)
	defer cancel()
	answer, err := b.Events(ctx, protocol.WorkerEventsRequest{After: b.last})
	if err != nil {
		return nil
	}
	var lines []string
	for _, e := range answer.Events {
		if e.Number != b.last+1 {
			b.t.Errorf("event %d follows %d", e.Number, b.last)
		}
		b.last = e.Number
		lines = append(lines, printed(e))
	}
	slices.Sort(lines)
	return lines
}

func printed(e protocol.WorkerEvent) string {
	name := func(a id.ExecutionAttempt) string {
		return fmt.Sprintf("%s-%d/%d", map[id.Vertex]string{sourceID: "source", sinkID: "sink"}[a.Vertex], a.Subtask, a.Attempt)
	}
	switch {
	case e.Acknowledge != nil:
		var files []string
		for _, s := range e.Acknowledge.State {
			for _, k := range s.Keyed {
				files = append(files, fmt.Sprintf("%s [%d,%d]", k.File, k.First, k.Last))
			}
		}
		return fmt.Sprintf("%s acknowledged %d: %s", name(e.Acknowledge.Attempt), e.Acknowledge.Checkpoint, strings.Join(files, " "))
	case e.Decline != nil:
		return fmt.Sprintf("%s declined %d: %s", name(e.Decline.Attempt), e.Decline.Checkpoint, e.Decline.Reason)
	case e.State.Drained:
		return name(e.State.Attempt) + " drained"
	case e.State.Failure != nil:
		return fmt.Sprintf("%s %s: %s", name(e.State.Attempt), e.State.State, e.State.Failure.Message)
	default:
		return fmt.Sprintf("%s %s", name(e.State.Attempt), e.State.State)
	}
}

func (b *bench) expect(want ...string) {
	b.t.Helper()
	slices.Sort(want)
	if got := b.news(); !slices.Equal(got, want) {
		b.t.Errorf("events:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

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

func TestRestoreReadsStateFiles(t *testing.T) {
	run(t, script{}, func(b *bench) {
		b.must(b.fs.Create(b.ctx, "/chk-7/part", strings.NewReader("saved")))
		req := deployments(3)
		req.Tasks[0].Restore = &protocol.RestoredState{Checkpoint: 7, Operators: []protocol.OperatorState{{
			UID: "source", Raw: []byte{5}, Keyed: []protocol.KeyedState{{File: "/chk-7/part"}},
		}}}
		req.Tasks[2].Restore = &protocol.RestoredState{Checkpoint: 7, Operators: []protocol.OperatorState{{
			UID: "source", Raw: []byte{5}, Keyed: []protocol.KeyedState{{File: "/chk-7/lost"}},
		}}}
		b.deploy(req)
		got := b.news()
		if !slices.ContainsFunc(got, func(l string) bool {
			return strings.HasPrefix(l, "source-1/3 FAILED: Source (2/2):") && strings.Contains(l, "not found")
		}) {
			t.Errorf("events %q, want a failure of source-1 because its file is not there", got)
		}
		if heard := b.program.heard(); !slices.Contains(heard, `source-0 restored "saved"`) {
			t.Errorf("chains said %q", heard)
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
				return Polled{}, read.Err()
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
			if e.State != nil && e.State.State == protocol.Failed {
				if !strings.Contains(e.State.Failure.Stack, "TestPanicShowsItsStack") {
					t.Errorf("stack does not show the user's function:\n%s", e.State.Failure.Stack)
				}
				return
			}
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

func TestCheckpointInterruptsAnIdleSource(t *testing.T) {
	run(t, script{}, func(b *bench) {
		req := deployments(0)
		b.deploy(req)
		b.news()
		b.trigger(1, req)
		if got := b.news(); len(got) != 4 {
			t.Errorf("events %q, want four acknowledgements", got)
		}
		b.trigger(1, req)
		b.expect()
		err := b.TriggerCheckpoint(b.ctx, protocol.TriggerCheckpointRequest{Checkpoint: 2, Sources: attempts(req, sourceID), Epoch: 3})
		if !errors.Is(err, rpc.ErrFenced) {
			t.Errorf("trigger of an older epoch = %v, want ErrFenced", err)
		}
		b.expect()
	})
}

func TestAbortUnblocksAlignment(t *testing.T) {
	s := script{poll: func(c *fakeChain, ctx, read context.Context) (Polled, error) {
		select {
		case <-read.Done():
			return Polled{}, read.Err()
		case <-time.After(time.Second):
			c.emit()
			return Polled{Records: 1, Dry: true}, nil
		}
	}}
	run(t, s, func(b *bench) {
		req := deployments(0)
		b.deploy(req)
		b.news()
		one := req
		one.Tasks = req.Tasks[:1] // only source-0 sends the barrier
		b.trigger(1, one)
		if got := b.news(); len(got) != 1 || !strings.HasPrefix(got[0], "source-0/0 acknowledged 1") {
			t.Errorf("events %q, want only the acknowledgement of source-0", got)
		}
		before := recordsIn(b, sinkID)
		<-time.After(10 * time.Second)
		synctest.Wait()
		held := recordsIn(b, sinkID) - before
		if held < 8 || held > 12 {
			t.Errorf("a sink took %d records in 10 s of alignment, want those of one source", held)
		}
		b.must(b.AbortCheckpoint(b.ctx, protocol.AbortCheckpointRequest{First: 1, Last: 1}))
		if after := recordsIn(b, sinkID) - before; after < 19 {
			t.Errorf("after the abort a sink has taken %d records, want those of both sources", after)
		}
		b.trigger(2, req)
		if got := b.news(); len(got) != 4 {
			t.Errorf("events %q, want four acknowledgements of 2", got)
		}
	})
}

func TestHigherBarrierOvertakes(t *testing.T) {
	run(t, script{}, func(b *bench) {
		req := deployments(0)
		b.deploy(req)
		b.news()
		one := req
		one.Tasks = req.Tasks[:1]
		b.trigger(1, one)
		b.news()
		b.trigger(2, req)
		got := strings.Join(b.news(), "\n")
		for _, want := range []string{
			"sink-0/0 declined 1: checkpoint 2 has begun", "sink-1/0 declined 1", "sink-0/0 acknowledged 2", "sink-1/0 acknowledged 2",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in:\n%s", want, got)
			}
		}
	})
}

func TestUnwritableStateDeclines(t *testing.T) {
	run(t, script{}, func(b *bench) {
		req := deployments(0)
		b.deploy(req)
		b.news()
		b.fs.Hook(func(o filesystem.Operation) error {
			if strings.Contains(o.Path, sinkID.String()) {
				return errors.New("disk full")
			}
			return nil
		})
		b.trigger(1, req)
		got := strings.Join(b.news(), "\n")
		if !strings.Contains(got, "sink-0/0 declined 1") || !strings.Contains(got, "disk full") || strings.Contains(got, "FAILED") {
			t.Errorf("events:\n%s\nwant the sinks to decline and to live on", got)
		}
		b.fs.Hook(nil)
		b.trigger(2, req)
		if got := b.news(); len(got) != 4 {
			t.Errorf("events %q, want four acknowledgements of 2", got)
		}
	})
}

func TestFailedSnapshotFailsTheTask(t *testing.T) {
	s := script{snapshot: func(c *fakeChain, n int64) error {
		if c.task.Vertex.ID == sinkID {
			return errors.New("cannot prepare")
		}
		return nil
	}}
	run(t, s, func(b *bench) {
		req := deployments(0)
		b.deploy(req)
		b.news()
		b.trigger(1, req)
		got := strings.Join(b.news(), "\n")
		if !strings.Contains(got, "sink-0/0 FAILED: Sink (1/2): snapshot for checkpoint 1: cannot prepare") {
			t.Errorf("events:\n%s", got)
		}
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
			return Polled{}, read.Err()
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

func recordsIn(b *bench, v id.Vertex) (n int64) {
	metrics, err := b.Metrics(b.ctx)
	b.must(err)
	for _, a := range metrics.Attempts {
		if a.Attempt.Vertex == v && a.Attempt.Subtask == 0 {
			n = a.Metrics.RecordsIn
		}
	}
	return n
}


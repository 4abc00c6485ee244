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
	return Polled{Dry: true}, ctx.Err()
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

func (c *fakeChain) Discard(_ context.Context, completed int64) error {
	c.program.say("%s discarded above %d", c, completed)
	return nil
}

func (c *fakeChain) CleanUp(_ context.Context, t *Task) error {
	c.task = t
	c.program.say("%s/%d cleaned up behind %d, closed", c, t.Attempt.Attempt, t.Restore.Checkpoint)
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

package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/checkpoint"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/worker"
)

// faults fails a job again and again: each time when another checkpoint has become visible.
type faults struct {
	left   atomic.Int32
	commit atomic.Int64 // that the next failure waits for
	now    func() int64
}

func newFaults(n int, commits func() int64) *faults {
	f := &faults{now: commits}
	f.left.Store(int32(n))
	f.commit.Store(1)
	return f
}

// maybe panics when it is time.
func (f *faults) maybe() {
	want := f.commit.Load()
	if f.left.Load() > 0 && f.now() >= want && f.commit.CompareAndSwap(want, f.now()+1) && f.left.Add(-1) >= 0 {
		panic(errInjected)
	}
}

// hesitant is a source that goes slowly as long as there are faults to come: a slow machine needs records for them, too.
type hesitant struct {
	Source[int64]
	faults *faults
}

func (s hesitant) Open(ctx context.Context, task Subtask, splits []Split) (Reader[int64], error) {
	r, err := s.Source.Open(ctx, task, splits)
	return &hesitantReader{r, s.faults}, err
}

type hesitantReader struct {
	Reader[int64]
	faults *faults
}

func (r *hesitantReader) Read(ctx context.Context, records []int64) (int, error) {
	if r.faults.left.Load() > 0 {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		records = records[:1]
	}
	return r.Reader.Read(ctx, records)
}

// faultyJob numbers the records of each key: 1, 2, 3, ... Each record may meet a fault.
func faultyJob(env *Env, n int64, rate float64, f *faults) *Stream[KeyValue[int64, int64]] {
	fast := From(env, "fast", Generate(n/2, 3*rate, func(i int64) int64 { return i }))
	slow := From(env, "slow", hesitant{Generate(n/2, rate, func(i int64) int64 { return i }), f}, Parallelism(1))
	both := Map(Union(fast, slow), func(i int64) int64 { f.maybe(); return i }, Parallelism(3))
	return Count(KeyBy(both, func(i int64) int64 { return i % 100 }))
}

// checkNumbered checks that the records of each of 100 keys are numbered from 1, without gap or double.
func checkNumbered(t *testing.T, got []KeyValue[int64, int64], n int64) {
	t.Helper()
	if int64(len(got)) != n {
		t.Errorf("%d records, want %d", len(got), n)
	}
	slices.SortFunc(got, func(a, b KeyValue[int64, int64]) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Value, b.Value))
	})
	for i, kv := range got {
		if want := int64(i)%(n/100) + 1; kv.Value != want {
			t.Fatalf("record %d of key %d has number %d", want, kv.Key, kv.Value)
		}
	}
}

// TestExactlyOnce fails a job several times, with checkpoints in all stages, and with a slow input that
// makes the barriers of the fast one wait.
func TestExactlyOnce(t *testing.T) {
	const n, failures = 20_000, 4
	var c collected[KeyValue[int64, int64]]
	f := newFaults(failures, func() int64 { _, commits := c.count(); return int64(commits) })
	env := New(WithParallelism(2), WithCheckpoints(5*time.Millisecond), WithBufferTimeout(time.Millisecond),
		WithRestart(FixedDelay(failures, 0)))
	To(faultyJob(env, n, 20_000, f), "collect", c.sink(t))
	p, err := env.plan("exactly once")
	if err != nil {
		t.Fatal(err)
	}
	o, err := runLocal(t.Context(), p, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if o.restarts < 2 || o.restored == 0 || o.checkpoints < 3 {
		t.Errorf("%d restarts, %d checkpoints, the last start from %d: not what this test is about", o.restarts, o.checkpoints, o.restored)
	}
	checkNumbered(t, c.committed, n)
}

func TestWithoutCheckpointsAFailureStartsFromNothing(t *testing.T) {
	var failed atomic.Bool
	got, err := collect(t, func(env *Env) *Stream[int64] {
		return Map(numbers(env, 1000), func(i int64) int64 {
			if i == 900 && !failed.Swap(true) {
				panic(errInjected)
			}
			return i
		})
	}, WithRestart(FixedDelay(1, 0)))
	if err != nil || len(got) != 1000 || sum(got) != 999*500 {
		t.Errorf("%d records with sum %d, %v", len(got), sum(got), err)
	}
}

func TestRestartsRunOut(t *testing.T) {
	var failures atomic.Int32
	_, err := collect(t, func(env *Env) *Stream[int64] {
		return Map(numbers(env, 10, Parallelism(1)), func(i int64) int64 { failures.Add(1); panic(errInjected) })
	}, WithRestart(FixedDelay(2, time.Millisecond)))
	if err == nil || failures.Load() < 3 {
		t.Errorf("%v after %d failures, want an error after three", err, failures.Load())
	}
}

// failOnce is a sink that fails in its last commit, once: the job has drained by then, and final values
// must not be emitted again.
type failOnce[T any] struct {
	collectSink[T]
	failed *atomic.Bool
}

func (s failOnce[T]) Open(ctx context.Context, task Subtask, restored []Prepared) (Writer[T], error) {
	w, err := s.collectSink.Open(ctx, task, restored)
	return &failingWriter[T]{w.(*collectWriter[T]), s.failed}, err
}

type failingWriter[T any] struct {
	*collectWriter[T]
	failed *atomic.Bool
}

func (w *failingWriter[T]) Commit(ctx context.Context, n int64) error {
	if n == FinalCheckpoint && !w.failed.Swap(true) {
		return errInjected
	}
	return w.collectWriter.Commit(ctx, n)
}

func TestFailureAfterTheEndOfTheInput(t *testing.T) {
	var c collected[KeyValue[int64, int64]]
	env := New(WithParallelism(2), WithCheckpoints(time.Hour), WithRestart(FixedDelay(1, 0)))
	counts := Count(KeyBy(numbers(env, 1000), func(i int64) int64 { return i % 100 }), FinalOnly())
	To(counts, "collect", failOnce[KeyValue[int64, int64]]{c.sink(t).(collectSink[KeyValue[int64, int64]]), new(atomic.Bool)})
	p, err := env.plan("drained")
	if err != nil {
		t.Fatal(err)
	}
	o, err := runLocal(t.Context(), p, zap.NewNop())
	if err != nil || o.restarts != 1 || o.restored == 0 {
		t.Fatalf("%+v, %v: want one restart from the last checkpoint", o, err)
	}
	if len(c.committed) != 100 {
		t.Errorf("%d final values, want one for each of 100 keys", len(c.committed))
	}
}

// TestRescale takes a checkpoint of a job at one parallelism and goes on at another, on several workers.
func TestRescale(t *testing.T) {
	for _, to := range []int{1, 2, 3, 5} {
		t.Run(fmt.Sprintf("2 to %d", to), func(t *testing.T) {
			const n = 20_000
			var c collected[KeyValue[int64, int64]]
			sink := c.sink(t)
			fs := filesystem.NewMemory()
			hold := make(chan bool)
			first := planOf(t, 2, func(env *Env) { heldJob(env, n, hold, sink) })
			a := newCluster(t, 2, first, fs)
			a.deploy(0, nil)
			a.awaitRunning()
			saved := a.checkpoint(1)
			a.cancel()
			close(hold)
			second := planOf(t, to, func(env *Env) { heldJob(env, n, hold, sink) })
			b := newCluster(t, 2, second, fs)
			b.deploy(1, saved)
			b.awaitDrained()
			b.checkpoint(2)
			b.finish()
			checkNumbered(t, c.committed, n)
		})
	}
}

// heldJob counts by key; behind the middle of the input its source waits for hold.
func heldJob(env *Env, n int64, hold chan bool, sink Sink[KeyValue[int64, int64]]) {
	s := From(env, "held", heldSource{Generate(n, 0, func(i int64) int64 { return i }), n / 4, hold})
	To(Count(KeyBy(s, func(i int64) int64 { return i % 100 })), "collect", sink)
}

// heldSource lets each reader read some records and then wait for hold to be closed.
type heldSource struct {
	Source[int64]
	first int64
	hold  chan bool
}

func (s heldSource) Open(ctx context.Context, task Subtask, splits []Split) (Reader[int64], error) {
	r, err := s.Source.Open(ctx, task, splits)
	return &heldReader{r, s.first, s.hold}, err
}

type heldReader struct {
	Reader[int64]
	left int64
	hold chan bool
}

func (r *heldReader) Read(ctx context.Context, records []int64) (int, error) {
	if r.left <= 0 {
		select {
		case <-r.hold:
			return r.Reader.Read(ctx, records)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	n, err := r.Reader.Read(ctx, records[:min(int64(len(records)), r.left)])
	r.left -= int64(n)
	return n, err
}

func planOf(t testing.TB, parallelism int, program func(env *Env)) *plan {
	t.Helper()
	env := New(WithParallelism(parallelism), WithCheckpoints(time.Hour))
	program(env)
	p, err := env.plan("test")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestStateOfAnotherTypeIsRefused: the program has changed in a way that its state does not survive.
func TestStateOfAnotherTypeIsRefused(t *testing.T) {
	fs := filesystem.NewMemory()
	hold := make(chan bool)
	defer close(hold)
	before := planOf(t, 1, func(env *Env) {
		s := From(env, "s", heldSource{Generate(10, 0, func(i int64) int64 { return i }), 5, hold})
		Discard(Process(KeyBy(s, func(i int64) int64 { return i }), "p", func(_, _ int64, n *int64, _ *Out[int64]) { *n++ }))
	})
	a := newCluster(t, 1, before, fs)
	a.deploy(0, nil)
	a.awaitRunning()
	var saved *checkpoint.Completed
	for n := int64(1); saved == nil || saved.Vertices[1].Operators[0].Keyed == nil; n++ {
		saved = a.checkpoint(n) // until the first records have come
	}
	a.cancel()
	after := planOf(t, 1, func(env *Env) {
		s := From(env, "s", heldSource{Generate(10, 0, func(i int64) int64 { return i }), 5, hold})
		Discard(Process(KeyBy(s, func(i int64) int64 { return i }), "p", func(_, _ int64, n *string, _ *Out[int64]) {}))
	})
	b := newCluster(t, 1, after, fs)
	b.deploy(1, saved)
	for {
		e := <-b.events
		if e.State != nil && e.State.Failure != nil && !e.State.Failure.Consequence { // its producer may be heard first
			if !strings.Contains(e.State.Failure.Message, "string") {
				t.Errorf("failure %q does not say what differs", e.State.Failure.Message)
			}
			return
		}
	}
}

// TestCleanUp: a job has ended after a process was killed. What its sinks had prepared for the latest checkpoint
// appears; nothing else of the chain is opened.
func TestCleanUp(t *testing.T) {
	var c collected[int64]
	sink := c.sink(t)
	p := planOf(t, 1, func(env *Env) {
		To(From(env, "unopened", Source[int64](unopenedSource{t})), "collect", sink)
	})
	w, err := sink.Open(t.Context(), Subtask{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(t.Context(), []int64{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	prepared, err := w.(TwoPhaseWriter[int64]).PreCommit(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	v := &p.graph.Vertices[0]
	chain, err := p.NewChain(v.ID)
	if err != nil {
		t.Fatal(err)
	}
	err = chain.CleanUp(t.Context(), &worker.Task{Graph: p.graph, Vertex: v, Log: zap.NewNop(), Restore: &protocol.RestoredState{
		Checkpoint: 7, Operators: []protocol.OperatorState{{UID: v.Operators[1].UID, Raw: prepared}},
	}})
	if err != nil || !slices.Equal(c.committed, []int64{1, 2, 3}) {
		t.Errorf("CleanUp = %v, committed %d, want what was prepared", err, c.committed)
	}
}

// unopenedSource must not be touched.
type unopenedSource struct{ t *testing.T }

func (s unopenedSource) Splits(context.Context, int) ([]Split, error) {
	s.t.Error("the source was asked for splits")
	return nil, nil
}

func (s unopenedSource) Open(context.Context, Subtask, []Split) (Reader[int64], error) {
	s.t.Error("the source was opened")
	return nil, errInjected
}

// TestACanceledRequestOfUserCodeFailsItsTask: its error looks like that of a source that is interrupted for a
// checkpoint. Taken for one, the checkpoint would be behind records that were not processed.
func TestACanceledRequestOfUserCodeFailsItsTask(t *testing.T) {
	ctx := t.Context()
	p := planOf(t, 1, func(env *Env) {
		Discard(FlatMap(numbers(env, 10), func(_ int64, out *Out[int64]) { out.Fail(context.Canceled) }))
	})
	v := &p.graph.Vertices[0]
	chain, err := p.NewChain(v.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := chain.Open(ctx, &worker.Task{Graph: p.graph, Vertex: v, Log: zap.NewNop()}); err != nil {
		t.Fatal(err)
	}
	defer chain.Close()
	read, cancel := context.WithCancel(ctx)
	cancel() // a checkpoint has been triggered while the records were read
	if polled, err := chain.Poll(ctx, read); !errors.Is(err, context.Canceled) {
		t.Errorf("Poll = %+v, %v, want the error of user code", polled, err)
	}
}

// TestTheCauseOfAFailureIsTold: a task that lost its peer may be heard before the peer.
func TestTheCauseOfAFailureIsTold(t *testing.T) {
	p := planOf(t, 1, func(env *Env) { Discard(Rebalance(numbers(env, 1))) })
	job := &localJob{
		coordinator: checkpoint.NewCoordinator(checkpoint.Config{}), executions: map[id.ExecutionAttempt]*protocol.Execution{},
		outcome: outcome{metrics: map[id.ExecutionAttempt]protocol.TaskMetrics{}},
	}
	for i, f := range []protocol.Failure{
		{Message: "consumer has ended", Consequence: true}, {Message: "panic: user code"}, {Message: "producer has ended", Consequence: true},
	} {
		a := id.ExecutionAttempt{Vertex: p.graph.Vertices[0].ID, Subtask: i}
		job.executions[a] = &protocol.Execution{Attempt: a}
		job.event(protocol.WorkerEvent{State: &protocol.Execution{Attempt: a, State: protocol.Failed, Failure: &f}})
	}
	if got := job.failure.Message; got != "panic: user code" {
		t.Errorf("the job failed with %q, want the cause", got)
	}
}

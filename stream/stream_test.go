package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/worker"
)

func TestOperators(t *testing.T) {
	const n = 10_000
	double := func(i int64) int64 { return 2 * i }
	even := func(i int64) bool { return i%2 == 0 }
	for _, tc := range []struct {
		name    string
		program func(env *Env) *Stream[int64]
		count   int
		sum     int64
	}{
		{"source alone", func(env *Env) *Stream[int64] { return numbers(env, n) }, n, n * (n - 1) / 2},
		{"map", func(env *Env) *Stream[int64] { return Map(numbers(env, n), double) }, n, n * (n - 1)},
		{"filter", func(env *Env) *Stream[int64] { return Filter(numbers(env, n), even) }, n / 2, n * (n - 2) / 4},
		{"filter drops all", func(env *Env) *Stream[int64] {
			return Filter(numbers(env, n), func(int64) bool { return false })
		}, 0, 0},
		{"flat map to many", func(env *Env) *Stream[int64] {
			return FlatMap(numbers(env, 10), func(i int64, out *Out[int64]) {
				for range 5000 {
					out.Emit(i)
				}
			})
		}, 50_000, 5000 * 45},
		{"flat map to none", func(env *Env) *Stream[int64] {
			return FlatMap(numbers(env, n), func(int64, *Out[int64]) {})
		}, 0, 0},
		{"rebalance to more subtasks", func(env *Env) *Stream[int64] {
			return Map(Rebalance(numbers(env, n, Parallelism(1))), double, Parallelism(5))
		}, n, n * (n - 1)},
		{"other parallelism without being told how", func(env *Env) *Stream[int64] {
			return Map(numbers(env, n, Parallelism(3)), double, Parallelism(2))
		}, n, n * (n - 1)},
		{"broadcast", func(env *Env) *Stream[int64] {
			return Map(Broadcast(numbers(env, n)), double, Parallelism(3))
		}, 3 * n, 3 * n * (n - 1)},
		{"union", func(env *Env) *Stream[int64] {
			return Union(numbers(env, n), Map(numbers(env, n), double), numbers(env, n, Parallelism(1)))
		}, 3 * n, 2 * n * (n - 1)},
		{"union with itself", func(env *Env) *Stream[int64] {
			s := numbers(env, n)
			return Map(Union(s, s), double)
		}, 2 * n, 2 * n * (n - 1)},
		{"union with itself, rebalanced and keyed", func(env *Env) *Stream[int64] {
			s := numbers(env, n)
			u := Union(Rebalance(s), s, Map(s, double))
			k := KeyBy(u, func(i int64) int64 { return i % 100 })
			return Process(k, "same", func(_ int64, i int64, _ *struct{}, out *Out[int64]) { out.Emit(i) })
		}, 3 * n, 2 * n * (n - 1)},
		{"used twice", func(env *Env) *Stream[int64] {
			s := Map(numbers(env, n), double)
			return Union(Filter(s, even), Map(s, double))
		}, 2 * n, 3 * n * (n - 1)},
		{"many operators without a batch to share", func(env *Env) *Stream[int64] {
			s := numbers(env, n)
			for range 20 {
				s = Filter(Map(s, func(i int64) int64 { return i + 1 }), func(int64) bool { return true })
			}
			return s
		}, n, n*(n-1)/2 + 20*n},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := collect(t, tc.program)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != tc.count || sum(got) != tc.sum {
				t.Errorf("%d records with sum %d, want %d with %d", len(got), sum(got), tc.count, tc.sum)
			}
		})
	}
}

type order struct {
	Customer string
	Amount   int
}

func orders(env *Env, n int64) *Keyed[string, order] {
	s := From(env, "orders", Generate(n, 0, func(i int64) order {
		return order{Customer: fmt.Sprint("customer ", i%97), Amount: int(i % 10)}
	}))
	return KeyBy(s, func(o order) string { return o.Customer })
}

func TestKeyedOperators(t *testing.T) {
	const n = 9700
	want := map[string]int{} // by customer
	for i := range n {
		want[fmt.Sprint("customer ", i%97)] += i % 10
	}
	last := func(program func(env *Env) *Stream[KeyValue[string, int]]) (map[string]int, int) {
		t.Helper()
		got, err := collect(t, program)
		if err != nil {
			t.Fatal(err)
		}
		highest := map[string]int{}
		for _, kv := range got {
			highest[kv.Key] = max(highest[kv.Key], kv.Value)
		}
		return highest, len(got)
	}
	amount := func(o order) int { return o.Amount }
	toKV := func(o order) KeyValue[string, int] { return KeyValue[string, int]{o.Customer, o.Amount} }
	add := func(a, b order) order { return order{a.Customer, a.Amount + b.Amount} }
	process := func(_ string, o order, sum *int, out *Out[KeyValue[string, int]]) {
		*sum += o.Amount
		out.Emit(KeyValue[string, int]{o.Customer, *sum})
	}
	silent := func(_ string, o order, sum *int, _ *Out[KeyValue[string, int]]) { *sum += o.Amount }
	atEnd := func(key string, sum *int, out *Out[KeyValue[string, int]]) {
		out.Emit(KeyValue[string, int]{key, *sum})
	}
	for _, tc := range []struct {
		name    string
		program func(env *Env) *Stream[KeyValue[string, int]]
		count   int
	}{
		{"sum", func(env *Env) *Stream[KeyValue[string, int]] { return Sum(orders(env, n), amount) }, n},
		{"sum at the end", func(env *Env) *Stream[KeyValue[string, int]] { return Sum(orders(env, n), amount, FinalOnly()) }, 97},
		{"reduce", func(env *Env) *Stream[KeyValue[string, int]] { return Map(Reduce(orders(env, n), add), toKV) }, n},
		{"reduce at the end", func(env *Env) *Stream[KeyValue[string, int]] {
			return Map(Reduce(orders(env, n), add, FinalOnly()), toKV)
		}, 97},
		{"process", func(env *Env) *Stream[KeyValue[string, int]] { return Process(orders(env, n), "p", process) }, n},
		{"process at the end", func(env *Env) *Stream[KeyValue[string, int]] {
			return ProcessFinish(orders(env, n), "p", silent, atEnd)
		}, 97},
	} {
		if got, count := last(tc.program); !maps.Equal(got, want) || count != tc.count {
			t.Errorf("%s: %d records, want %d; equal: %v", tc.name, count, tc.count, maps.Equal(got, want))
		}
	}
	counts, err := collect(t, func(env *Env) *Stream[KeyValue[string, int64]] { return Count(orders(env, n), FinalOnly()) })
	if err != nil || len(counts) != 97 || counts[0].Value != 100 {
		t.Errorf("count: %d keys, %v", len(counts), err)
	}
}

func TestKeyedRecordsKeepTheirOrder(t *testing.T) {
	type step struct{ Key, Last int64 }
	got, err := collect(t, func(env *Env) *Stream[step] {
		s := numbers(env, 100_000, Parallelism(1))
		k := KeyBy(s, func(i int64) int64 { return i % 1000 })
		return Process(k, "in order", func(key, i int64, last *int64, out *Out[step]) {
			if i < *last {
				out.Emit(step{key, i})
			}
			*last = i
		}, Parallelism(4))
	})
	if err != nil || len(got) > 0 {
		t.Errorf("%d records came too late, %v", len(got), err)
	}
}

func TestMistakesAreReported(t *testing.T) {
	same := func(i int64) int64 { return i }
	for _, tc := range []struct {
		name    string
		program func(env *Env)
		opts    []JobOption
		want    []string
	}{
		{"empty", func(*Env) {}, nil, []string{"the job has no operators"}},
		{"no codec for records", func(env *Env) {
			s := Map(numbers(env, 1), func(int64) func() { return nil })
			Discard(Rebalance(s))
		}, nil, []string{"records cannot be sent from Map to Sink: Discard", "func()"}},
		{"no codec for keys", func(env *Env) {
			Discard(Count(KeyBy(numbers(env, 1), func(int64) any { return 1 })))
		}, nil, []string{"Count: the key cannot be encoded"}},
		{"no codec for state", func(env *Env) {
			k := KeyBy(numbers(env, 1), same)
			Discard(Process(k, "keep", func(int64, int64, *chan int, *Out[int64]) {}))
		}, nil, []string{"keep: the state cannot be encoded", "chan int"}},
		{"same UID", func(env *Env) { Discard(Map(Map(numbers(env, 1), same, UID("x")), same, UID("x"))) }, nil,
			[]string{`Map and Map have the same UID "x"`}},
		{"parallelism", func(env *Env) { Discard(Map(numbers(env, 1), same, Parallelism(-1)), Parallelism(129)) }, nil,
			[]string{"Map has parallelism -1", "Sink: Discard has parallelism 129, more than the max parallelism 128"}},
		{"settings", func(env *Env) { Discard(numbers(env, 1)) },
			[]JobOption{WithParallelism(0), WithMaxParallelism(1 << 16), WithCheckpoints(-1), WithRetainedCheckpoints(0),
				WithRestart(FixedDelay(-1, 0)), WithRestart(ExponentialDelay(2, 1))},
			[]string{"default parallelism is 0", "max parallelism is 65536", "checkpoint interval -1ns", "0 retained", "exponential-delay"}},
		{"zero parallelism of an operator", func(env *Env) { Discard(numbers(env, 1, Parallelism(0))) }, nil,
			[]string{"Source: numbers has parallelism 0, it must be at least 1"}},
		{"records that hold nothing", func(env *Env) {
			Discard(Rebalance(Map(numbers(env, 1), func(int64) struct{} { return struct{}{} })))
		}, nil, []string{"records cannot be sent from Map to Sink: Discard: a struct {} holds nothing"}},
		{"no codec for the state of an operator without a name", func(env *Env) {
			s := Map(numbers(env, 1), func(int64) func() { return nil })
			Discard(Reduce(KeyBy(s, func(func()) int { return 1 }), func(a, _ func()) func() { return a }))
		}, nil, []string{"Reduce: the state cannot be encoded"}},
		{"no source", func(env *Env) { Discard(From[int64](env, "none", nil)) }, nil, []string{"Source: none is nil"}},
		{"no sink", func(env *Env) { To(numbers(env, 1), "none", nil) }, nil, []string{"Sink: none is nil"}},
		{"generator", func(env *Env) {
			f := func(i int64) int64 { return i }
			Discard(Union(From(env, "a", Generate(-1, 0, f)), From(env, "b", Generate(1, math.Inf(1), f)), From(env, "c", Generate(1, math.NaN(), f)), From(env, "d", Generate(1, -1, f))))
		}, nil, []string{"Source: a: generate -1", "Source: d: generate 1 records at -1", "Source: b: generate 1 records at +Inf", "Source: c: generate 1 records at NaN"}},
		{"directory of checkpoints", func(env *Env) { Discard(numbers(env, 1)) },
			[]JobOption{WithCheckpointDir("checkpoints"), WithTolerableCheckpointFailures(-1)},
			[]string{"directory for checkpoints: filesystem: checkpoints: want an absolute path", "-1 tolerable checkpoint failures"}},
		{"foreign stream", func(env *Env) { Discard(Union(numbers(env, 1), numbers(New(), 1))) }, nil,
			[]string{"union of streams of different jobs"}},
	} {
		env := New(tc.opts...)
		tc.program(env)
		err := env.Execute(t.Context(), "wrong")
		for _, want := range tc.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: Execute = %v, want %q in it", tc.name, err, want)
			}
		}
	}
}

func wordJob(opts ...JobOption) *Env {
	env := New(append([]JobOption{WithParallelism(2)}, opts...)...)
	words := From(env, "lines", Generate(10, 0, func(int64) string { return "a b" }))
	pairs := FlatMap(words, func(s string, out *Out[string]) { out.Emit(s) })
	counts := Count(KeyBy(pairs, func(s string) string { return s }), UID("counts"))
	Print(counts, Parallelism(1))
	Discard(Filter(counts, func(KeyValue[string, int64]) bool { return true }))
	return env
}

// TestDefaultsOfTheEnvironment: what the configuration says reaches programs that say nothing.
func TestDefaultsOfTheEnvironment(t *testing.T) {
	t.Setenv(worker.EnvParallelism, "3")
	t.Setenv(worker.EnvMaxParallelism, "64")
	t.Setenv(worker.EnvBufferTimeout, "-1ms")
	if e := New(); e.err() != nil || e.parallelism != 3 || e.maxParallelism != 64 || e.bufferTimeout >= 0 {
		t.Errorf("parallelism %d of %d, buffer timeout %s, %v", e.parallelism, e.maxParallelism, e.bufferTimeout, e.err())
	}
	e := New(WithParallelism(5), WithMaxParallelism(32), WithBufferTimeout(time.Second))
	if e.err() != nil || e.parallelism != 5 || e.maxParallelism != 32 || e.bufferTimeout != time.Second {
		t.Errorf("the program's own settings lost: %+v", e)
	}
	t.Setenv(worker.EnvMaxParallelism, "many")
	t.Setenv(worker.EnvBufferTimeout, "long")
	if err := New().err(); err == nil || !strings.Contains(err.Error(), "many") || !strings.Contains(err.Error(), "long") {
		t.Errorf("wrong values: %v", err)
	}
}

func TestJobGraph(t *testing.T) {
	first, err := wordJob(WithCheckpoints(time.Second), WithRestart(FixedDelay(3, time.Second))).plan("words")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range first.graph.Vertices {
		got = append(got, fmt.Sprintf("%s x%d source=%v", v.Name, v.Parallelism, v.Source))
	}
	for _, e := range first.graph.Edges {
		got = append(got, fmt.Sprintf("%s =%s=> %s #%d", first.graph.Vertex(e.From).Name, e.Partition, first.graph.Vertex(e.To).Name, e.Input))
	}
	want := []string{
		"Source: lines -> FlatMap x2 source=true",
		"Count -> Filter -> Sink: Discard x2 source=false",
		"Sink: Print to Std. Out x1 source=false",
		"Source: lines -> FlatMap =HASH=> Count -> Filter -> Sink: Discard #0",
		"Count -> Filter -> Sink: Discard =REBALANCE=> Sink: Print to Std. Out #0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if g := first.graph; g.Restart.Attempts != 3 || g.Checkpointing.Interval != time.Second || g.MaxParallelism != 128 || g.Slots() != 2 {
		t.Errorf("settings are lost: %+v", g)
	}
	second, err := wordJob().plan("words again")
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range first.graph.Vertices {
		if second.graph.Vertices[i].ID != v.ID {
			t.Errorf("vertex %s has another ID in the second run", v.Name)
		}
		if !slices.Equal(second.graph.Vertices[i].Operators, v.Operators) {
			t.Errorf("operators %v, then %v", v.Operators, second.graph.Vertices[i].Operators)
		}
	}
}

func TestFailureEndsTheJob(t *testing.T) {
	for _, tc := range []struct {
		name string
		f    func(i int64, out *Out[int64])
		want []string
	}{
		{"panic", func(i int64, out *Out[int64]) { out.Emit(1 / i) },
			[]string{`job "test" failed`, "panic: runtime error: integer divide by zero", "TestFailureEndsTheJob"}},
		{"end of the goroutine", func(int64, *Out[int64]) { runtime.Goexit() }, []string{"FlatMap", "runtime.Goexit"}},
		{"error", func(i int64, out *Out[int64]) { out.Fail(errInjected) }, []string{"FlatMap", "(1/2): injected"}},
	} {
		_, err := collect(t, func(env *Env) *Stream[int64] { return FlatMap(numbers(env, 1), tc.f) })
		for _, want := range tc.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", tc.name, err, want)
			}
		}
	}
}

func TestCancelEndsAnUnboundedJob(t *testing.T) {
	env := New(WithParallelism(2), WithLogger(zap.NewNop()))
	seen := make(chan bool, 1)
	counts := Count(KeyBy(numbers(env, 0), func(i int64) int64 { return i % 10 }))
	To(counts, "seen", ForEach(func(KeyValue[int64, int64]) {
		select {
		case seen <- true:
		default:
		}
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-seen
		cancel()
	}()
	if err := env.Execute(ctx, "endless"); !errors.Is(err, ErrCanceled) {
		t.Errorf("Execute = %v, want ErrCanceled", err)
	}
}

// TestKeysThatEqualNothing: a NaN would get new state with each record, and slow each search down.
func TestKeysThatEqualNothing(t *testing.T) {
	_, err := collect(t, func(env *Env) *Stream[KeyValue[float64, int64]] {
		return Count(KeyBy(numbers(env, 10), func(i int64) float64 {
			if i == 9 {
				return math.NaN()
			}
			return math.Copysign(0, float64(i%2-1))
		}))
	})
	if err == nil || !strings.Contains(err.Error(), "NaN cannot be a key") {
		t.Errorf("Execute = %v", err)
	}
}

// wholeLines fails if something is written that does not end with a line.
type wholeLines struct{ t *testing.T }

func (w wholeLines) Write(p []byte) (int, error) {
	if !bytes.HasSuffix(p, []byte("\n")) {
		w.t.Errorf("%d bytes were written that end in the middle of a line", len(p))
	}
	return len(p), nil
}

// TestPrintedLinesDoNotMix: another subtask may print between two writes.
func TestPrintedLinesDoNotMix(t *testing.T) {
	w, err := printer[string]{wholeLines{t}}.Open(t.Context(), Subtask{Parallelism: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(t.Context(), slices.Repeat([]string{strings.Repeat("x", 1000)}, 10)); err != nil {
		t.Fatal(err)
	}
}

func TestPrint(t *testing.T) {
	for parallelism, want := range map[int]string{1: "{a 1}\n{b 2}\n", 3: "2> {a 1}\n2> {b 2}\n"} {
		var out bytes.Buffer
		w, err := printer[KeyValue[string, int]]{&out}.Open(t.Context(), Subtask{Index: 1, Parallelism: parallelism}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(t.Context(), []KeyValue[string, int]{{"a", 1}, {"b", 2}}); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("parallelism %d: %q, want %q", parallelism, out.String(), want)
		}
	}
}

package stream

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// runHere plans and runs a job; inside a synctest bubble its time is the bubble's.
func runHere(t *testing.T, env *Env) outcome {
	t.Helper()
	p, err := env.plan("test")
	if err != nil {
		t.Fatal(err)
	}
	o, err := runLocal(t.Context(), p, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestGeneratorKeepsItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		env := New(WithParallelism(1))
		To(From(env, "s", Generate(20, 10, func(i int64) int64 { return i })), "at",
			ForEach(func(int64) { at = append(at, time.Since(start)) }))
		runHere(t, env)
		for i, got := range at {
			if want := time.Duration(i) * 100 * time.Millisecond; got < want || got > want+time.Millisecond {
				t.Errorf("record %d came after %s, want %s", i, got, want)
			}
		}
	})
}

func TestRateIsThatOfAllSubtasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		env := New(WithParallelism(4))
		Discard(From(env, "s", Generate(4000, 1000, func(i int64) int64 { return i })))
		runHere(t, env)
		if took := time.Since(start); took < 3900*time.Millisecond || took > 4100*time.Millisecond {
			t.Errorf("4000 records at 1000 per second took %s", took)
		}
	})
}

// TestGapAndCatchUp holds a paced source up for three seconds: the gap is reported, and what was due
// meanwhile comes at once.
func TestGapAndCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		env := New(WithParallelism(1))
		To(From(env, "s", Generate(100, 10, func(i int64) int64 { return i })), "slow", ForEach(func(i int64) {
			if i == 20 {
				<-time.After(3 * time.Second)
			}
		}))
		o := runHere(t, env)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("took %s, want less than 10 s: the source catches up", took)
		}
		for _, m := range o.metrics {
			if m.MaxGapMillis < 2900 || m.MaxGapMillis > 3000 {
				t.Errorf("longest gap is %d ms, want 3 s less a pace of 100 ms", m.MaxGapMillis)
			}
		}
	})
}

func TestNoGapAtThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := New(WithParallelism(2))
		Discard(Rebalance(From(env, "s", Generate(100, 10, func(i int64) int64 { return i }))))
		for _, m := range runHere(t, env).metrics {
			if m.MaxGapMillis > 1 {
				t.Errorf("a source that keeps its pace reports a gap of %d ms", m.MaxGapMillis)
			}
		}
	})
}

// burstSource returns exactly as many records as it is asked for, so that the runtime cannot know that
// there will be none for the next ten seconds.
type burstSource struct{}

func (burstSource) Splits(context.Context, int) ([]Split, error) { return []Split{{ID: "a"}}, nil }
func (burstSource) Open(context.Context, Subtask, []Split) (Reader[int64], error) {
	return &burstReader{}, nil
}

type burstReader struct{ reads int }

func (r *burstReader) Read(ctx context.Context, records []int64) (int, error) {
	r.reads++
	if r.reads == 1 {
		return len(records), nil
	}
	select {
	case <-time.After(10 * time.Second):
		return 0, io.EOF
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
func (r *burstReader) Snapshot() ([]Split, error) { return nil, nil }
func (r *burstReader) Close() error               { return nil }

func TestBufferTimeout(t *testing.T) {
	for _, tc := range []struct {
		timeout, want time.Duration
	}{
		{100 * time.Millisecond, 100 * time.Millisecond},
		{time.Second, time.Second},
		{0, 0},
		{-1, 10 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			var first time.Duration = -1
			env := New(WithParallelism(1), WithBufferTimeout(tc.timeout))
			To(Rebalance(From(env, "s", burstSource{})), "at", ForEach(func(int64) {
				if first < 0 {
					first = time.Since(start)
				}
			}))
			runHere(t, env)
			// Each interruption of the source starts its wait again, so the end may come later than 10 s.
			if first < tc.want || tc.timeout >= 0 && first > tc.want+time.Millisecond {
				t.Errorf("buffer timeout %s: the first record came after %s, want %s", tc.timeout, first, tc.want)
			}
		})
	}
}

// TestBackPressure: a sink that does not take records stops the source, which otherwise has no end.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var made atomic.Int64
		env := New(WithParallelism(1))
		s := From(env, "s", Generate(0, 0, func(i int64) int64 { made.Add(1); return i }))
		To(Rebalance(s), "stuck", stuckSink{})
		p, err := env.plan("stuck")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := runLocal(ctx, p, zap.NewNop())
			ended <- err
		}()
		synctest.Wait() // until everything waits for something
		before := made.Load()
		<-time.After(time.Hour)
		synctest.Wait()
		if after := made.Load(); after != before || before == 0 {
			t.Errorf("%d records while the sink was stuck, %d an hour later", before, after)
		}
		cancel()
		if err := <-ended; !errors.Is(err, ErrCanceled) {
			t.Errorf("runLocal = %v, want ErrCanceled", err)
		}
	})
}

// TestASlowFunctionDoesNotHoldUpTheEnd: a batch has hundreds of records.
func TestASlowFunctionDoesNotHoldUpTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		calls := 0
		w, err := ForEach(func(int64) {
			<-time.After(time.Second)
			if calls++; calls == 3 {
				cancel()
			}
		}).Open(ctx, Subtask{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(ctx, make([]int64, 512)); !errors.Is(err, context.Canceled) || calls != 3 {
			t.Errorf("Write = %v after %d calls, want the end after 3", err, calls)
		}
	})
}

// stuckSink waits in Write until the task is cancelled.
type stuckSink struct{}

func (stuckSink) Open(context.Context, Subtask, []Prepared) (Writer[int64], error) {
	return stuckSink{}, nil
}
func (stuckSink) Write(ctx context.Context, _ []int64) error { <-ctx.Done(); return ctx.Err() }
func (stuckSink) Close() error                               { return nil }

func TestCheckpointsComeInTheirInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c collected[int64]
		env := New(WithParallelism(2), WithCheckpoints(time.Second), WithCheckpointDir(t.TempDir()))
		To(From(env, "s", Generate(105, 10, func(i int64) int64 { return i })), "collect", c.sink(t))
		o := runHere(t, env)
		if o.checkpoints < 10 || o.checkpoints > 12 {
			t.Errorf("%d checkpoints in 10.5 s, want one a second and one at the end", o.checkpoints)
		}
		if n, _ := c.count(); n != 105 {
			t.Errorf("%d records became visible, want 105", n)
		}
	})
}

func TestRestartStrategies(t *testing.T) {
	second := time.Second
	for _, tc := range []struct {
		name     string
		strategy []JobOption
		failures []time.Duration // time before each failure
		want     []time.Duration // -1: no restart
	}{
		{"default without checkpoints", nil, []time.Duration{0}, []time.Duration{-1}},
		{"none", []JobOption{WithRestart(NoRestart()), WithCheckpoints(second)}, []time.Duration{0}, []time.Duration{-1}},
		{"fixed delay", []JobOption{WithRestart(FixedDelay(2, second))}, []time.Duration{0, 0, 0}, []time.Duration{second, second, -1}},
		{"failure rate", []JobOption{WithRestart(FailureRate(2, time.Minute, second))},
			[]time.Duration{0, 30 * second, 30 * second, 29 * second}, []time.Duration{second, second, second, -1}},
		{"default with checkpoints", []JobOption{WithCheckpoints(second)},
			[]time.Duration{0, 0, 0, 2 * time.Hour}, []time.Duration{second / 10, 3 * second / 20, 9 * second / 40, second / 10}},
		{"exponential", []JobOption{WithRestart(ExponentialDelay(second, 2*second))},
			[]time.Duration{0, 0, 0, 0}, []time.Duration{second, 1500 * time.Millisecond, 2 * second, 2 * second}},
	} {
		env := New(append(tc.strategy, WithParallelism(1))...)
		Discard(numbers(env, 1))
		p, err := env.plan("test")
		if err != nil {
			t.Fatal(err)
		}
		r := newRestarts(p.graph)
		r.Jitter = 0
		now := time.Unix(0, 0)
		var got []time.Duration
		for _, d := range tc.failures {
			now = now.Add(d)
			delay, ok := r.next(now)
			if !ok {
				delay = -1
			}
			got = append(got, delay)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: delays %v, want %v", tc.name, got, tc.want)
		}
	}
}

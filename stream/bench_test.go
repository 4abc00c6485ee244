package stream

import (
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/filesystem"
)

func mix(x uint64) uint64 {
	z := x + 0x9E3779B97F4A7C15
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}

// cpuTime is what all threads of this process have used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measure reports CPU time per record beside the wall time that Go reports.
func measure(b *testing.B, run func()) {
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	run()
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
}

func benchmarkLocal(b *testing.B, program func(env *Env), opts ...JobOption) {
	env := New(append([]JobOption{WithParallelism(2)}, opts...)...)
	program(env)
	p, err := env.plan("benchmark")
	if err != nil {
		b.Fatal(err)
	}
	measure(b, func() {
		if _, err := runLocal(b.Context(), p, zap.NewNop()); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkChain is W2: four operators without state, one record per iteration.
func BenchmarkChain(b *testing.B) {
	benchmarkLocal(b, func(env *Env) {
		s := From(env, "numbers", Generate(int64(b.N), 0, func(i int64) uint64 { return uint64(i) }))
		s = Filter(Map(s, mix), func(x uint64) bool { return x>>60 != 0 })
		s = Map(s, func(x uint64) uint64 { return (x ^ x>>33) * 0xff51afd7ed558ccd })
		Discard(Filter(s, func(y uint64) bool { return y&3 != 0 }))
	})
}

type benchPair struct {
	Key   uint64
	Value int64
}

type benchSum struct {
	Key        uint64
	Value, Sum int64
}

func keyedSum(env *Env, n int64) {
	s := From(env, "pairs", Generate(n, 0, func(i int64) benchPair {
		m := mix(uint64(i))
		return benchPair{(m >> 1) % 1_000_000, int64(m & 1023)}
	}))
	Discard(Process(KeyBy(s, func(p benchPair) uint64 { return p.Key }), "sum",
		func(key uint64, p benchPair, sum *int64, out *Out[benchSum]) {
			*sum += p.Value
			out.Emit(benchSum{key, p.Value, *sum})
		}))
}

// BenchmarkKeyedSum is W3: a running sum for each of a million keys.
func BenchmarkKeyedSum(b *testing.B) {
	b.Run("one process", func(b *testing.B) {
		benchmarkLocal(b, func(env *Env) { keyedSum(env, int64(b.N)) })
	})
	b.Run("checkpoints", func(b *testing.B) {
		benchmarkLocal(b, func(env *Env) { keyedSum(env, int64(b.N)) }, WithCheckpoints(time.Second), WithCheckpointDir(b.TempDir()))
	})
	// Two workers that reach each other over TCP, as two job processes with a slot each do.
	b.Run("TCP", func(b *testing.B) {
		p := planOf(b, 2, func(env *Env) { keyedSum(env, int64(b.N)) })
		c := newCluster(b, 2, p, filesystem.NewMemory())
		measure(b, func() {
			c.deploy(0, nil)
			c.awaitDrained()
		})
		c.finish()
	})
}

type benchEvent struct {
	User, Text string
	At         int64
}

// BenchmarkStrings counts records with strings, keyed by one of them.
func BenchmarkStrings(b *testing.B) {
	names := make([]string, 1000)
	for i := range names {
		names[i] = "user-" + time.Unix(int64(i), 0).Format(time.RFC3339)
	}
	benchmarkLocal(b, func(env *Env) {
		s := From(env, "events", Generate(int64(b.N), 0, func(i int64) benchEvent {
			return benchEvent{names[mix(uint64(i))%1000], "some text", i}
		}))
		Discard(Count(KeyBy(s, func(e benchEvent) string { return e.User }), FinalOnly()))
	})
}

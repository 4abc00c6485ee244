package main

import "github.com/tamias-project/tamias/stream"

// workload is a job and the results that it must give for some numbers of input records.
type workload struct {
	records  int64 // by default
	build    func(env *stream.Env, s settings)
	expected map[int64]totals
}

var workloads = map[string]workload{
	"w2": {
		records: 100_000_000,
		build:   buildChain,
		expected: map[int64]totals{
			1_000_000:   {703_147, 11169210163130677117},
			100_000_000: {70_309_353, 16158464134462711949},
		},
	},
	"w3": {
		records: 10_000_000,
		build:   buildKeyedSum,
		expected: map[int64]totals{
			1_000_000:  {1_000_000, 7865855466488958410},
			10_000_000: {10_000_000, 10290582184726991413},
			50_000_000: {50_000_000, 7596925376592033510},
		},
	},
}

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	z := x + 0x9E3779B97F4A7C15
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}

// buildChain is W2: a chain of operators without state.
func buildChain(env *stream.Env, s settings) {
	numbers := stream.From(env, "numbers", stream.Generate(s.n, s.rate, func(i int64) uint64 { return uint64(i) }))
	mixed := stream.Map(numbers, mix)
	some := stream.Filter(mixed, func(x uint64) bool { return x>>60 != 0 })
	spread := stream.Map(some, func(x uint64) uint64 { return (x ^ x>>33) * 0xff51afd7ed558ccd })
	rest := stream.Filter(spread, func(y uint64) bool { return y&3 != 0 })
	stream.To(rest, "total", totalSink[uint64]{dir: s.out, term: func(y uint64) uint64 { return y }})
}

// pair is an input record of W3.
type pair struct {
	Key   uint64
	Value int64
}

// running is an output record of W3: the sum of a key after a value.
type running struct {
	Key        uint64
	Value, Sum int64
}

// buildKeyedSum is W3: a running sum for each of a million keys.
func buildKeyedSum(env *stream.Env, s settings) {
	const keys = 1_000_000
	pairs := stream.From(env, "pairs", stream.Generate(s.n, s.rate, func(i int64) pair {
		m := mix(uint64(i))
		return pair{Key: (m >> 1) % keys, Value: int64(m & 1023)}
	}))
	byKey := stream.KeyBy(pairs, func(p pair) uint64 { return p.Key })
	sums := stream.Process(byKey, "running sum", func(key uint64, p pair, sum *int64, out *stream.Out[running]) {
		*sum += p.Value
		out.Emit(running{key, p.Value, *sum})
	})
	// The terms of a key add up to the square of its last sum only if no record was lost or counted twice.
	stream.To(sums, "total", totalSink[running]{dir: s.out, term: func(r running) uint64 {
		return mix(r.Key) * uint64(r.Value*(2*r.Sum-r.Value))
	}})
}

package state

import (
	"bytes"
	"fmt"
	"io"
	"testing"
)

// scatter is the i-th of a sequence of keys below n.
func scatter(i, n uint64) uint64 {
	z := i + 0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return (z ^ z>>31) >> 1 % n
}

// BenchmarkUpdate adds to values of uniformly drawn keys, as a keyed sum does.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range []uint64{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("table/%d", n), func(b *testing.B) {
			table := filled(b, n)
			keys, i := table.keys, uint64(0)
			for b.Loop() {
				i++
				key := scatter(i, n)
				v, _ := table.Ref(keys.Hash(&key), key)
				*v += int64(i)
			}
		})
		b.Run(fmt.Sprintf("table, prefetched/%d", n), func(b *testing.B) {
			table := filled(b, n)
			i, fill := uint64(0), 0
			var keys, hashes [32]uint64
			for b.Loop() {
				i++
				keys[fill] = scatter(i, n)
				hashes[fill] = table.keys.HashWord(&keys[fill])
				if fill++; fill == len(keys) {
					table.Prefetch(hashes[:])
					for j := range keys {
						v, _ := table.Ref(hashes[j], keys[j])
						*v += int64(i)
					}
					fill = 0
				}
			}
		})
		b.Run(fmt.Sprintf("map/%d", n), func(b *testing.B) {
			m, i := map[uint64]int64{}, uint64(0)
			for k := range n {
				m[k] = 1
			}
			for b.Loop() {
				i++
				m[scatter(i, n)] += int64(i)
			}
		})
	}
}

func filled(b *testing.B, n uint64) *ValueTable[uint64, int64] {
	table := tableIn[uint64, int64](b, whole(), "t")
	for k := range n {
		table.set(k, 1)
	}
	return table
}

func BenchmarkUpdateStrings(b *testing.B) {
	const n = 100_000
	words := make([]string, n)
	for i := range words {
		words[i] = fmt.Sprintf("w%x", scatter(uint64(i), 1<<40))
	}
	b.Run("table", func(b *testing.B) {
		table, i := tableIn[string, int64](b, whole(), "t"), uint64(0)
		keys := table.keys
		for b.Loop() {
			i++
			w := words[scatter(i, n)]
			v, _ := table.Ref(keys.Hash(&w), w)
			*v++
		}
	})
	b.Run("map", func(b *testing.B) {
		m, i := map[string]int64{}, uint64(0)
		for b.Loop() {
			i++
			m[words[scatter(i, n)]]++
		}
	})
}

func BenchmarkInsert(b *testing.B) {
	const n = 1_000_000
	b.Run("table", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			filled(b, n)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/key")
	})
	b.Run("map", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m := map[uint64]int64{}
			for k := range uint64(n) {
				m[k] = 1
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/key")
	})
}

func BenchmarkSnapshot(b *testing.B) {
	const n = 1_000_000
	table := filled(b, n)
	b.Run("take", func(b *testing.B) {
		for b.Loop() {
			table.backend.Snapshot().Release()
		}
	})
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			s := table.backend.Snapshot()
			size, err := s.Write(io.Discard)
			if err != nil {
				b.Fatal(err)
			}
			s.Release()
			b.SetBytes(size)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/key")
	})
	b.Run("copy all pages", func(b *testing.B) {
		for b.Loop() {
			s := table.backend.Snapshot()
			for i := range table.pages {
				if table.shared(uint64(i)) {
					table.unshare(uint64(i))
				}
			}
			s.Release()
		}
	})
	b.Run("restore", func(b *testing.B) {
		file := written(b, table.backend)
		for b.Loop() {
			backend := whole()
			if err := backend.Restore(bytes.NewReader(file), backend.groups); err != nil {
				b.Fatal(err)
			}
			tableIn[uint64, int64](b, backend, "t")
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/key")
	})
}

package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"testing"
)

func TestSplitsSurviveEncoding(t *testing.T) {
	for _, splits := range [][]Split{
		nil,
		{{ID: "a"}},
		{{ID: "", Position: []byte{}}, {ID: "long name", Position: []byte{1, 2, 3}}, {ID: "x"}},
	} {
		got, err := splitsIn(appendSplits(nil, splits))
		if err != nil || !reflect.DeepEqual(got, splits) {
			t.Errorf("%v became %v, %v", splits, got, err)
		}
	}
}

func FuzzSplits(f *testing.F) {
	f.Add(appendSplits(nil, []Split{{ID: "a", Position: []byte("b")}, {ID: "c"}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		splits, err := splitsIn(data)
		if err != nil {
			return
		}
		again, err := splitsIn(appendSplits(nil, splits))
		if err != nil || !reflect.DeepEqual(splits, again) {
			t.Errorf("%v became %v, %v", splits, again, err)
		}
	})
}

// readAll reads to the end in batches of a size.
func readAll(t *testing.T, r Reader[int64], batch int) (all []int64) {
	t.Helper()
	records := make([]int64, batch)
	for {
		n, err := r.Read(context.Background(), records)
		all = append(all, records[:n]...)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestGeneratorGoesOnWhereItWas reads a part of each share and the rest at another parallelism.
func TestGeneratorGoesOnWhereItWas(t *testing.T) {
	for _, n := range []int64{0, 1, 2, 7, 100} {
		for _, from := range []int{1, 2, 3, 8} {
			for _, to := range []int{1, 2, 5} {
				t.Run(fmt.Sprintf("%d of %d to %d", n, from, to), func(t *testing.T) { generatorMoves(t, n+1, from, to) })
			}
		}
	}
}

func generatorMoves(t *testing.T, n int64, from, to int) {
	ctx := t.Context()
	g := Generate(n, 0, func(i int64) int64 { return i })
	splits, err := g.Splits(ctx, from)
	if err != nil {
		t.Fatal(err)
	}
	var all []int64
	later := make([][]Split, to)
	for s, split := range splits {
		r, err := g.Open(ctx, Subtask{Index: s, Parallelism: from}, []Split{split})
		if err != nil {
			t.Fatal(err)
		}
		some := make([]int64, 3*s%5)
		k, err := r.Read(ctx, some)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		all = append(all, some[:k]...)
		rest, err := r.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		later[s%to] = append(later[s%to], rest...)
	}
	for s, splits := range later {
		r, err := g.Open(ctx, Subtask{Index: s, Parallelism: to}, splits)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, readAll(t, r, 4)...)
	}
	slices.Sort(all)
	for i, v := range all {
		if int64(i) != v {
			t.Fatalf("number %d is %d", i, v)
		}
	}
	if int64(len(all)) != n {
		t.Errorf("%d numbers, want %d", len(all), n)
	}
}

func TestGeneratorRefusesForeignSplits(t *testing.T) {
	g := Generate(1, 0, func(i int64) int64 { return i })
	for _, s := range []Split{{ID: "x"}, {ID: "00001-of-0"}, {ID: "00001-of-2", Position: []byte{0xff}}} {
		if _, err := g.Open(t.Context(), Subtask{}, []Split{s}); err == nil {
			t.Errorf("split %+v was accepted", s)
		}
	}
}

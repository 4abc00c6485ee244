package state

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/tamias-project/tamias/pkg/state/codec"
)

func codecFor[T any](t testing.TB) *codec.Codec[T] {
	t.Helper()
	c, err := codec.For[T]()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// whole is a backend for all of 128 groups.
func whole() *Backend { return NewBackend(KeyGroups{0, 127}, 128) }

func tableIn[K comparable, V any](t testing.TB, b *Backend, name string) *ValueTable[K, V] {
	t.Helper()
	table, err := Values(b, name, codecFor[K](t), codecFor[V](t))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func (t *ValueTable[K, V]) set(key K, v V) {
	at, _ := t.Ref(t.keys.Hash(&key), key)
	*at = v
}

func (t *ValueTable[K, V]) remove(key K) { t.Delete(t.keys.Hash(&key), key) }

// content copies a table into a map, and checks that its parts agree.
func content[K comparable, V any](t testing.TB, table *ValueTable[K, V]) map[K]V {
	t.Helper()
	m := map[K]V{}
	table.All(func(k K, v *V) bool {
		if _, twice := m[k]; twice {
			t.Fatalf("All yields %v twice", k)
		}
		m[k] = *v
		return true
	})
	if len(m) != table.Len() {
		t.Fatalf("All yields %d entries, Len is %d", len(m), table.Len())
	}
	for k := range m {
		if _, found := table.Lookup(table.keys.Hash(&k), k); !found {
			t.Fatalf("Lookup does not find %v", k)
		}
	}
	return m
}

func TestTableGrowsAndShrinks(t *testing.T) {
	table := tableIn[uint64, int64](t, whole(), "sums")
	const n = 100_000
	for i := range uint64(n) {
		if _, found := table.Ref(table.keys.Hash(&i), i); found {
			t.Fatalf("%d is there already", i)
		}
		table.set(i, int64(i))
	}
	if table.Len() != n {
		t.Fatalf("Len = %d", table.Len())
	}
	for i := range uint64(n) {
		v, found := table.Ref(table.keys.Hash(&i), i)
		if !found || *v != int64(i) {
			t.Fatalf("%d: %d, %v", i, *v, found)
		}
		if i%3 == 0 {
			table.remove(i)
			table.remove(i)
		}
	}
	for i := range uint64(n) {
		if v, found := table.Lookup(table.keys.Hash(&i), i); found == (i%3 == 0) || found && *v != int64(i) {
			t.Fatalf("after deletion: %d found: %v", i, found)
		}
	}
}

func TestTablesOfManyTypes(t *testing.T) {
	type key struct {
		A uint8
		B uint64
	}
	type fat struct{ X [40]uint64 }
	checkType(t, func(i int) int { return i - 500 }, func(i int) struct{} { return struct{}{} })
	checkType(t, func(i int) string { return strings.Repeat("k", i%300) + fmt.Sprint(i) }, func(i int) uint32 { return uint32(i) })
	checkType(t, func(i int) key { return key{uint8(i), uint64(i)} }, func(i int) fat { return fat{[40]uint64{0: uint64(i)}} })
	checkType(t, func(i int) uint64 { return uint64(i) }, func(i int) string { return fmt.Sprint(i) })
	checkType(t, func(i int) int16 { return int16(i) }, func(i int) [2000]byte { return [2000]byte{byte(i)} })
	checkType(t, func(i int) struct{ S string } { return struct{ S string }{fmt.Sprint(i)} }, func(i int) bool { return i%2 == 0 })
}

func checkType[K comparable, V comparable](t *testing.T, key func(int) K, value func(int) V) {
	t.Helper()
	table, want := tableIn[K, V](t, whole(), "t"), map[K]V{}
	for i := range 1000 {
		table.set(key(i), value(i))
		want[key(i)] = value(i)
		if i%7 == 0 {
			table.remove(key(i / 2))
			delete(want, key(i/2))
		}
	}
	if got := content(t, table); !maps.Equal(got, want) {
		t.Errorf("%T: %d entries, want %d", table, len(got), len(want))
	}
}

func TestKeysOwnTheirMemory(t *testing.T) {
	table := tableIn[string, int](t, whole(), "words")
	buffer := table.keys.Append(nil, ptr("word"))
	var view string
	if _, err := table.keys.DecodeView(buffer, &view); err != nil {
		t.Fatal(err)
	}
	table.set(view, 1)
	clear(buffer)
	if _, found := content(t, table)["word"]; !found {
		t.Error("the key changed with the buffer that it was read from")
	}
}

func ptr[T any](v T) *T { return &v }

// TestKeysWithLikeHashes: a directory that only doubles would fill the memory.
func TestKeysWithLikeHashes(t *testing.T) {
	table := tableIn[uint64, int](t, whole(), "t")
	var like []uint64
	for k := uint64(0); len(like) < 2000; k++ {
		if table.keys.Hash(&k)>>54 == 0 {
			like = append(like, k)
		}
	}
	for i, k := range like {
		table.set(k, i)
	}
	if got := content(t, table); len(got) != len(like) {
		t.Errorf("%d entries", len(got))
	}
	if len(table.dir) > 1<<12 {
		t.Errorf("the directory has %d places for %d pages", len(table.dir), table.distinct)
	}
}

func TestAllWhileTheTableChanges(t *testing.T) {
	table := tableIn[uint64, int](t, whole(), "t")
	for i := range uint64(5000) {
		table.set(i, 0)
	}
	seen := map[uint64]int{}
	table.All(func(k uint64, v *int) bool {
		seen[k]++
		*v = 1
		if k < 5000 {
			table.remove(k + 1)
			if k%2 == 0 {
				table.remove(k)
			}
			table.set(k+10_000, 2)
		}
		return true
	})
	for k, n := range seen {
		if n != 1 {
			t.Errorf("%d was seen %d times", k, n)
		}
	}
	for k, v := range content(t, table) {
		if k < 5000 && (v != 1 || seen[k] != 1) {
			t.Errorf("%d is there, was seen %d times", k, seen[k])
		}
	}
}

func TestNarrowRangesUseTheWholeDirectory(t *testing.T) {
	for _, g := range []KeyGroups{{0, 0}, {77, 77}, {3, 5}, {64, 127}, {127, 127}} {
		table := tableIn[uint64, int](t, NewBackend(g, 128), "t")
		n := 0
		for k := uint64(0); n < 20_000; k++ {
			if g.Contains(GroupOf(table.keys.Hash(&k), 128)) {
				table.set(k, 1)
				n++
			}
		}
		if len(content(t, table)) != n {
			t.Errorf("groups %s: %d entries", g, table.Len())
		}
		if len(table.dir) > 1024 {
			t.Errorf("groups %s: directory of %d places for %d pages", g, len(table.dir), table.distinct)
		}
	}
}

func TestForeignKeysPanic(t *testing.T) {
	table := tableIn[uint64, int](t, NewBackend(KeyGroups{0, 0}, 128), "t")
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	for k := range uint64(1000) {
		table.set(k, 0)
	}
}

func TestValuesRefuses(t *testing.T) {
	b := whole()
	tableIn[int, int](t, b, "twice")
	if _, err := Values(b, "twice", codecFor[int](t), codecFor[int](t)); err == nil || !strings.Contains(err.Error(), "registered twice") {
		t.Errorf("second registration: %v", err)
	}
	if _, err := Values(b, "pointer", codecFor[*int](t), codecFor[int](t)); err == nil || !strings.Contains(err.Error(), "cannot be a key") {
		t.Errorf("pointer as a key: %v", err)
	}
}

func TestPrefetchChangesNothing(t *testing.T) {
	type small struct{}
	table := tableIn[small, small](t, whole(), "nothing")
	key := small{}
	hash := table.keys.Hash(&key)
	table.Prefetch([]uint64{hash, hash})
	table.Ref(hash, key)
	table.Prefetch([]uint64{hash})
	if table.Len() != 1 {
		t.Errorf("Len = %d", table.Len())
	}
}

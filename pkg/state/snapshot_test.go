package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func written(t testing.TB, b *Backend) []byte {
	t.Helper()
	s := b.Snapshot()
	defer s.Release()
	var file bytes.Buffer
	size, err := s.Write(&file)
	if err != nil || size != int64(file.Len()) {
		t.Fatalf("Write = %d, %v; %d bytes arrived", size, err, file.Len())
	}
	return file.Bytes()
}

// stream hides that a reader can seek.
func stream(file []byte) io.Reader { return io.MultiReader(bytes.NewReader(file)) }

// TestSnapshotsAreThoseOfTheirMoment runs random operations, with snapshots that are written on other
// goroutines meanwhile, against a model.
func TestSnapshotsAreThoseOfTheirMoment(t *testing.T) {
	t.Run("copied pages", func(t *testing.T) {
		rapid.Check(t, func(r *rapid.T) { runModel(t, r, func(i int) int64 { return int64(i) }) })
	})
	t.Run("values with pointers", func(t *testing.T) {
		rapid.Check(t, func(r *rapid.T) { runModel(t, r, func(i int) []int { return []int{i} }) })
	})
	t.Run("strings", func(t *testing.T) {
		rapid.Check(t, func(r *rapid.T) { runModel(t, r, func(i int) string { return fmt.Sprint(i) }) })
	})
}

type taken[V any] struct {
	want     map[uint64]V
	snapshot *Snapshot
	file     bytes.Buffer
	done     chan error
}

func runModel[V any](t *testing.T, r *rapid.T, value func(int) V) {
	b := whole()
	table, model := tableIn[uint64, V](t, b, "t"), map[uint64]V{}
	keys := rapid.Uint64Range(0, rapid.SampledFrom([]uint64{10, 500, 5000}).Draw(r, "keys"))
	var all []*taken[V]
	steps := rapid.IntRange(1, 40).Draw(r, "steps")
	for step := range steps {
		switch rapid.SampledFrom([]string{"put", "change", "delete", "snapshot", "wait"}).Draw(r, "op") {
		case "put":
			from := keys.Draw(r, "from")
			for k := from; k < from+uint64(rapid.IntRange(1, 1000).Draw(r, "n")); k++ {
				table.set(k, value(step))
				model[k] = value(step)
			}
		case "change": // in place, through what the values point to
			table.All(func(k uint64, v *V) bool {
				if s, ok := any(v).(*[]int); ok {
					(*s)[0] = -step
					*s = append(*s, step)
					model[k] = any(slices.Clone(*s)).(V)
				} else {
					*v = value(-step)
					model[k] = value(-step)
				}
				return k%5 != 0
			})
		case "delete":
			from := keys.Draw(r, "from")
			for k := from; k < from+uint64(rapid.IntRange(1, 300).Draw(r, "n")); k++ {
				table.remove(k)
				delete(model, k)
			}
		case "snapshot":
			s := &taken[V]{want: maps.Clone(model), snapshot: b.Snapshot(), done: make(chan error, 1)}
			go func() {
				_, err := s.snapshot.Write(&s.file)
				s.snapshot.Release()
				s.done <- err
			}()
			all = append(all, s)
		case "wait":
			if len(all) > 0 {
				all[len(all)-1].wait(r)
			}
		}
	}
	if got := content(t, table); !reflect.DeepEqual(got, model) {
		r.Fatalf("the table has %d entries, the model %d", len(got), len(model))
	}
	for i, s := range all {
		s.wait(r)
		restored := whole()
		if err := restored.Restore(bytes.NewReader(s.file.Bytes()), KeyGroups{0, 127}); err != nil {
			r.Fatal(err)
		}
		if got := content(t, tableIn[uint64, V](t, restored, "t")); !reflect.DeepEqual(got, s.want) {
			r.Fatalf("snapshot %d of %d has %d entries, want %d", i, len(all), len(got), len(s.want))
		}
	}
}

func (s *taken[V]) wait(r *rapid.T) {
	if s.done == nil {
		return
	}
	if err := <-s.done; err != nil {
		r.Fatal(err)
	}
	s.done = nil
}

func TestPagesAreCopiedOnlyWhileASnapshotNeedsThem(t *testing.T) {
	b := whole()
	table := tableIn[uint64, int](t, b, "t")
	for i := range uint64(1000) {
		table.set(i, 1)
	}
	pages := func() []*page[uint64, int] { return slices.Clone(table.pages) }
	touch := func() {
		for i := range uint64(1000) {
			table.set(i, 2)
		}
	}
	before := pages()
	released := b.Snapshot()
	released.Release()
	touch()
	if !slices.Equal(before, pages()) {
		t.Error("pages were copied after the snapshot had been released")
	}
	finished := b.Snapshot()
	if _, err := finished.Write(io.Discard); err != nil {
		t.Fatal(err)
	}
	touch()
	if !slices.Equal(before, pages()) {
		t.Error("pages were copied after the snapshot had been written")
	}
	if _, err := finished.Write(io.Discard); err == nil {
		t.Error("a snapshot was written twice")
	}
	second := b.Snapshot()
	if _, err := second.Write(io.Discard); err != nil {
		t.Fatal(err)
	}
	touch() // finished has not been released: it may still need the pages, for all we know
	if slices.Contains(before, table.pages[0]) {
		t.Error("pages were not copied with two snapshots alive")
	}
}

func TestRescaling(t *testing.T) {
	const n = 3000
	var files [][]byte
	for subtask := range 3 {
		b := NewBackend(RangeOf(subtask, 3, 128), 128)
		sums, names := tableIn[uint64, int64](t, b, "sums"), tableIn[string, []string](t, b, "names")
		for i := range uint64(n) {
			if b.groups.Contains(GroupOf(sums.keys.Hash(&i), 128)) {
				sums.set(i, int64(i))
			}
			if s := fmt.Sprint(i); b.groups.Contains(GroupOf(names.keys.Hash(&s), 128)) {
				names.set(s, []string{s})
			}
		}
		files = append(files, written(t, b))
	}
	for _, parallelism := range []int{1, 2, 3, 5, 128} {
		for _, seekable := range []bool{true, false} {
			sumCount, nameCount := 0, 0
			for subtask := range parallelism {
				b := NewBackend(RangeOf(subtask, parallelism, 128), 128)
				early := tableIn[uint64, int64](t, b, "sums") // before Restore
				for _, file := range files {
					var r io.Reader = bytes.NewReader(file)
					if !seekable {
						r = stream(file)
					}
					if err := b.Restore(r, b.groups); err != nil {
						t.Fatal(err)
					}
				}
				for k, v := range content(t, early) {
					sumCount++
					if v != int64(k) {
						t.Fatalf("%d is %d", k, v)
					}
				}
				for k, v := range content(t, tableIn[string, []string](t, b, "names")) {
					nameCount++
					if len(v) != 1 || v[0] != k {
						t.Fatalf("%q is %q", k, v)
					}
				}
			}
			if sumCount != n || nameCount != n {
				t.Errorf("parallelism %d: %d sums and %d names, want %d of each", parallelism, sumCount, nameCount, n)
			}
		}
	}
}

func TestStateThatNobodyRegistersIsKept(t *testing.T) {
	b := whole()
	table := tableIn[string, int](t, b, "old")
	for i := range 500 {
		table.set(fmt.Sprint(i), i)
	}
	want := content(t, table)
	file := written(t, b)
	for range 2 { // through programs that do not know the state
		other := whole()
		tableIn[int, int](t, other, "new").set(1, 1)
		if err := other.Restore(bytes.NewReader(file), KeyGroups{0, 127}); err != nil {
			t.Fatal(err)
		}
		file = written(t, other)
	}
	last := whole()
	if err := last.Restore(bytes.NewReader(file), KeyGroups{0, 127}); err != nil {
		t.Fatal(err)
	}
	if got := content(t, tableIn[string, int](t, last, "old")); !maps.Equal(got, want) {
		t.Errorf("%d entries, want %d", len(got), len(want))
	}
	if got := content(t, tableIn[int, int](t, last, "new")); got[1] != 1 {
		t.Errorf("new state: %v", got)
	}
}

func TestRestoreRefuses(t *testing.T) {
	b := whole()
	tableIn[uint64, int64](t, b, "sums").set(1, 1)
	file := written(t, b)
	restore := func(b *Backend) error { return b.Restore(bytes.NewReader(file), b.groups) }

	if err := restore(NewBackend(KeyGroups{0, 63}, 64)); err == nil || !strings.Contains(err.Error(), "128 key groups") {
		t.Errorf("another number of key groups: %v", err)
	}
	for _, late := range []bool{false, true} {
		b, err := whole(), error(nil)
		if late {
			_ = restore(b)
			_, err = Values(b, "sums", codecFor[uint64](t), codecFor[string](t))
		} else {
			tableIn[uint64, string](t, b, "sums")
			err = restore(b)
		}
		if err == nil || !strings.Contains(err.Error(), `"sums" in state file holds value of int64 by uint64, the job wants value of string by uint64`) {
			t.Errorf("another schema, late %v: %v", late, err)
		}
	}
}

// TestDamageIsFound flips each byte of a file, and cuts it at each.
func TestDamageIsFound(t *testing.T) {
	b := whole()
	table := tableIn[uint64, int64](t, b, "sums")
	for i := range uint64(3) {
		table.set(i, int64(i))
	}
	file := written(t, b)
	restore := func(r io.Reader) error {
		b := whole()
		if err := b.Restore(r, b.groups); err != nil {
			return err
		}
		_, err := Values(b, "sums", codecFor[uint64](t), codecFor[int64](t))
		return err
	}
	for i := range file {
		bad := bytes.Clone(file)
		bad[i] ^= 0x10
		inTrailer := i >= len(file)-trailerSize
		if err := restore(bytes.NewReader(bad)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d of %d: %v, want ErrCorrupt", i, len(file), err)
		}
		if err := restore(stream(bad)); !errors.Is(err, ErrCorrupt) && !inTrailer {
			t.Errorf("byte %d of %d, as a stream: %v, want ErrCorrupt", i, len(file), err)
		}
		if err := restore(bytes.NewReader(file[:i])); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut to %d of %d: %v, want ErrCorrupt", i, len(file), err)
		}
	}
}

func TestDamageIsNamed(t *testing.T) {
	b := whole()
	table := tableIn[uint64, int64](t, b, "sums")
	var key uint64 = 7
	table.set(key, 1)
	file := written(t, b)
	at := bytes.Index(file, table.keys.Append(nil, &key))
	file[at] ^= 1
	err := b.Restore(named{bytes.NewReader(file)}, b.groups)
	group := GroupOf(table.keys.Hash(&key), 128)
	want := fmt.Sprintf("/chk-7/state: offset %d: key group %d of \"sums\": checksum does not match", at-frameSize, group)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

type named struct{ *bytes.Reader }

func (named) Name() string { return "/chk-7/state" }

func TestWriteErrors(t *testing.T) {
	b := whole()
	tableIn[uint64, int64](t, b, "sums").set(1, 1)
	boom := errors.New("disk full")
	for room := range 3 {
		s := b.Snapshot()
		if _, err := s.Write(&failingWriter{room, boom}); !errors.Is(err, boom) {
			t.Errorf("after %d writes: %v, want disk full", room, err)
		}
		s.Release()
	}
}

type failingWriter struct {
	room int
	err  error
}

func (f *failingWriter) Write(p []byte) (int, error) {
	if f.room--; f.room < 0 {
		return 0, f.err
	}
	return len(p), nil
}

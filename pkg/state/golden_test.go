package state

import (
	"flag"
	"maps"
	"os"
	"reflect"
	"testing"
)

var update = flag.Bool("update", false, "write the files in testdata anew")

// TestOldFilesCanBeRead reads a file that was written when the format was new. If it fails, programs can no
// longer read the checkpoints of those before them.
func TestOldFilesCanBeRead(t *testing.T) {
	type total struct {
		Count int64
		Names []string
	}
	sums := map[uint64]int64{0: 1, 1: -1, 1 << 60: 7}
	totals := map[string]total{"": {}, "a": {1, []string{"x"}}, "b": {2, []string{"x", "y"}}}
	const file = "testdata/version1.state"
	if *update {
		b := whole()
		for k, v := range sums {
			tableOnce[uint64, int64](t, b, "sums").set(k, v)
		}
		for k, v := range totals {
			tableOnce[string, total](t, b, "totals").set(k, v)
		}
		if err := os.WriteFile(file, written(t, b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := whole()
	if err := b.Restore(f, b.groups); err != nil {
		t.Fatal(err)
	}
	if got := content(t, tableIn[uint64, int64](t, b, "sums")); !maps.Equal(got, sums) {
		t.Errorf("sums: %v", got)
	}
	if got := content(t, tableIn[string, total](t, b, "totals")); !reflect.DeepEqual(got, totals) {
		t.Errorf("totals: %v", got)
	}
}

// tableOnce registers a table the first time.
func tableOnce[K comparable, V any](t *testing.T, b *Backend, name string) *ValueTable[K, V] {
	for _, known := range b.tables {
		if known.describe().Name == name {
			return known.(*ValueTable[K, V])
		}
	}
	return tableIn[K, V](t, b, name)
}

package main

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tamias-project/tamias/examples/numbered/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOutputIsExact(t *testing.T) {
	dir := t.TempDir()
	const n, keys = 20_000, 50
	if err := run(dir, n, 0, keys, 10*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	report, err := verify.Directory(t.Context(), dir, verify.Options{Expect: n, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() || report.Records != n || report.Keys != keys {
		t.Errorf("got %+v, want %d records of %d keys", report, n, keys)
	}
}

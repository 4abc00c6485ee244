package harness

import (
	"testing"
	"time"
)

// patience bounds every wait. It is far above what anything takes on a slow and busy machine, because
// only failures ever wait that long.
const patience = 2 * time.Minute

// Await returns when holds does, and ends the test when that takes too long.
func Await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	if !poll(holds) {
		t.Fatalf("waited in vain for %s", what)
	}
}

// poll reports whether holds came true in time.
func poll(holds func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			return holds()
		}
	}
	return true
}

package worker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/shuffle"
)

// TestAligner reads as a transcript: each step is an event and what the task is told to do.
func TestAligner(t *testing.T) {
	for _, tc := range []struct {
		name     string
		channels int
		steps    string
	}{
		{"one channel", 1, `
			barrier 0 1: complete
			barrier 0 2: complete`},
		{"three channels", 3, `
			barrier 1 1: block
			barrier 0 1: block
			barrier 2 1: complete`},
		{"repeated barrier", 2, `
			barrier 0 1: block
			barrier 0 1: nothing
			barrier 1 1: complete
			barrier 1 1: nothing`},
		{"higher barrier overtakes", 2, `
			barrier 0 1: block
			barrier 1 2: overtaken 1, block
			barrier 1 1: nothing
			barrier 0 2: complete`},
		{"abort while aligning", 2, `
			barrier 0 1: block
			abort 1 1: unblock
			barrier 1 1: nothing
			barrier 0 2: block
			barrier 1 2: complete`},
		{"abort before the first barrier", 2, `
			abort 3 5: nothing
			barrier 0 3: nothing
			barrier 0 5: nothing
			barrier 0 6: block
			barrier 1 6: complete`},
		{"abort of another one", 2, `
			barrier 0 7: block
			abort 3 5: nothing
			barrier 1 7: complete
			abort 7 7: nothing`},
		{"older epoch", 2, `
			barrier 0 1 epoch 5: block
			barrier 1 1 epoch 5: complete
			barrier 0 2 epoch 4: nothing
			barrier 0 2 epoch 6: block`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newAligner(tc.channels)
			now := time.Unix(0, 0)
			for line := range strings.Lines(strings.TrimSpace(tc.steps)) {
				event, want, _ := strings.Cut(strings.TrimSpace(line), ": ")
				if got := step(a, event, now); got != want {
					t.Errorf("%s: got %q, want %q", event, got, want)
				}
				now = now.Add(time.Second)
			}
		})
	}
}

func step(a *aligner, event string, now time.Time) string {
	var channel int
	var first, last int64
	if n, _ := fmt.Sscanf(event, "abort %d %d", &first, &last); n == 2 {
		if a.abort(checkpointRange{first, last}) {
			return "unblock"
		}
		return "nothing"
	}
	var b shuffle.Barrier
	fmt.Sscanf(event, "barrier %d %d epoch %d", &channel, &b.Checkpoint, &b.Epoch)
	v := a.barrier(channel, b, now)
	var said []string
	if v.overtaken > 0 {
		said = append(said, fmt.Sprintf("overtaken %d", v.overtaken))
	}
	if v.block {
		said = append(said, "block")
	}
	if v.complete {
		said = append(said, "complete")
	}
	if len(said) == 0 {
		return "nothing"
	}
	return strings.Join(said, ", ")
}

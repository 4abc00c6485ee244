package checkpoint_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tamias-project/tamias/internal/testkit/transcript"
	"github.com/tamias-project/tamias/pkg/checkpoint"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// vertex returns an ID that begins with the letter-like digits of name: a source "a", others "b" to "f".
func vertex(name string) id.Vertex {
	v, err := id.ParseVertex(strings.Repeat(name, 32))
	if err != nil {
		panic(err)
	}
	return v
}

func TestCoordinator(t *testing.T) {
	transcript.Run(t, "testdata/coordinator/*.txt", func(t *testing.T) func([]string) string {
		h := &bench{t: t}
		return h.run
	})
}

// bench gives a Coordinator commands. Times are seconds since the start.
type bench struct {
	t *testing.T
	c *checkpoint.Coordinator
}

var zero = time.Unix(1_000_000, 0).UTC()

func at(s string) time.Time {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return zero.Add(d)
}

// number reads the attempt number of words such as "attempt=2"; others are the command's own.
func option(words []string, name, otherwise string) string {
	for _, w := range words {
		if v, ok := strings.CutPrefix(w, name+"="); ok {
			return v
		}
	}
	return otherwise
}

func number(words []string, name string, otherwise int) int {
	n, err := strconv.Atoi(option(words, name, strconv.Itoa(otherwise)))
	if err != nil {
		panic(err)
	}
	return n
}

func duration(words []string, name string) time.Duration {
	d, err := time.ParseDuration(option(words, name, "0s"))
	if err != nil {
		panic(err)
	}
	return d
}

// attempt reads a0 or b1.2: vertex, subtask and attempt.
func attempt(s string) id.ExecutionAttempt {
	v, rest := s[:1], s[1:]
	sub, att, _ := strings.Cut(rest, ".")
	subtask, err := strconv.Atoi(sub)
	if err != nil {
		panic(err)
	}
	n, _ := strconv.Atoi(att)
	return id.ExecutionAttempt{Vertex: vertex(v), Subtask: subtask, Attempt: n}
}

func (b *bench) run(words []string) string {
	switch words[0] {
	case "new":
		b.c = checkpoint.NewCoordinator(checkpoint.Config{
			Epoch: 3,
			Checkpointing: jobgraph.Checkpointing{
				Interval: duration(words, "interval"), Timeout: duration(words, "timeout"), MinPause: duration(words, "min-pause"),
				Dir: "/chk/", TolerableFailures: number(words, "tolerable", 0),
			},
			Vertices: []jobgraph.Vertex{
				{ID: vertex("a"), Parallelism: 2, Source: true}, {ID: vertex("b"), Parallelism: 1},
			},
		})
		return ""
	case "summary":
		s := b.c.Summary()
		out := fmt.Sprintf("completed %d, failed %d, in progress %d\n", s.Completed, s.Failed, s.InProgress)
		if r := s.LatestRestored; r != nil {
			out += fmt.Sprintf("started from %d in %s at %s, starts from checkpoints %d\n", r.ID, r.Path, r.At.Sub(zero), s.Restored)
		}
		for _, c := range s.History {
			out += fmt.Sprintf("%d %s %d bytes %s\n", c.ID, c.Status, c.Bytes, c.Failure)
		}
		return out
	case "delay":
		d, _ := time.ParseDuration(words[1])
		b.c.Delay(d)
		return b.next()
	}
	return b.event(at(words[0]), words[1:])
}

func (b *bench) event(now time.Time, words []string) string {
	var actions []checkpoint.Action
	switch words[0] {
	case "begin":
		n := number(words, "attempt", 0)
		actions = b.c.Begin(now, []checkpoint.Task{
			{Attempt: id.ExecutionAttempt{Vertex: vertex("a"), Subtask: 0, Attempt: n}, Source: true},
			{Attempt: id.ExecutionAttempt{Vertex: vertex("a"), Subtask: 1, Attempt: n}, Source: true},
			{Attempt: id.ExecutionAttempt{Vertex: vertex("b"), Subtask: 0, Attempt: n}},
		}, duration(words, "first"))
	case "tick":
		actions = b.c.Tick(now)
	case "restored":
		b.c.Restored(now, int64(number(words, "n", 0)))
	case "suspend":
		actions = b.c.Suspend(now, strings.Join(words[1:], " "))
	case "drained":
		actions = b.c.Drained(now)
	case "id":
		actions = b.c.IDAssigned(now, int64(number(words, "n", 0)))
	case "no-id":
		actions = b.c.IDRefused(now)
	case "ack":
		n, _ := strconv.ParseInt(words[1], 10, 64)
		for _, w := range words[2:] {
			a := attempt(w)
			actions = append(actions, b.c.Acknowledge(now, protocol.AcknowledgeCheckpointRequest{
				Attempt: a, Checkpoint: n,
				State: []protocol.OperatorState{{UID: "op", Subtask: a.Subtask, Raw: []byte("12345")}},
			})...)
		}
	case "decline":
		n, _ := strconv.ParseInt(words[1], 10, 64)
		actions = b.c.Decline(now, protocol.DeclineCheckpointRequest{
			Attempt: attempt(words[2]), Checkpoint: n, Reason: strings.Join(words[3:], " "),
		})
	case "stored":
		n, _ := strconv.ParseInt(words[1], 10, 64)
		var err error
		if len(words) > 2 {
			err = errors.New(strings.Join(words[2:], " "))
		}
		actions = b.c.Stored(now, n, err)
	default:
		b.t.Fatalf("unknown event %q", words)
	}
	out := ""
	for _, a := range actions {
		out += a.String() + "\n"
	}
	return out + b.next()
}

func (b *bench) next() string {
	if next, ok := b.c.Next(); ok {
		return "next tick at " + next.Sub(zero).String()
	}
	return ""
}

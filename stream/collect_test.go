package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/state/codec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collected is what a job has made visible, of all subtasks and attempts.
type collected[T any] struct {
	mu        sync.Mutex // guards the rest
	committed []T
	commits   int
}

func (c *collected[T]) add(records []T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.committed = append(c.committed, records...)
	c.commits++
}

func (c *collected[T]) count() (records, commits int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.committed), c.commits
}

// sink shows records when they are committed: exactly once, if the runtime keeps its side.
func (c *collected[T]) sink(t testing.TB) Sink[T] {
	records, err := codec.For[T]()
	if err != nil {
		t.Fatal(err)
	}
	return collectSink[T]{c, records, &sync.Map{}}
}

type collectSink[T any] struct {
	to    *collected[T]
	codec *codec.Codec[T]
	done  *sync.Map // what was committed: "subtask/attempt/number"
}

func (collectSink[T]) TwoPhase() {}

// portion is what was written between two checkpoints.
type portion[T any] struct {
	name       string
	checkpoint int64 // that it was prepared for
	records    []T
}

func (s collectSink[T]) Open(_ context.Context, task Subtask, restored []Prepared) (Writer[T], error) {
	w := &collectWriter[T]{sink: s, task: task}
	for _, p := range restored {
		for b := p.State; len(b) > 0; {
			var r portion[T]
			n := int(binary.BigEndian.Uint32(b))
			r.name, b = string(b[4:4+n]), b[4+n:]
			n = int(binary.BigEndian.Uint32(b))
			b = b[4:]
			for range n {
				var v T
				k, err := s.codec.Decode(b, &v)
				if err != nil {
					return nil, err
				}
				b = b[k:]
				r.records = append(r.records, v)
			}
			w.commit(r)
		}
	}
	return w, nil
}

type collectWriter[T any] struct {
	sink     collectSink[T]
	task     Subtask
	open     []T
	prepared []portion[T]
	number   int
}

func (w *collectWriter[T]) Write(_ context.Context, records []T) error {
	w.open = append(w.open, records...)
	return nil
}

func (w *collectWriter[T]) PreCommit(_ context.Context, n int64) ([]byte, error) {
	if len(w.open) > 0 {
		w.number++
		w.prepared = append(w.prepared, portion[T]{fmt.Sprintf("%d/%d/%d", w.task.Index, w.task.Attempt, w.number), n, w.open})
		w.open = nil
	}
	var b []byte
	for _, p := range w.prepared {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(p.name))), p.name...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(p.records)))
		for i := range p.records {
			b = w.sink.codec.Append(b, &p.records[i])
		}
	}
	return b, nil
}

func (w *collectWriter[T]) Commit(_ context.Context, n int64) error {
	for len(w.prepared) > 0 && w.prepared[0].checkpoint <= n {
		w.commit(w.prepared[0])
		w.prepared = w.prepared[1:]
	}
	return nil
}

func (w *collectWriter[T]) commit(p portion[T]) {
	if _, again := w.sink.done.LoadOrStore(p.name, true); !again {
		w.sink.to.add(p.records)
	}
}

func (w *collectWriter[T]) Close() error { return nil }

// collect runs the job of a program in this process and returns what it shows.
func collect[T any](t *testing.T, program func(env *Env) *Stream[T], opts ...JobOption) ([]T, error) {
	t.Helper()
	var c collected[T]
	env := New(append([]JobOption{WithParallelism(2), WithLogger(zap.NewNop())}, opts...)...)
	To(program(env), "collect", c.sink(t))
	p, err := env.plan("test")
	if err != nil {
		return nil, err
	}
	_, err = runLocal(t.Context(), p, zap.NewNop())
	return c.committed, err
}

// numbers is 0..n-1.
func numbers(env *Env, n int64, opts ...Option) *Stream[int64] {
	return From(env, "numbers", Generate(n, 0, func(i int64) int64 { return i }), opts...)
}

func sum(records []int64) (s int64) {
	for _, r := range records {
		s += r
	}
	return s
}

var errInjected = errors.New("injected")

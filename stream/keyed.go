package stream

import (
	"cmp"
	"context"
	"fmt"

	"github.com/tamias-project/tamias/pkg/state"
	"github.com/tamias-project/tamias/pkg/state/codec"
	"github.com/tamias-project/tamias/pkg/worker"
)

// KeyedFunc is called for each record of a keyed stream, with the state of the record's key: the zero S at
// first, later what the function has left there. It may change *value in place but must not keep the
// pointer. The state is saved with checkpoints. Flink's KeyedProcessFunction with one ValueState.
type KeyedFunc[K comparable, T, S, U any] func(key K, record T, value *S, out *Out[U])

// FinishFunc is called for each key at the end of a bounded input, in no particular order of keys.
type FinishFunc[K comparable, S, U any] func(key K, value *S, out *Out[U])

// Process applies f, which has state for each key, to each record of a keyed stream. S must be encodable:
// numbers, strings, structs, slices, maps and so on, no interfaces, channels or functions.
func Process[K comparable, T, S, U any](in *Keyed[K, T], name string, f KeyedFunc[K, T, S, U], opts ...Option) *Stream[U] {
	return ProcessFinish(in, name, f, nil, opts...)
}

// ProcessFinish is Process with a function that is called for each key when a bounded input has ended. The
// state is gone afterwards.
func ProcessFinish[K comparable, T, S, U any](in *Keyed[K, T], name string, f KeyedFunc[K, T, S, U], finish FinishFunc[K, S, U], opts ...Option) *Stream[U] {
	n := &node{kind: "Process", name: name}
	newState := keyedStateOf[K, T, S](in.in.env, n)
	n.start = func(next []any) (any, operator) {
		p := &processor[K, T, S, U]{keyedState: newState(), key: in.key, f: f, atEnd: finish, out: newOut(join[U](next))}
		return p, p
	}
	return streamOf[U](in.then(n, opts))
}

// processor is Process in one subtask.
type processor[K comparable, T, S, U any] struct {
	*keyedState[K, S]
	key   func(T) K
	f     KeyedFunc[K, T, S, U]
	out   Out[U]
	atEnd FinishFunc[K, S, U] // may be nil
}

func (p *processor[K, T, S, U]) push(ctx context.Context, batch []T) error {
	p.out.ctx = ctx
	for len(batch) > 0 && p.out.err == nil {
		n := min(len(batch), lookAhead)
		keys, hashes := lookUp(p.keyedState, batch[:n], p.key)
		for i, k := range keys {
			v, _ := p.table.Ref(hashes[i], k)
			p.f(k, batch[i], v, &p.out)
			if p.out.err != nil {
				break
			}
		}
		batch = batch[n:]
	}
	return p.out.pass()
}

func (p *processor[K, T, S, U]) drain(ctx context.Context) error {
	p.out.ctx = ctx
	if p.atEnd != nil {
		for k, v := range p.table.All {
			if p.atEnd(k, v, &p.out); p.out.err != nil {
				break
			}
		}
	}
	if err := p.out.pass(); err != nil {
		return err
	}
	return p.forget()
}

// Reduce combines the records of each key to one: f(f(first, second), third) and so on. It emits the
// result so far for each record, or once for each key with FinalOnly.
func Reduce[K comparable, T any](in *Keyed[K, T], f func(T, T) T, opts ...Option) *Stream[T] {
	return fold(in, "Reduce", opts,
		func(_ K, record T, sum *T, first bool) {
			if first {
				*sum = record
			} else {
				*sum = f(*sum, record)
			}
		},
		func(_ K, sum *T) T { return *sum })
}

// KeyValue is a key and what was computed for it.
type KeyValue[K comparable, V any] struct {
	Key   K
	Value V
}

// Count counts the records of each key. It emits the count so far for each record, or once for each key
// with FinalOnly.
func Count[K comparable, T any](in *Keyed[K, T], opts ...Option) *Stream[KeyValue[K, int64]] {
	return fold(in, "Count", opts,
		func(_ K, _ T, n *int64, _ bool) { *n++ },
		func(key K, n *int64) KeyValue[K, int64] { return KeyValue[K, int64]{key, *n} })
}

// Number is what Sum can add.
type Number interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// Sum adds up a number of the records of each key. It emits the sum so far for each record, or once for
// each key with FinalOnly.
func Sum[K comparable, T any, N Number](in *Keyed[K, T], number func(T) N, opts ...Option) *Stream[KeyValue[K, N]] {
	return fold(in, "Sum", opts,
		func(_ K, record T, sum *N, _ bool) { *sum += number(record) },
		func(key K, sum *N) KeyValue[K, N] { return KeyValue[K, N]{key, *sum} })
}

// fold adds an operator that adds records to a value of type S, and emits U made of that.
func fold[K comparable, T, S, U any](in *Keyed[K, T], kind string, opts []Option,
	add func(key K, record T, value *S, first bool), emit func(K, *S) U) *Stream[U] {
	n := &node{kind: kind}
	newState := keyedStateOf[K, T, S](in.in.env, n)
	n.start = func(next []any) (any, operator) {
		f := &folder[K, T, S, U]{keyedState: newState(), key: in.key, add: add, emit: emit, final: n.finalOnly, out: newOut(join[U](next))}
		return f, f
	}
	return streamOf[U](in.then(n, opts))
}

// folder is Reduce, Count or Sum in one subtask.
type folder[K comparable, T, S, U any] struct {
	*keyedState[K, S]
	key   func(T) K
	add   func(K, T, *S, bool)
	emit  func(K, *S) U
	final bool
	out   Out[U]
}

func (f *folder[K, T, S, U]) push(ctx context.Context, batch []T) error {
	f.out.ctx = ctx
	for len(batch) > 0 {
		n := min(len(batch), lookAhead)
		keys, hashes := lookUp(f.keyedState, batch[:n], f.key)
		for i, k := range keys {
			v, found := f.table.Ref(hashes[i], k)
			f.add(k, batch[i], v, !found)
			if !f.final {
				f.out.Emit(f.emit(k, v))
			}
		}
		batch = batch[n:]
	}
	return f.out.pass()
}

func (f *folder[K, T, S, U]) drain(ctx context.Context) error {
	f.out.ctx = ctx
	if f.final {
		for k, v := range f.table.All {
			f.out.Emit(f.emit(k, v))
		}
	}
	if err := f.out.pass(); err != nil {
		return err
	}
	return f.forget()
}

// keyedState is the state of an operator in one subtask: a value for each key. It is the part of an
// operator that all keyed ones have in common.
type keyedState[K comparable, S any] struct {
	stateless
	node    *node
	keys    *codec.Codec[K]
	values  *codec.Codec[S]
	backend *state.Backend
	table   *state.ValueTable[K, S]
	max     int
	// nextKeys and nextHashes are the memory of lookUp.
	nextKeys   []K
	nextHashes [lookAhead]uint64
}

// lookAhead is for how many records the state is fetched into the processor's cache at a time. Otherwise each
// record of a large table would wait for memory; that was half of the cost of a keyed sum.
const lookAhead = 32

// lookUp returns keys and hashes of up to lookAhead records, and has their state fetched.
func lookUp[K comparable, T, S any](s *keyedState[K, S], batch []T, key func(T) K) ([]K, []uint64) {
	if s.nextKeys == nil {
		s.nextKeys = make([]K, lookAhead)
	}
	keys, hashes := s.nextKeys[:len(batch)], s.nextHashes[:len(batch)]
	if s.keys.IsWord() {
		for i := range batch {
			keys[i] = key(batch[i])
			hashes[i] = s.keys.HashWord(&keys[i])
		}
	} else {
		for i := range batch {
			keys[i] = key(batch[i])
			hashes[i] = s.keys.Hash(&keys[i])
		}
	}
	s.table.Prefetch(hashes)
	return keys, hashes
}

// keyedStateOf checks that keys and values can be encoded, and returns what makes the state of a subtask.
func keyedStateOf[K comparable, T, S any](env *Env, n *node) func() *keyedState[K, S] {
	keys, err := codec.For[K]()
	if err != nil {
		keys = nil // KeyBy's exchange reports it
	}
	values, err := codec.For[S]()
	if err != nil {
		env.errorf("%s: the state cannot be encoded: %w", cmp.Or(n.name, n.kind), err)
	}
	return func() *keyedState[K, S] { return &keyedState[K, S]{node: n, keys: keys, values: values} }
}

const stateName = "value"

func (s *keyedState[K, S]) open(ctx context.Context, c *chain) error {
	t := c.task
	s.max = t.Graph.MaxParallelism
	groups := state.RangeOf(t.Attempt.Subtask, t.Vertex.Parallelism, s.max)
	s.backend = state.NewBackend(groups, s.max)
	for _, saved := range c.restored(s.node.uid) {
		for _, k := range saved.Keyed {
			if err := s.restore(ctx, c, k.File, groups); err != nil {
				return err
			}
		}
	}
	var err error
	s.table, err = state.Values(s.backend, stateName, s.keys, s.values)
	return err
}

func (s *keyedState[K, S]) restore(ctx context.Context, c *chain, file string, groups state.KeyGroups) error {
	r, err := c.task.OpenFile(ctx, file)
	if err != nil {
		return fmt.Errorf("restore the state of %s: %w", s.node.uid, err)
	}
	defer r.Close()
	if err := s.backend.Restore(r, groups); err != nil {
		return fmt.Errorf("restore the state of %s from %s: %w", s.node.uid, file, err)
	}
	return nil
}

func (s *keyedState[K, S]) snapshot(context.Context, int64) (worker.OperatorSnapshot, bool, error) {
	g := s.backend.KeyGroups()
	return worker.OperatorSnapshot{UID: s.node.uid, Keyed: s.backend.Snapshot(), First: g.First, Last: g.Last}, true, nil
}

// forget drops the state at the end of the input. A job that restarts from a later checkpoint drains
// again, and must not emit final values a second time.
func (s *keyedState[K, S]) forget() (err error) {
	s.backend = state.NewBackend(s.backend.KeyGroups(), s.max)
	s.table, err = state.Values(s.backend, stateName, s.keys, s.values)
	return err
}

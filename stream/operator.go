package stream

import (
	"context"
	"unsafe"

	"github.com/tamias-project/tamias/pkg/worker"
)

// receiver takes records in batches. It is called on the task's goroutine; it must not keep the batch nor
// change it, because the next receiver may be given the same one.
type receiver[T any] interface {
	push(ctx context.Context, batch []T) error
}

// operator is the life of one operator in one subtask. All methods are called on the task's goroutine.
type operator interface {
	// open makes the operator ready, with what restore holds for it.
	open(ctx context.Context, c *chain) error
	// flush lets go of what was gathered: no input waits.
	flush(ctx context.Context) error
	// drain passes on what is emitted at the end of the input, once those upstream have done so.
	drain(ctx context.Context) error
	// snapshot returns the operator's state; false when it has none.
	snapshot(ctx context.Context, checkpoint int64) (worker.OperatorSnapshot, bool, error)
	// commit makes visible what was prepared up to a checkpoint.
	commit(ctx context.Context, checkpoint int64) error
	// finish prepares and commits the rest.
	finish(ctx context.Context) error
	// close follows open, also when that failed.
	close() error
}

// stateless is an operator that only passes records on.
type stateless struct{}

func (stateless) open(context.Context, *chain) error { return nil }
func (stateless) flush(context.Context) error        { return nil }
func (stateless) drain(context.Context) error        { return nil }
func (stateless) snapshot(context.Context, int64) (worker.OperatorSnapshot, bool, error) {
	return worker.OperatorSnapshot{}, false, nil
}
func (stateless) commit(context.Context, int64) error { return nil }
func (stateless) finish(context.Context) error        { return nil }
func (stateless) close() error                        { return nil }

// batchBytes and maxBatch bound the batches within a chain: a few of them fit into the fastest cache.
const (
	batchBytes = 8 << 10
	maxBatch   = 512
)

// newBatch returns room for one batch.
func newBatch[T any]() []T {
	var zero T
	n := batchBytes / max(1, int(unsafe.Sizeof(zero)))
	return make([]T, min(max(n, 16), maxBatch))
}

// join makes one receiver of those of all operators and exchanges that a stream leads to.
func join[T any](next []any) receiver[T] {
	switch len(next) {
	case 0:
		return nowhere[T]{}
	case 1:
		return next[0].(receiver[T])
	}
	all := make(fork[T], len(next))
	for i, n := range next {
		all[i] = n.(receiver[T])
	}
	return all
}

// nowhere drops records: nothing uses the stream.
type nowhere[T any] struct{}

func (nowhere[T]) push(context.Context, []T) error { return nil }

// fork passes records to several receivers.
type fork[T any] []receiver[T]

func (f fork[T]) push(ctx context.Context, batch []T) error {
	for _, r := range f {
		if err := r.push(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// Map applies f to each record.
func Map[T, U any](in *Stream[T], f func(T) U, opts ...Option) *Stream[U] {
	n := &node{kind: "Map"}
	n.start = func(next []any) (any, operator) {
		m := &mapper[T, U]{f: f, next: join[U](next), out: newBatch[U]()}
		return m, m
	}
	return streamOf[U](in.then(n, opts))
}

type mapper[T, U any] struct {
	stateless
	f    func(T) U
	next receiver[U]
	out  []U
}

func (m *mapper[T, U]) push(ctx context.Context, batch []T) error {
	for len(batch) > 0 {
		n := min(len(batch), len(m.out))
		in, out := batch[:n], m.out[:n]
		for i := range in {
			out[i] = m.f(in[i])
		}
		if err := m.next.push(ctx, out); err != nil {
			return err
		}
		batch = batch[n:]
	}
	return nil
}

// Filter keeps the records for which keep returns true.
func Filter[T any](in *Stream[T], keep func(T) bool, opts ...Option) *Stream[T] {
	n := &node{kind: "Filter"}
	n.start = func(next []any) (any, operator) {
		f := &filter[T]{keep: keep, next: join[T](next), out: newBatch[T]()}
		return f, f
	}
	return streamOf[T](in.then(n, opts))
}

type filter[T any] struct {
	stateless
	keep func(T) bool
	next receiver[T]
	out  []T
}

func (f *filter[T]) push(ctx context.Context, batch []T) error {
	for len(batch) > 0 {
		n := min(len(batch), len(f.out))
		in, out := batch[:n], f.out[:n]
		kept := 0
		for i := range in {
			// Copied first and counted after: no branch that the data could mislead.
			out[kept] = in[i]
			kept += one(f.keep(in[i]))
		}
		if kept > 0 {
			if err := f.next.push(ctx, out[:kept]); err != nil {
				return err
			}
		}
		batch = batch[n:]
	}
	return nil
}

func one(b bool) (n int) {
	if b {
		n = 1
	}
	return n
}

// FlatMap applies f to each record; f emits any number of records to out.
func FlatMap[T, U any](in *Stream[T], f func(record T, out *Out[U]), opts ...Option) *Stream[U] {
	n := &node{kind: "FlatMap"}
	n.start = func(next []any) (any, operator) {
		m := &flatMapper[T, U]{f: f, out: newOut(join[U](next))}
		return m, m
	}
	return streamOf[U](in.then(n, opts))
}

type flatMapper[T, U any] struct {
	stateless
	f   func(T, *Out[U])
	out Out[U]
}

func (m *flatMapper[T, U]) push(ctx context.Context, batch []T) error {
	m.out.ctx = ctx
	for i := range batch {
		m.f(batch[i], &m.out)
		if m.out.err != nil {
			break
		}
	}
	return m.out.pass()
}

// Out is where a function emits records. It is valid only during the call that it was handed to.
type Out[T any] struct {
	batch []T
	n     int
	next  receiver[T]
	ctx   context.Context // of the call that is going on
	err   error
}

func newOut[T any](next receiver[T]) Out[T] {
	return Out[T]{batch: newBatch[T](), next: next, ctx: context.Background()}
}

// Emit passes a record on.
func (o *Out[T]) Emit(record T) {
	o.batch[o.n] = record
	if o.n++; o.n == len(o.batch) {
		o.flush()
	}
}

// Fail fails the task after the present call: the job restarts as its strategy says. Only the first error
// counts.
func (o *Out[T]) Fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

// Context ends when the task is cancelled. A function that waits for something must respect it.
func (o *Out[T]) Context() context.Context { return o.ctx }

func (o *Out[T]) flush() {
	n := o.n
	o.n = 0
	if o.err == nil && n > 0 {
		o.err = o.next.push(o.ctx, o.batch[:n])
	}
}

// pass sends on what has been emitted, and returns the first error.
func (o *Out[T]) pass() error {
	if o.n > 0 {
		o.flush()
	}
	return o.err
}

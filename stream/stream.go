package stream

import (
	"fmt"
	"reflect"

	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/shuffle"
	"github.com/tamias-project/tamias/pkg/state/codec"
)

// Stream is records of type T on their way from an operator to whatever is applied to the stream. A
// stream may be used any number of times; each use sees all records. Flink's DataStream.
type Stream[T any] struct {
	env  *Env
	from []origin // several after Union
}

// origin is an operator whose records are in a stream, and how they are spread over subtasks.
type origin struct {
	node      *node
	partition jobgraph.Partition // empty: not chosen
}

func streamOf[T any](n *node) *Stream[T] {
	return &Stream[T]{env: n.env, from: []origin{{node: n}}}
}

// From adds a source to the job.
func From[T any](env *Env, name string, source Source[T], opts ...Option) *Stream[T] {
	n := &node{kind: "Source", name: name, source: true}
	n.start = func(next []any) (any, operator) {
		return nil, &sourceOperator[T]{node: n, source: source, next: join[T](next)}
	}
	env.add(n, opts)
	env.check(n, source)
	return streamOf[T](n)
}

// Union is all records of several streams, in no particular order between them.
func Union[T any](first *Stream[T], others ...*Stream[T]) *Stream[T] {
	u := &Stream[T]{env: first.env, from: append([]origin(nil), first.from...)}
	for _, s := range others {
		if s.env != first.env {
			first.env.errorf("union of streams of different jobs")
		}
		u.from = append(u.from, s.from...)
	}
	return u
}

// Rebalance spreads the records evenly over the subtasks of the next operator, one after the other.
func Rebalance[T any](in *Stream[T]) *Stream[T] { return in.partitioned(jobgraph.Rebalance) }

// Broadcast sends each record to every subtask of the next operator.
func Broadcast[T any](in *Stream[T]) *Stream[T] { return in.partitioned(jobgraph.Broadcast) }

func (s *Stream[T]) partitioned(p jobgraph.Partition) *Stream[T] {
	out := &Stream[T]{env: s.env}
	for _, o := range s.from {
		out.from = append(out.from, origin{o.node, p})
	}
	return out
}

// Keyed is a stream whose records are spread by a key: all records with equal keys reach the same
// subtask, in the order in which each sending subtask had them. Flink's KeyedStream.
type Keyed[K comparable, T any] struct {
	in  *Stream[T]
	key func(T) K
}

// KeyBy partitions a stream by key. The function must give equal keys for equal records, on every
// machine; it is called twice for each record, before and behind the exchange.
func KeyBy[K comparable, T any](in *Stream[T], key func(T) K) *Keyed[K, T] {
	return &Keyed[K, T]{in: in, key: key}
}

// then adds an operator behind a stream.
func (s *Stream[T]) then(n *node, opts []Option) *node {
	s.env.add(n, opts)
	records, err := recordCodec[T]()
	for _, o := range s.from {
		connect(o, n, &edge{
			partition: o.partition, codec: err,
			writer: func(out *shuffle.Output, p partitioning) any { return newWriter(records, out, p) },
			reader: func(in any) frameReader { return newReader(records, in.(receiver[T])) },
		})
	}
	return n
}

// then adds an operator behind a keyed stream.
func (k *Keyed[K, T]) then(n *node, opts []Option) *node {
	env := k.in.env
	env.add(n, opts)
	records, err := recordCodec[T]()
	keys, keyErr := codec.For[K]()
	if keyErr != nil {
		env.errorf("%s: the key cannot be encoded: %w", n.title(), keyErr)
	}
	for _, o := range k.in.from {
		connect(o, n, &edge{
			partition: jobgraph.Hash, codec: err,
			writer: func(out *shuffle.Output, p partitioning) any { return newHashWriter(records, keys, k.key, out, p) },
			reader: func(in any) frameReader { return newReader(records, in.(receiver[T])) },
		})
	}
	return n
}

// recordCodec is what encodes records at an exchange.
func recordCodec[T any]() (*codec.Codec[T], error) {
	records, err := codec.For[T]()
	if err == nil && records.Empty() {
		err = fmt.Errorf("a %s holds nothing; use a bool", reflect.TypeFor[T]())
	}
	return records, err
}

func connect(o origin, to *node, e *edge) {
	e.from, e.to = o.node, to
	o.node.outputs = append(o.node.outputs, e)
	to.inputs = append(to.inputs, e)
}

package stream

import (
	"context"
	"fmt"

	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/shuffle"
	"github.com/tamias-project/tamias/pkg/state"
	"github.com/tamias-project/tamias/pkg/state/codec"
)

// newReader returns the far end of an exchange: it decodes frames into batches.
func newReader[T any](records *codec.Codec[T], next receiver[T]) frameReader {
	batch := newBatch[T]()
	return func(ctx context.Context, frame []byte) error {
		for len(frame) > 0 {
			n := 0
			for ; n < len(batch) && len(frame) > 0; n++ {
				size, err := records.Decode(frame, &batch[n])
				if err != nil {
					return fmt.Errorf("decode a record from another task: %w", err)
				}
				frame = frame[size:]
			}
			if err := next.push(ctx, batch[:n]); err != nil {
				return err
			}
		}
		return nil
	}
}

// newWriter returns the near end of an exchange that does not look at the records.
func newWriter[T any](records *codec.Codec[T], out *shuffle.Output, p partitioning) receiver[T] {
	w := writer[T]{records: records, out: out}
	switch p.partition {
	case jobgraph.Broadcast:
		return &broadcastWriter[T]{w}
	case jobgraph.Rebalance:
		// Subtasks begin at different consumers, so that few records do not all meet at the first.
		return &rebalanceWriter[T]{writer: w, next: p.subtask % out.Channels()}
	default:
		return &w
	}
}

// writer encodes records for one consumer.
type writer[T any] struct {
	records *codec.Codec[T]
	out     *shuffle.Output
}

func (w *writer[T]) push(ctx context.Context, batch []T) error {
	return w.send(ctx, 0, batch)
}

// send encodes records for one consumer.
func (w *writer[T]) send(ctx context.Context, channel int, batch []T) error {
	f := w.out.Frame(channel)
	for i := range batch {
		f.Data = w.records.Append(f.Data, &batch[i])
		f.Records++
		if len(f.Data) >= shuffle.FrameSize {
			if err := w.out.Flush(ctx, channel); err != nil {
				return err
			}
			f = w.out.Frame(channel)
		}
	}
	return nil
}

type broadcastWriter[T any] struct{ writer[T] }

func (w *broadcastWriter[T]) push(ctx context.Context, batch []T) error {
	for channel := range w.out.Channels() {
		if err := w.send(ctx, channel, batch); err != nil {
			return err
		}
	}
	return nil
}

type rebalanceWriter[T any] struct {
	writer[T]
	next int
}

func (w *rebalanceWriter[T]) push(ctx context.Context, batch []T) error {
	for i := range batch {
		if err := w.send(ctx, w.next, batch[i:i+1]); err != nil {
			return err
		}
		if w.next++; w.next == w.out.Channels() {
			w.next = 0
		}
	}
	return nil
}

// newHashWriter returns the near end of an exchange by key group.
func newHashWriter[K comparable, T any](records *codec.Codec[T], keys *codec.Codec[K], key func(T) K,
	out *shuffle.Output, p partitioning) receiver[T] {
	w := &hashWriter[K, T]{key: key, keys: keys, records: records, out: out, max: p.maxParallelism}
	for group := range p.maxParallelism {
		w.channel = append(w.channel, uint16(state.SubtaskOf(group, out.Channels(), p.maxParallelism)))
	}
	return w
}

// hashWriter sends each record to the subtask that owns the group of its key.
type hashWriter[K comparable, T any] struct {
	key     func(T) K
	keys    *codec.Codec[K]
	records *codec.Codec[T]
	out     *shuffle.Output
	max     int
	channel []uint16 // of each group
}

func (w *hashWriter[K, T]) push(ctx context.Context, batch []T) error {
	for i := range batch {
		k := w.key(batch[i])
		channel := int(w.channel[state.GroupOf(w.keys.Hash(&k), w.max)])
		f := w.out.Frame(channel)
		f.Data = w.records.Append(f.Data, &batch[i])
		f.Records++
		if len(f.Data) >= shuffle.FrameSize {
			if err := w.out.Flush(ctx, channel); err != nil {
				return err
			}
		}
	}
	return nil
}

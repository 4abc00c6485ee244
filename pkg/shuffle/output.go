package shuffle

import (
	"context"
	"fmt"
	"time"
)

// Output is the producer's side of one edge: a frame to fill for each consumer. It belongs to the task's
// goroutine.
type Output struct {
	senders []*Sender
	frames  []*Frame

	// Records and Bytes sent, and Blocked, the time spent waiting for consumers.
	Records, Bytes int64
	Blocked        time.Duration
}

// NewOutput returns an output that sends to these consumers, in order of their subtasks.
func NewOutput(senders []*Sender) *Output {
	return &Output{senders: senders, frames: make([]*Frame, len(senders))}
}

// Channels is the number of consumers.
func (o *Output) Channels() int { return len(o.senders) }

// Frame returns the frame that is being filled for a consumer. The caller appends whole records, counts
// them, and calls Flush when Data has FrameSize bytes or more.
func (o *Output) Frame(channel int) *Frame {
	f := o.frames[channel]
	if f == nil {
		f = newFrame()
		o.frames[channel] = f
	}
	return f
}

// Flush sends a consumer's frame. It waits while the consumer has no room; the error is ctx's, or says
// that the consumer cannot be reached, or that a record is too large.
func (o *Output) Flush(ctx context.Context, channel int) error {
	f := o.frames[channel]
	if f == nil || f.Records == 0 {
		return nil
	}
	if len(f.Data) > maxFrame {
		return fmt.Errorf("a record of about %d MiB cannot be sent to another task: the most is %d MiB", len(f.Data)>>20, maxFrame>>20)
	}
	o.Records += int64(f.Records)
	o.Bytes += int64(len(f.Data))
	o.frames[channel] = nil
	blocked, err := o.senders[channel].send(ctx, f)
	o.Blocked += blocked
	return err
}

// FlushAll sends what has been gathered for all consumers.
func (o *Output) FlushAll(ctx context.Context) error {
	for i := range o.frames {
		if err := o.Flush(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// Barrier sends a barrier to all consumers, behind everything gathered so far. The error is like that of Flush.
func (o *Output) Barrier(ctx context.Context, b Barrier) error {
	return o.event(ctx, Item{Kind: BarrierEvent, Barrier: b})
}

// End tells all consumers that no more records will come. It waits until all of them are there: nothing is sent
// after it that could fail if one cannot be reached, and that one would wait for its end for ever. The error is
// like that of Flush.
func (o *Output) End(ctx context.Context) error {
	for _, s := range o.senders {
		if err := s.accepted(ctx); err != nil {
			return err
		}
	}
	return o.event(ctx, Item{Kind: EndEvent})
}

func (o *Output) event(ctx context.Context, item Item) error {
	if err := o.FlushAll(ctx); err != nil {
		return err
	}
	for _, s := range o.senders {
		if err := s.event(item); err != nil {
			return err
		}
	}
	return nil
}

// Close gives up the channels. Frames that were not flushed are dropped.
func (o *Output) Close() {
	for i, s := range o.senders {
		if f := o.frames[i]; f != nil {
			f.recycle()
			o.frames[i] = nil
		}
		s.close()
	}
}

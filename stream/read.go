package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tamias-project/tamias/pkg/worker"
)

// paced is a Reader that emits at a rate: pace is the time between two records of this reader.
type paced interface{ pace() time.Duration }

// sourceOperator is a source in one subtask.
type sourceOperator[T any] struct {
	stateless
	node   *node
	source Source[T]
	next   receiver[T]
	reader Reader[T]
	batch  []T
	pace   time.Duration
	last   time.Time // when the last records were read
}

func (s *sourceOperator[T]) open(ctx context.Context, c *chain) error {
	s.batch = newBatch[T]()
	task := c.subtask(s.node)
	splits, err := s.splits(ctx, c, task)
	if err != nil {
		return err
	}
	if s.reader, err = s.source.Open(ctx, task, splits); err != nil {
		return fmt.Errorf("open source %s: %w", task.Operator, err)
	}
	if p, ok := s.reader.(paced); ok {
		s.pace = p.pace()
	}
	return nil
}

// splits are those saved for this subtask, or its share of all.
func (s *sourceOperator[T]) splits(ctx context.Context, c *chain, task Subtask) (mine []Split, err error) {
	if c.task.Restore != nil {
		for _, saved := range c.restored(task.UID) {
			splits, err := splitsIn(saved.Raw)
			if err != nil {
				return nil, fmt.Errorf("restore source %s: %w", task.Operator, err)
			}
			mine = append(mine, splits...)
		}
		return mine, nil
	}
	all, err := s.source.Splits(ctx, task.Parallelism)
	if err != nil {
		return nil, fmt.Errorf("list the splits of source %s: %w", task.Operator, err)
	}
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Split) int { return strings.Compare(a.ID, b.ID) })
	for i := task.Index; i < len(all); i += task.Parallelism {
		mine = append(mine, all[i])
	}
	return mine, nil
}

func (s *sourceOperator[T]) poll(ctx, read context.Context) (p worker.Polled, err error) {
	start := time.Now()
	n, err := s.reader.Read(read, s.batch)
	now := time.Now()
	p.Records, p.Reading, p.Dry = n, now.Sub(start), n < len(s.batch)
	if n > 0 {
		if !s.last.IsZero() {
			p.Gap = now.Sub(s.last) - s.pace
		}
		s.last = now
		if err := s.next.push(ctx, s.batch[:n]); err != nil {
			return p, err
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		p.End, err = true, nil
	case errors.Is(err, context.Canceled) && read.Err() != nil && ctx.Err() == nil:
		err = nil // it was told not to wait any longer
	}
	return p, err
}

func (s *sourceOperator[T]) snapshot(context.Context, int64) (o worker.OperatorSnapshot, ok bool, err error) {
	splits, err := s.reader.Snapshot()
	if err != nil {
		return o, false, fmt.Errorf("snapshot of source %s: %w", s.node.name, err)
	}
	return worker.OperatorSnapshot{UID: s.node.uid, Raw: appendSplits(nil, splits)}, true, nil
}

func (s *sourceOperator[T]) close() error {
	if s.reader == nil {
		return nil
	}
	return s.reader.Close()
}

// appendSplits encodes splits: for each, ID and position with their lengths; a position has its length
// plus one, so that nil and empty differ.
func appendSplits(b []byte, splits []Split) []byte {
	for _, s := range splits {
		b = binary.AppendUvarint(b, uint64(len(s.ID)))
		b = append(b, s.ID...)
		if s.Position == nil {
			b = append(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(s.Position))+1)
		b = append(b, s.Position...)
	}
	return b
}

var errSplits = errors.New("saved splits are damaged")

func splitsIn(b []byte) (splits []Split, err error) {
	for len(b) > 0 {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return nil, errSplits
		}
		s := Split{ID: string(b[k:][:n])}
		b = b[k+int(n):]
		n, k = binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k)+1 {
			return nil, errSplits
		}
		b = b[k:]
		if n > 0 {
			s.Position = slices.Clone(b[:n-1])
			b = b[n-1:]
		}
		splits = append(splits, s)
	}
	return splits, nil
}

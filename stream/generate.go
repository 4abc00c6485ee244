package stream

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
)

// Generate is a source of records f(0), f(1), ... f(n-1), or without end if n is 0. With parallelism p,
// subtask s emits f(s), f(s+p), f(s+2p) and so on, in this order. rate is the number of records per second
// of all subtasks together, 0 for no limit. A source that was held up catches up: record k of a subtask is
// due k paces after the subtask has started, whatever happened before. f must be deterministic: after a
// failure it is called again.
func Generate[T any](n int64, rate float64, f func(i int64) T) Source[T] {
	return generator[T]{n: n, rate: rate, f: f}
}

type generator[T any] struct {
	n    int64
	rate float64
	f    func(int64) T
}

// Check implements Checker.
func (g generator[T]) Check() error {
	if g.n < 0 || !(g.rate >= 0 && g.rate <= math.MaxFloat64) {
		return fmt.Errorf("generate %d records at %g per second: neither can be negative, and the rate not infinite", g.n, g.rate)
	}
	return nil
}

// Splits: share s of p holds the numbers s, s+p, s+2p, ...
func (g generator[T]) Splits(_ context.Context, parallelism int) ([]Split, error) {
	splits := make([]Split, parallelism)
	for i := range splits {
		splits[i].ID = fmt.Sprintf("%05d-of-%d", i, parallelism)
	}
	return splits, nil
}

func (g generator[T]) Open(_ context.Context, _ Subtask, splits []Split) (Reader[T], error) {
	r := &generatorReader[T]{n: g.n, f: g.f, begun: time.Now()}
	if r.n == 0 {
		r.n = math.MaxInt64
	}
	total := int64(1)
	for _, s := range splits {
		var sh share
		if _, err := fmt.Sscanf(s.ID, "%d-of-%d", &sh.first, &sh.step); err != nil || sh.step < 1 {
			return nil, fmt.Errorf("split %q is none of a generator", s.ID)
		}
		sh.next = sh.first
		if s.Position != nil {
			next, k := binary.Varint(s.Position)
			if k <= 0 {
				return nil, fmt.Errorf("position of split %q is damaged", s.ID)
			}
			sh.next = next
		}
		total = sh.step
		if sh.next < r.n {
			r.shares = append(r.shares, sh)
		}
	}
	if g.rate > 0 && len(r.shares) > 0 {
		r.rate = g.rate * float64(len(r.shares)) / float64(total)
	}
	return r, nil
}

// share is a row of numbers first, first+step, ...
type share struct{ first, step, next int64 }

// generatorReader reads one share, or several in turn after the parallelism was lowered.
type generatorReader[T any] struct {
	n       int64
	f       func(int64) T
	shares  []share
	turn    int
	rate    float64 // of this reader, per second; 0 for no limit
	begun   time.Time
	emitted int64
}

func (r *generatorReader[T]) pace() time.Duration {
	if r.rate == 0 {
		return 0
	}
	return time.Duration(float64(time.Second) / r.rate)
}

func (r *generatorReader[T]) Read(ctx context.Context, records []T) (int, error) {
	if len(r.shares) == 0 {
		return 0, io.EOF
	}
	if r.rate > 0 {
		due, err := r.due(ctx)
		if err != nil {
			return 0, err
		}
		records = records[:min(int64(len(records)), due)]
	}
	filled := 0
	for filled < len(records) && len(r.shares) > 0 {
		if len(r.shares) == 1 {
			filled += r.fill(records[filled:])
		} else {
			filled += r.fill(records[filled : filled+1])
			r.turn++
		}
	}
	r.emitted += int64(filled)
	return filled, nil
}

// fill reads from the share whose turn it is, and drops it at its end.
func (r *generatorReader[T]) fill(records []T) int {
	if r.turn >= len(r.shares) {
		r.turn = 0
	}
	s := &r.shares[r.turn]
	left := (r.n-s.next-1)/s.step + 1 // at least 1; written so that nothing overflows in an endless share
	records = records[:min(int64(len(records)), left)]
	i := s.next
	for k := range records {
		records[k] = r.f(i)
		i += s.step
	}
	s.next = i
	if int64(len(records)) == left {
		r.shares = append(r.shares[:r.turn], r.shares[r.turn+1:]...)
		r.turn--
	}
	return len(records)
}

// due waits until at least one record is due and returns how many are.
func (r *generatorReader[T]) due(ctx context.Context) (int64, error) {
	for {
		due := int64(time.Since(r.begun).Seconds()*r.rate) + 1 - r.emitted
		if due > 0 {
			return due, nil
		}
		next := r.begun.Add(time.Duration(float64(r.emitted) / r.rate * float64(time.Second)))
		timer := time.NewTimer(max(time.Until(next), time.Microsecond))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return 0, ctx.Err()
		}
	}
}

func (r *generatorReader[T]) Snapshot() ([]Split, error) {
	splits := make([]Split, len(r.shares))
	for i, s := range r.shares {
		splits[i] = Split{
			ID:       fmt.Sprintf("%05d-of-%s", s.first, strconv.FormatInt(s.step, 10)),
			Position: binary.AppendVarint(nil, s.next),
		}
	}
	return splits, nil
}

func (r *generatorReader[T]) Close() error { return nil }

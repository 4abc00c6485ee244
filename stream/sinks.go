package stream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
)

// Print writes each record as a line to standard output, in the format %v. With several subtasks, lines
// begin with the subtask's number as in "2> ". On a cluster, standard output goes to a file in the
// TaskManager's log directory.
func Print[T any](in *Stream[T], opts ...Option) {
	To(in, "Print to Std. Out", printer[T]{os.Stdout}, opts...)
}

type printer[T any] struct{ to io.Writer }

func (p printer[T]) Open(_ context.Context, task Subtask, _ []Prepared) (Writer[T], error) {
	w := &printWriter[T]{to: p.to}
	if task.Parallelism > 1 {
		w.prefix = fmt.Sprintf("%d> ", task.Index+1)
	}
	return w, nil
}

type printWriter[T any] struct {
	to     io.Writer
	prefix string
	lines  bytes.Buffer
}

// printing keeps apart what all subtasks of the process write.
var printing sync.Mutex

// Write prints a batch as a whole, so that lines of several subtasks do not mix.
func (w *printWriter[T]) Write(_ context.Context, records []T) error {
	w.lines.Reset()
	for i := range records {
		fmt.Fprintf(&w.lines, "%s%v\n", w.prefix, records[i])
	}
	printing.Lock()
	defer printing.Unlock()
	_, err := w.to.Write(w.lines.Bytes())
	return err
}

func (w *printWriter[T]) Close() error { return nil }

// Discard drops each record.
func Discard[T any](in *Stream[T], opts ...Option) {
	To(in, "Discard", discard[T]{}, opts...)
}

type discard[T any] struct{}

func (d discard[T]) Open(context.Context, Subtask, []Prepared) (Writer[T], error) { return d, nil }
func (discard[T]) Write(context.Context, []T) error                               { return nil }
func (discard[T]) Close() error                                                   { return nil }

// ForEach is a sink that calls f for each record, on the goroutines of the subtasks. After a failure
// records come again.
func ForEach[T any](f func(record T)) Sink[T] { return forEach[T]{f} }

type forEach[T any] struct{ f func(T) }

func (s forEach[T]) Open(context.Context, Subtask, []Prepared) (Writer[T], error) { return s, nil }

func (s forEach[T]) Write(ctx context.Context, records []T) error {
	for i := range records {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.f(records[i])
	}
	return nil
}

func (s forEach[T]) Close() error { return nil }

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tamias-project/tamias/stream"
)

// totals is a result: how many records and the sum of their terms, modulo 2^64.
type totals struct{ n, sum uint64 }

// totalSink adds up a term of each record. Its totals are part of checkpoints, and are written to a file
// for each subtask when the job ends.
type totalSink[T any] struct {
	dir  string
	term func(T) uint64
}

// TwoPhase marks the sink.
func (s totalSink[T]) TwoPhase() {}

func (s totalSink[T]) Open(_ context.Context, task stream.Subtask, restored []stream.Prepared) (stream.Writer[T], error) {
	w := &totalWriter[T]{term: s.term, file: filepath.Join(s.dir, fmt.Sprintf("total-%d", task.Index))}
	for _, p := range restored {
		if len(p.State) != 16 {
			return nil, fmt.Errorf("saved totals have %d bytes", len(p.State))
		}
		w.total.n += binary.LittleEndian.Uint64(p.State)
		w.total.sum += binary.LittleEndian.Uint64(p.State[8:])
	}
	return w, nil
}

type totalWriter[T any] struct {
	term  func(T) uint64
	file  string
	total totals
}

func (w *totalWriter[T]) Write(_ context.Context, records []T) error {
	var sum uint64
	for i := range records {
		sum += w.term(records[i])
	}
	w.total.n += uint64(len(records))
	w.total.sum += sum
	return nil
}

func (w *totalWriter[T]) PreCommit(context.Context, int64) ([]byte, error) {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, w.total.n), w.total.sum), nil
}

// Commit writes the file at the end; earlier commits make nothing visible.
func (w *totalWriter[T]) Commit(_ context.Context, checkpoint int64) error {
	if checkpoint != stream.FinalCheckpoint {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(w.file), 0o777); err != nil {
		return err
	}
	return os.WriteFile(w.file, fmt.Appendf(nil, "%d %d\n", w.total.n, w.total.sum), 0o666)
}

func (w *totalWriter[T]) Close() error { return nil }

// readTotals adds up the files of all subtasks.
func readTotals(dir string) (all totals, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return all, err
	}
	found := false
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "total-") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return all, err
		}
		var t totals
		if _, err := fmt.Sscan(string(data), &t.n, &t.sum); err != nil {
			return all, fmt.Errorf("%s: %w", e.Name(), err)
		}
		all.n += t.n
		all.sum += t.sum
		found = true
	}
	if !found {
		return all, fmt.Errorf("no result in %s", dir)
	}
	return all, nil
}

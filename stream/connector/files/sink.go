package files

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/stream"
)

// Option is a setting of Sink.
type Option func(*settings)

type settings struct {
	roll   int64
	suffix string
	fs     filesystem.Resolver
}

// RollSize begins a new file when one has reached that many bytes. Files also end at each checkpoint.
// Default 128 MiB.
func RollSize(bytes int64) Option { return func(s *settings) { s.roll = bytes } }

// Suffix is appended to the names of files, as ".csv".
func Suffix(suffix string) Option { return func(s *settings) { s.suffix = suffix } }

// Sink writes each record exactly once to files in a directory. encode appends a record to dst, with its line
// end if it is to have one, and must not keep dst.
//
// Each subtask writes part files of its own. While a file grows, and until the checkpoint that covers it has
// been completed, its name begins with a dot and ends in ".inprogress"; then it is renamed to
// part-SUBTASK-RUN-ATTEMPT-NUMBER and never changes again. RUN is the same for all files of this sink in one
// job, so several jobs may write to one directory. Files of failed attempts are deleted when the subtask
// starts again, or when the job ends, unless it keeps its checkpoints or ends while the TaskManager that ran the
// subtask is gone. Without checkpoints all files appear at the end of a bounded job, and never in an unbounded one.
// Flink's FileSink.
func Sink[T any](dir string, encode func(record T, dst []byte) []byte, opts ...Option) stream.TwoPhaseSink[T] {
	s := settings{roll: 128 << 20, fs: filesystem.NewResolver()}
	for _, o := range opts {
		o(&s)
	}
	return sink[T]{settings: s, dir: dir, encode: encode}
}

// Line encodes strings as lines, for Sink.
func Line(s string, dst []byte) []byte { return append(append(dst, s...), '\n') }

type sink[T any] struct {
	settings
	dir    string
	encode func(T, []byte) []byte
}

func (sink[T]) TwoPhase() {}

// Check implements stream.Checker.
func (s sink[T]) Check() error {
	if s.roll < 1 {
		return fmt.Errorf("files roll at %d bytes: it must be at least 1", s.roll)
	}
	return s.fs.Check(s.dir)
}

// Open commits what the checkpoint had prepared, and deletes what failed attempts have left.
func (s sink[T]) Open(ctx context.Context, task stream.Subtask, restored []stream.Prepared) (stream.Writer[T], error) {
	fs, err := filesOf(s.fs, s.dir)
	if err != nil {
		return nil, err
	}
	w := &writer[T]{sink: s, ctx: ctx, fs: fs, task: task, run: fmt.Sprintf("%016x", xxh3.HashString(task.JobID+"/"+task.UID))}
	for _, p := range restored {
		var pending []prepared
		if err := json.Unmarshal(p.State, &pending); err != nil {
			return nil, fmt.Errorf("what subtask %d had prepared for checkpoint %d: %w", p.Subtask, p.Checkpoint, err)
		}
		w.pending = append(w.pending, pending...)
	}
	if err := w.Commit(ctx, stream.FinalCheckpoint); err != nil {
		return nil, err
	}
	if err := w.sweep(ctx); err != nil {
		return nil, err
	}
	return w, nil
}

// prepared is a file that waits for its checkpoint to complete.
type prepared struct {
	Checkpoint int64  `json:"checkpoint"`
	From       string `json:"from"`
	To         string `json:"to"`
}

// writeBuffer is how much is gathered for one write.
const writeBuffer = 64 << 10

// writer is the sink in one subtask.
type writer[T any] struct {
	sink[T]
	ctx     context.Context // of the task: its files are opened with it
	fs      filesystem.Files
	task    stream.Subtask
	run     string
	pending []prepared
	// file is the one being written, nil before the first record. current is its place among pending; its
	// checkpoint is not known yet.
	file    filesystem.File
	current prepared
	rolled  []prepared // full files of the same checkpoint
	size    int64      // of file
	number  int        // of files begun
	buf     []byte     // not written to file yet
}

func (w *writer[T]) Write(ctx context.Context, records []T) error {
	for i := range records {
		if w.file == nil {
			if err := w.begin(); err != nil {
				return err
			}
		}
		w.buf = w.encode(records[i], w.buf)
		if len(w.buf) >= writeBuffer || w.size+int64(len(w.buf)) >= w.roll {
			if err := w.write(); err != nil {
				return err
			}
			if w.size >= w.roll {
				if err := w.end(); err != nil {
					return err
				}
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin opens the next file.
func (w *writer[T]) begin() error {
	name := fmt.Sprintf("part-%05d-%s-%04d-%06d%s", w.task.Index, w.run, w.task.Attempt, w.number, w.suffix)
	w.current = prepared{From: w.hidden(name), To: filesystem.Join(w.dir, name)}
	f, err := w.fs.OpenWriter(w.ctx, w.current.From)
	if err != nil {
		return err
	}
	w.number++
	w.file, w.size = f, 0
	return nil
}

const inProgress = ".inprogress"

func (w *writer[T]) hidden(name string) string { return filesystem.Join(w.dir, "."+name+inProgress) }

// write hands over what was gathered.
func (w *writer[T]) write() error {
	if _, err := w.file.Write(w.buf); err != nil {
		return fmt.Errorf("write %s: %w", w.current.From, err)
	}
	w.size += int64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

// end makes the open file durable and puts it with those of the next checkpoint. After an error there will be none,
// and Close deletes it.
func (w *writer[T]) end() error {
	f := w.file
	w.file, w.rolled = nil, append(w.rolled, w.current)
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", w.current.From, err)
	}
	return nil
}

// PreCommit makes all files durable. What is pending comes in the order of checkpoints.
func (w *writer[T]) PreCommit(_ context.Context, checkpoint int64) ([]byte, error) {
	if w.file != nil {
		if err := w.write(); err != nil {
			return nil, err
		}
		if err := w.end(); err != nil {
			return nil, err
		}
	}
	for _, p := range w.rolled {
		p.Checkpoint = checkpoint
		w.pending = append(w.pending, p)
	}
	w.rolled = nil
	if len(w.pending) == 0 {
		return nil, nil
	}
	return json.Marshal(w.pending)
}

// Commit renames the files of all checkpoints up to this one, in their order: a reader that sees a file sees
// all earlier ones of that subtask.
func (w *writer[T]) Commit(ctx context.Context, checkpoint int64) error {
	for len(w.pending) > 0 && w.pending[0].Checkpoint <= checkpoint {
		if err := w.show(ctx, w.pending[0]); err != nil {
			return err
		}
		w.pending = w.pending[1:]
	}
	return nil
}

func (w *writer[T]) show(ctx context.Context, p prepared) error {
	err := w.fs.Rename(ctx, p.From, p.To)
	if !errors.Is(err, filesystem.ErrNotFound) {
		return err
	}
	// Committed before, if the checkpoint is restored or the commit is repeated after an error.
	if _, statErr := w.fs.Stat(ctx, p.To); statErr != nil {
		return fmt.Errorf("files of checkpoint %d are gone: %w", p.Checkpoint, errors.Join(err, statErr))
	}
	return nil
}

// sweep deletes hidden files of earlier attempts of this subtask, and of subtasks that no longer exist and
// whose state comes to this one. Everything that a checkpoint covers has been committed by now. An attempt that
// still runs somewhere, cut off from its JobMaster, can then no longer show its files.
func (w *writer[T]) sweep(ctx context.Context) error {
	names, err := w.fs.List(ctx, w.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		index, attempt, ok := w.parse(name)
		if !ok {
			continue // of another job, or of nobody we know
		}
		mine := index == w.task.Index && attempt < w.task.Attempt
		orphaned := index >= w.task.Parallelism && index%w.task.Parallelism == w.task.Index
		if !mine && !orphaned {
			continue
		}
		if err := w.fs.Delete(ctx, filesystem.Join(w.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// parse returns the subtask and the attempt that a hidden file of this sink is of.
func (w *writer[T]) parse(name string) (index, attempt int, ok bool) {
	name, ok = strings.CutSuffix(name, w.suffix+inProgress)
	parts := strings.Split(name, "-")
	if !ok || len(parts) != 5 || parts[0] != ".part" || parts[2] != w.run {
		return 0, 0, false
	}
	index, err := strconv.Atoi(parts[1])
	attempt, err2 := strconv.Atoi(parts[3])
	return index, attempt, err == nil && err2 == nil
}

// Discard deletes what was prepared and is not committed.
func (w *writer[T]) Discard(ctx context.Context) error {
	var err error
	for _, p := range w.pending {
		err = errors.Join(err, w.fs.Delete(ctx, p.From))
	}
	w.pending = nil
	return err
}

// Close deletes what no checkpoint covers. What was prepared stays: its checkpoint may be complete without
// this task having heard of it.
func (w *writer[T]) Close() error {
	ctx := context.WithoutCancel(w.ctx)
	var err error
	if w.file != nil {
		err = w.file.Close()
		w.file = nil
		w.rolled = append(w.rolled, w.current)
	}
	for _, p := range w.rolled {
		err = errors.Join(err, w.fs.Delete(ctx, p.From))
	}
	w.rolled = nil
	return err
}

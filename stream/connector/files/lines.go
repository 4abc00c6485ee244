// Package files reads text files and writes results to files. Lines and ByteLines are bounded, exactly
// replayable sources; Sink is an exactly-once sink that shows its files when checkpoints complete. Paths are
// absolute paths or URIs of a scheme that pkg/filesystem knows; all machines of a cluster must see the same
// files there.
package files

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"unsafe"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/stream"
)

// Lines is a source of the lines of text files, without their ends (LF or CR LF). A path names a file, a
// directory, which stands for all files below it, or a pattern with * ? [ ] in any of its parts; files whose
// names begin with a dot or underscore are read only when they are named in full. The files must not change
// while the job exists, and must not be compressed. Large files are read by several subtasks at once. A line may have up to 64 MiB; the
// order of lines is kept only within stretches of a file.
func Lines(paths ...string) stream.Source[string] {
	return source[string]{paths: paths, fs: filesystem.NewResolver(), copies: true, convert: func() func([]byte) string {
		return new(stringBlocks).line
	}}
}

// ByteLines is Lines without copying: a line is valid only until the source is asked for more, that is during
// the call of the functions that are chained to the source. They must not keep it, nor parts of it.
func ByteLines(paths ...string) stream.Source[[]byte] {
	return source[[]byte]{paths: paths, fs: filesystem.NewResolver(), convert: func() func([]byte) []byte {
		return func(line []byte) []byte { return line }
	}}
}

type source[T any] struct {
	paths []string
	fs    filesystem.Resolver
	// convert makes the function that makes records of lines.
	convert func() func(line []byte) T
	// copies: records made by convert do not need the line any more.
	copies bool
}

// Check implements stream.Checker.
func (s source[T]) Check() error {
	if len(s.paths) == 0 {
		return errors.New("no path to read from")
	}
	for _, p := range s.paths {
		if err := s.fs.Check(p); err != nil {
			return err
		}
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}

// stretch is a part of a file: the lines that begin in it.
type stretch struct {
	File string `json:"file"`
	From int64  `json:"from"`
	To   int64  `json:"to"`
	// Aligned: a line begins at From. Otherwise what is there belongs to the stretch before.
	Aligned bool `json:"aligned,omitempty"`
}

const (
	// splitBytes is about how large splits are; there are at most splitsPerSubtask for each subtask.
	splitBytes       = 4 << 20
	splitsPerSubtask = 16
)

// Splits cuts the files, laid end to end, into equal parts, as many for each subtask.
func (s source[T]) Splits(ctx context.Context, parallelism int) ([]stream.Split, error) {
	files, err := find(ctx, s.fs, s.paths)
	if err != nil {
		return nil, err
	}
	var total int64
	for _, f := range files {
		total += f.size
	}
	n := int64(parallelism) * min(max(total/splitBytes/int64(parallelism), 1), splitsPerSubtask)
	splits := make([]stream.Split, n)
	for i := range splits {
		from, to := part(total, int64(i), n), part(total, int64(i)+1, n)
		position, err := json.Marshal(cut(files, from, to))
		if err != nil {
			return nil, err
		}
		splits[i] = stream.Split{ID: fmt.Sprintf("%06d-of-%d", i, n), Position: position}
	}
	return splits, nil
}

// part is i/n of total, without overflow.
func part(total, i, n int64) int64 { return total/n*i + total%n*i/n }

// cut returns the bytes from..to of all files laid end to end.
func cut(files []file, from, to int64) []stretch {
	stretches := []stretch{}
	var begin int64
	for _, f := range files {
		a, b := max(from-begin, 0), min(to-begin, f.size)
		if a < b {
			stretches = append(stretches, stretch{File: f.path, From: a, To: b, Aligned: a == 0})
		}
		begin += f.size
	}
	return stretches
}

// Open returns a reader of the splits, one after the other.
func (s source[T]) Open(ctx context.Context, _ stream.Subtask, splits []stream.Split) (stream.Reader[T], error) {
	r := &reader[T]{convert: s.convert(), copies: s.copies}
	for _, split := range splits {
		p := progress{id: split.ID}
		if err := json.Unmarshal(split.Position, &p.left); err != nil {
			return nil, fmt.Errorf("position of split %q: %w", split.ID, err)
		}
		r.splits = append(r.splits, p)
	}
	r.lines.open = func(path string, offset int64) (io.ReadCloser, error) {
		fs, err := filesOf(s.fs, path)
		if err != nil {
			return nil, err
		}
		return fs.OpenAt(ctx, path, offset)
	}
	return r, nil
}

// progress is what is left of a split.
type progress struct {
	id   string
	left []stretch
}

// reader reads the stretches of its splits in order.
type reader[T any] struct {
	splits  []progress // the first stretch of the first is open, if lines has a file
	lines   lineReader
	convert func([]byte) T
	copies  bool
}

func (r *reader[T]) Read(ctx context.Context, records []T) (n int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	for size := 0; n < len(records) && size < batchBytes; n++ {
		line, err := r.next(n > 0 && !r.copies)
		switch {
		case errors.Is(err, errWouldMove):
			return n, nil
		case err != nil: // io.EOF too
			return n, err
		}
		records[n] = r.convert(line)
		size += len(line)
	}
	return n, nil
}

// errWouldMove: lines that were returned before would lose their memory.
var errWouldMove = errors.New("files: buffer is used up")

// next returns the next line. With keep it fails rather than touch the memory of earlier lines.
func (r *reader[T]) next(keep bool) ([]byte, error) {
	for {
		for len(r.splits) > 0 && len(r.splits[0].left) == 0 {
			r.splits = r.splits[1:]
		}
		if len(r.splits) == 0 {
			return nil, io.EOF
		}
		current := &r.splits[0].left[0]
		if r.lines.file == nil {
			if keep {
				return nil, errWouldMove
			}
			if err := r.lines.begin(*current); err != nil {
				return nil, err
			}
		}
		line, err := r.lines.next(keep)
		if err == nil {
			current.From, current.Aligned = r.lines.offset, true
			return line, nil
		}
		if !errors.Is(err, io.EOF) {
			return nil, err
		}
		r.splits[0].left = r.splits[0].left[1:]
		if err := r.lines.end(); err != nil {
			return nil, err
		}
	}
}

func (r *reader[T]) Snapshot() ([]stream.Split, error) {
	var splits []stream.Split
	for _, p := range r.splits {
		if len(p.left) == 0 {
			continue
		}
		position, err := json.Marshal(p.left)
		if err != nil {
			return nil, err
		}
		splits = append(splits, stream.Split{ID: p.id, Position: position})
	}
	return splits, nil
}

func (r *reader[T]) Close() error { return r.lines.end() }

// stringBlocks makes strings that share blocks of memory, small enough that a kept string does not keep
// much else.
type stringBlocks struct{ free []byte }

const (
	stringBlock = 1 << 10
	longString  = stringBlock / 4
)

func (b *stringBlocks) line(line []byte) string {
	if len(line) == 0 || len(line) > longString {
		return string(line)
	}
	if len(line) > cap(b.free)-len(b.free) {
		b.free = make([]byte, 0, stringBlock)
	}
	start := len(b.free)
	b.free = append(b.free, line...)
	return unsafe.String(&b.free[start], len(line))
}

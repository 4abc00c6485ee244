package filesystem

import (
	"bytes"
	"context"
	"io"
	"time"
)

// Files is a FileSystem with real files: they can be looked at, read from the middle, written piece by
// piece and renamed. File sources and exactly-once file sinks need it. Local and Memory are Files.
type Files interface {
	FileSystem
	// Stat describes a file or directory: ErrNotFound.
	Stat(ctx context.Context, path string) (Info, error)
	// OpenAt reads a file from a byte offset on; past the end it reads nothing. ErrNotFound.
	OpenAt(ctx context.Context, path string, offset int64) (io.ReadCloser, error)
	// OpenWriter begins a new file that is seen under its name at once and grows as it is written:
	// ErrExists if the name is taken.
	OpenWriter(ctx context.Context, path string) (File, error)
	// Rename gives a file another name, atomically and durably. It never overwrites: ErrExists if to is
	// taken, ErrNotFound if there is no from. One case is repaired: when both names are the same file, left
	// by a crash in the middle of a Rename, from is removed and Rename succeeds.
	Rename(ctx context.Context, from, to string) error
}

// File is a file being written. One goroutine at a time uses it.
type File interface {
	io.Writer
	// Sync makes all that was written, and the file's name, survive a power cut.
	Sync() error
	// Close releases the file; what was not synced may be lost in a power cut.
	Close() error
}

// Info is what Stat tells.
type Info struct {
	// Size in bytes; 0 for a directory.
	Size int64
	// Dir: this is a directory.
	Dir bool
	// Modified is when the content last changed.
	Modified time.Time
}

// Content makes an input for Create of a function that writes. Create of this package's file systems runs
// write directly on the file, so nothing is buffered or copied in between. An error of write fails Create.
func Content(write func(io.Writer) error) io.Reader { return &content{write: write} }

type content struct {
	write func(io.Writer) error
	rest  *bytes.Buffer // all of it, for callers that only know Read
}

// WriteTo is what io.Copy prefers to Read.
func (c *content) WriteTo(w io.Writer) (int64, error) {
	counted := countingWriter{w: w}
	err := c.write(&counted)
	return counted.n, err
}

func (c *content) Read(p []byte) (int, error) {
	if c.rest == nil {
		c.rest = new(bytes.Buffer)
		if err := c.write(c.rest); err != nil {
			return 0, err
		}
	}
	return c.rest.Read(p)
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// contextWriter fails writes once ctx has ended.
type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c contextWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}

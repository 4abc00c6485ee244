// Package filesystem is where checkpoints, job graphs, blobs and sink files live: file URIs now, others
// behind the same interface. Callers use it on any goroutine. A file written through Create is either
// there whole and durable or not there: it is written under a temporary name, synced, renamed, and its
// directories synced.
package filesystem

import (
	"context"
	"errors"
	"io"
)

var (
	// ErrNotFound: no such file or directory.
	ErrNotFound = errors.New("filesystem: not found")
	// ErrExists: Create of a name that is taken. Nothing was changed.
	ErrExists = errors.New("filesystem: exists already")
)

// FileSystem is one scheme's storage. Paths are URIs of that scheme (file:///dir/x) or plain absolute
// paths for files.
type FileSystem interface {
	// Create writes a new file from r, durably, or leaves nothing. It never overwrites: ErrExists.
	Create(ctx context.Context, path string, r io.Reader) error
	// Open reads a file: ErrNotFound.
	Open(ctx context.Context, path string) (io.ReadCloser, error)
	// Delete removes a file or a directory with all below it. What is not there is deleted already.
	Delete(ctx context.Context, path string) error
	// List returns the names in a directory, sorted; none if it is not there.
	List(ctx context.Context, path string) ([]string, error)
}

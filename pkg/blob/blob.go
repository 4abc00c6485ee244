// Package blob carries job binaries from the JobManagers to the TaskManagers. A blob belongs to one job
// and is named by the lower-case hex SHA-256 of its content, so a copy that hashes to its name is the
// blob, whoever sent it.
//
// Server runs in every JobManager and hands out what lies in the HA services' blob store. Cache runs in
// every TaskManager: it fetches a binary once, checks it, and keeps it as an executable file until the
// job is released. Both may be used on any goroutine.
package blob

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
)

var (
	// ErrNotFound: neither the store nor the blob server has the blob. The job's master must upload it again.
	ErrNotFound = errors.New("blob: not found")
	// ErrCorrupt: the content does not hash to the blob's key. Fetch it again.
	ErrCorrupt = errors.New("blob: content does not match its key")
)

// Store is where blobs lie durably: haservices.BlobStore. A blob that is not there is reported as an
// error that wraps filesystem.ErrNotFound.
type Store interface {
	Open(ctx context.Context, job id.Job, key string) (io.ReadCloser, error)
}

// checkKey refuses what is not a SHA-256 in hex: keys become file names and URLs.
func checkKey(key string) error {
	if b, err := hex.DecodeString(key); err != nil || len(b) != 32 {
		return fmt.Errorf("blob key %q: expected the 64 hex digits of a SHA-256", key)
	}
	return nil
}

// isNotFound reports whether a store's error means that there is no such blob.
func isNotFound(err error) bool {
	return errors.Is(err, ErrNotFound) || errors.Is(err, filesystem.ErrNotFound) || errors.Is(err, fs.ErrNotExist)
}

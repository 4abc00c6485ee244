package fstest

import (
	"context"

	"github.com/tamias-project/tamias/pkg/filesystem"
)

// SlowDeletes is a FileSystem whose deletions wait until Go is closed. With a nil Go they do not wait.
type SlowDeletes struct {
	filesystem.FileSystem
	Go <-chan struct{}
}

// Delete deletes when it may, or fails with ctx's error.
func (s SlowDeletes) Delete(ctx context.Context, path string) error {
	if s.Go != nil {
		select {
		case <-s.Go:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.FileSystem.Delete(ctx, path)
}

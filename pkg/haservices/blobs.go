package haservices

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
)

// BlobStore holds the binaries of jobs: with a StorageDir where every process reaches them, else at this
// process. It is not fenced: a blob is named after its content and nothing refers to it before the job
// graph does. Flink's BlobStore.
type BlobStore struct {
	files filesystem.FileSystem
	root  string
}

func (s *BlobStore) dir(job id.Job) string { return filesystem.Join(s.root, "job_"+job.String()) }

// Put stores what r gives, durably. key is the SHA-256 of the content in hex: other content is an error
// and nothing is stored. What is there already stays.
func (s *BlobStore) Put(ctx context.Context, job id.Job, key string, r io.Reader) error {
	if b, err := hex.DecodeString(key); err != nil || len(b) != sha256.Size {
		return fmt.Errorf("blob key %q: expected the 64 hex digits of a SHA-256", key)
	}
	content := &checkedReader{r: r, sum: sha256.New(), want: key}
	err := s.files.Create(ctx, filesystem.Join(s.dir(job), key), content)
	if err != nil && !errors.Is(err, filesystem.ErrExists) {
		return fmt.Errorf("store blob %s of job %s: %w", key, job, err)
	}
	return nil
}

// Open reads a blob. An error that wraps filesystem.ErrNotFound says that it is not there.
func (s *BlobStore) Open(ctx context.Context, job id.Job, key string) (io.ReadCloser, error) {
	r, err := s.files.Open(ctx, filesystem.Join(s.dir(job), key))
	if err != nil {
		return nil, fmt.Errorf("open blob %s of job %s: %w", key, job, err)
	}
	return r, nil
}

// DeleteJob removes all blobs of a job. Idempotent.
func (s *BlobStore) DeleteJob(ctx context.Context, job id.Job) error {
	if err := s.files.Delete(ctx, s.dir(job)); err != nil {
		return fmt.Errorf("delete blobs of job %s: %w", job, err)
	}
	return nil
}

// checkedReader ends with an error instead of io.EOF when the content does not hash to want.
type checkedReader struct {
	r    io.Reader
	sum  hash.Hash
	want string
}

func (c *checkedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.sum.Write(p[:n])
	if err == io.EOF {
		if got := hex.EncodeToString(c.sum.Sum(nil)); got != c.want {
			return n, fmt.Errorf("content has SHA-256 %s", got)
		}
	}
	return n, err
}

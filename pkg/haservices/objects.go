package haservices

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
)

// ErrUnreadable: a node or the file that it points to is damaged or missing. Retrying does not help; an
// operator must look at it. What else is stored is not affected.
var ErrUnreadable = errors.New("ha: stored object cannot be read")

// pointer is the part that all nodes with a file share.
type pointer struct {
	// File is the whole path or URI.
	File   string `json:"file,omitempty"`
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	// Epoch of the leader that wrote it.
	Epoch   uint64    `json:"epoch"`
	Written time.Time `json:"written"`
}

// objects are the files that nodes point to. A file is written once, under a name that is never used
// again, and is complete before a node points to it.
type objects struct {
	files filesystem.FileSystem
	root  string
	log   *zap.Logger
}

// jobDir holds the files of one job, in which dispatchers and job masters of many terms write.
func (o objects) jobDir(job id.Job) string { return filesystem.Join(o.root, jobNodes, job.String()) }

func (o objects) resultDir() string { return filesystem.Join(o.root, jobResultNodes) }

// fileName is <base>-e<epoch>-<random>.json.
func fileName(base string, epoch uint64) string {
	var b [8]byte
	rand.Read(b[:])
	return fmt.Sprintf("%s-e%d-%x.json", base, epoch, b)
}

// parseFileName is the inverse of fileName; ok is false for names of other origin.
func parseFileName(name string) (base string, epoch uint64, ok bool) {
	rest, isJSON := strings.CutSuffix(name, ".json")
	rest, random, found := cutLast(rest, "-")
	base, number, found2 := cutLast(rest, "-e")
	epoch, err := strconv.ParseUint(number, 10, 64)
	return base, epoch, isJSON && found && found2 && err == nil && len(random) == 16
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// write makes a new file in dir.
func (o objects) write(ctx context.Context, dir, base string, token id.FencingToken, data []byte) (pointer, error) {
	name := filesystem.Join(dir, fileName(base, token.Epoch()))
	if err := o.files.Create(ctx, name, bytes.NewReader(data)); err != nil {
		return pointer{}, fmt.Errorf("write %s: %w", name, err)
	}
	return describe(name, token, data), nil
}

func describe(file string, token id.FencingToken, data []byte) pointer {
	sum := sha256.Sum256(data)
	return pointer{File: file, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), Epoch: token.Epoch(), Written: time.Now().UTC()}
}

// discard deletes a file that no node points to. Failing leaves an orphan for the sweeper.
func (o objects) discard(ctx context.Context, file string) {
	if file == "" {
		return
	}
	if err := o.files.Delete(context.WithoutCancel(ctx), file); err != nil {
		o.log.Warn("orphaned file stays for now", zap.String("file", path.Base(file)), zap.Error(err))
	}
}

// load reads the file of p into v, which is a pointer to a JSON value.
func load(ctx context.Context, files filesystem.FileSystem, p pointer, v any) error {
	data, err := readFile(ctx, files, p.File)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	if int64(len(data)) != p.Size || hex.EncodeToString(sum[:]) != p.SHA256 {
		return fmt.Errorf("%w: %s has %d bytes, SHA-256 %x; its node says %d bytes, SHA-256 %s",
			ErrUnreadable, p.File, len(data), sum, p.Size, p.SHA256)
	}
	return recordError(p.File, DecodeRecord(data, v))
}

func readFile(ctx context.Context, files filesystem.FileSystem, name string) ([]byte, error) {
	r, err := files.Open(ctx, name)
	if err != nil {
		return nil, fileError(ctx, name, err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fileError(ctx, name, err)
	}
	return data, nil
}

// fileError is ErrUnreadable, but not ErrNotFound, which is about nodes; nor for a ctx that ended.
func fileError(ctx context.Context, name string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %s: %w", ErrUnreadable, name, err)
}

// decodeNode reads a node's record: ErrUnreadable or ErrNewerFormat.
func decodeNode(path string, n Node, v any) error {
	return recordError("node "+path, DecodeRecord(n.Data, v))
}

// recordError says which record could not be decoded. One of a newer build is not damaged.
func recordError(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNewerFormat):
		return fmt.Errorf("%s: %w", name, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnreadable, name, err)
}

// follow reads a node into v and then, by f, the file that it points to. A file that is gone while the
// node has changed was replaced between the two reads: follow then reads again.
func (s *Services) follow(ctx context.Context, path string, v any, f func() error) error {
	n, err := s.read(ctx, path)
	for err == nil {
		if err := decodeNode(path, n, v); err != nil {
			return err
		}
		loadErr := f()
		if !errors.Is(loadErr, ErrUnreadable) {
			return loadErr
		}
		before := n
		if n, err = s.read(ctx, path); err == nil && bytes.Equal(n.Data, before.Data) {
			return loadErr
		}
	}
	return err
}

// encode is EncodeRecord, for records of our own.
func encode(v any) []byte { return EncodeRecord(v) }

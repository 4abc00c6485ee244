package filesystem

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// tempPrefix and tempSuffix enclose the names of files that Create has not finished. List leaves them out.
const (
	tempPrefix = ".tmp-"
	tempSuffix = ".creating"
)

// Local is the file system of this machine, or what is mounted in it. It takes file:///dir/x, file:/dir/x
// and absolute paths; the path is taken as it stands, without percent-decoding. Who may read new files and
// directories is the umask's business.
type Local struct {
	// named makes Create and Rename do without what only Linux has.
	named       bool
	directories directories
}

var _ Files = (*Local)(nil)

// NewLocal returns the file system of this machine.
func NewLocal() *Local { return &Local{} }

// LocalPath is the plain path of a file: URI or absolute path.
func LocalPath(uri string) (string, error) {
	path := uri
	if len(uri) >= 5 && strings.EqualFold(uri[:5], "file:") {
		path = uri[5:]
		if rest, ok := strings.CutPrefix(path, "//"); ok {
			path = strings.TrimPrefix(rest, "localhost")
		}
	}
	switch {
	case Scheme(uri) != "file":
		return "", fmt.Errorf("filesystem: %s is not a file: URI", uri)
	case !filepath.IsAbs(path):
		return "", fmt.Errorf("filesystem: %s: want an absolute path, as /dir/x or file:///dir/x", uri)
	}
	return filepath.Clean(path), nil
}

// Create writes a new file, see FileSystem. When it fails after the file got its name (the directory
// could not be synced), the file stays and the error says so: the caller does not know the outcome.
func (l *Local) Create(ctx context.Context, uri string, r io.Reader) error {
	path, err := l.begin(ctx, uri)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("create %s: %w", uri, ErrExists) // spares the writing; the link below decides
	}
	dir := filepath.Dir(path)
	if err := l.directories.make(dir); err != nil {
		return fmt.Errorf("create %s: %w", uri, err)
	}
	if err := l.writeAndLink(ctx, path, r); err != nil {
		return fmt.Errorf("create %s: %w", uri, translate(err))
	}
	if err := SyncDirectory(dir); err != nil {
		return fmt.Errorf("create %s: the file is there but may not survive a power cut: %w", uri, err)
	}
	return nil
}

func (l *Local) writeAndLink(ctx context.Context, path string, r io.Reader) error {
	f, link, err := l.openTemporary(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(contextWriter{ctx, f}, r); err != nil {
		return errors.Join(err, f.Close(), link.discard())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close(), link.discard())
	}
	// Linking fails if the name is taken, where renaming would overwrite.
	err = link.publish()
	return errors.Join(err, f.Close(), link.discard())
}

// temporary is a file that has been written but does not have its name yet.
type temporary struct {
	publish func() error // gives it its name
	discard func() error // takes the temporary name away, if it has one
}

func (l *Local) openTemporary(path string) (*os.File, temporary, error) {
	if !l.named {
		if f, link, ok := openUnnamed(path); ok {
			return f, link, nil
		}
	}
	name := filepath.Join(filepath.Dir(path), tempPrefix+rand.Text()+tempSuffix)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	return f, temporary{
		publish: func() error { return os.Link(name, path) },
		discard: func() error { return os.Remove(name) },
	}, err
}

// Open reads a file, see FileSystem.
func (l *Local) Open(ctx context.Context, uri string) (io.ReadCloser, error) {
	return l.OpenAt(ctx, uri, 0)
}

// OpenAt reads a file from an offset on, see Files.
func (l *Local) OpenAt(ctx context.Context, uri string, offset int64) (io.ReadCloser, error) {
	path, err := l.begin(ctx, uri)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", uri, translate(err))
	}
	if info, err := f.Stat(); err != nil || info.IsDir() {
		_ = f.Close()
		return nil, fmt.Errorf("open %s: %w", uri, errors.Join(err, errIf(err == nil, "is a directory")))
	}
	if offset != 0 {
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("open %s at %d: %w", uri, offset, err)
		}
	}
	return f, nil
}

// Delete removes a file or directory, see FileSystem. The name is gone durably when it returns.
func (l *Local) Delete(ctx context.Context, uri string) error {
	path, err := l.begin(ctx, uri)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); errors.Is(translate(err), ErrNotFound) {
		return nil
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("delete %s: %w", uri, err)
	}
	// The directory itself may have been deleted meanwhile: then there is nothing left to make durable.
	if err := SyncDirectory(filepath.Dir(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete %s: %w", uri, err)
	}
	return nil
}

// List returns the names in a directory, see FileSystem.
func (l *Local) List(ctx context.Context, uri string) ([]string, error) {
	path, err := l.begin(ctx, uri)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(path)
	if errors.Is(translate(err), ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", uri, err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, tempPrefix) || !strings.HasSuffix(name, tempSuffix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Stat describes a file or directory, see Files.
func (l *Local) Stat(ctx context.Context, uri string) (Info, error) {
	path, err := l.begin(ctx, uri)
	if err != nil {
		return Info{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return Info{}, fmt.Errorf("stat %s: %w", uri, translate(err))
	}
	if info.IsDir() {
		return Info{Dir: true, Modified: info.ModTime()}, nil
	}
	return Info{Size: info.Size(), Modified: info.ModTime()}, nil
}

// OpenWriter begins a new file, see Files.
func (l *Local) OpenWriter(ctx context.Context, uri string) (File, error) {
	path, err := l.begin(ctx, uri)
	if err != nil {
		return nil, err
	}
	if err := l.directories.make(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("open %s for writing: %w", uri, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, fmt.Errorf("open %s for writing: %w", uri, translate(err))
	}
	return &localFile{File: f}, nil
}

type localFile struct {
	*os.File
	named bool // its name has been synced
}

func (f *localFile) Sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	if f.named {
		return nil
	}
	err := SyncDirectory(filepath.Dir(f.Name()))
	f.named = err == nil
	return err
}

// Rename gives a file another name, see Files. The directory of to is made if it is missing.
func (l *Local) Rename(ctx context.Context, fromURI, toURI string) error {
	from, err := l.begin(ctx, fromURI)
	if err != nil {
		return err
	}
	to, err := LocalPath(toURI)
	if err != nil {
		return err
	}
	if err := l.rename(from, to); err != nil {
		return fmt.Errorf("rename %s to %s: %w", fromURI, toURI, translate(err))
	}
	return nil
}

func (l *Local) rename(from, to string) error {
	source, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if source.IsDir() {
		return errors.New("is a directory")
	}
	if err := l.directories.make(filepath.Dir(to)); err != nil {
		return err
	}
	if err := l.move(from, to, source); err != nil {
		return err
	}
	if err := SyncDirectory(filepath.Dir(to)); err != nil || filepath.Dir(from) == filepath.Dir(to) {
		return err
	}
	return SyncDirectory(filepath.Dir(from))
}

// move renames without overwriting: in one step where the system can do that, else by a second name, after
// which the first one goes.
func (l *Local) move(from, to string, source fs.FileInfo) error {
	if !l.named {
		if err := renameExclusively(from, to); err == nil || !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := os.Link(from, to); err != nil {
		target, statErr := os.Lstat(to)
		if !errors.Is(err, fs.ErrExist) || statErr != nil || !os.SameFile(source, target) || from == to {
			return err
		}
	}
	if err := SyncDirectory(filepath.Dir(to)); err != nil {
		return err
	}
	return os.Remove(from)
}

func (l *Local) begin(ctx context.Context, uri string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return LocalPath(uri)
}

// translate gives errors of the operating system their names in this package.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w (%w)", ErrNotFound, err)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w (%w)", ErrExists, err)
	}
	return err
}

func errIf(condition bool, text string) error {
	if condition {
		return errors.New(text)
	}
	return nil
}

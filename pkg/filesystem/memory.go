package filesystem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory is a file system in this process, for tests and simulations. It takes absolute paths and URIs
// of any scheme, and looks at the path alone. It never blocks, so it works inside testing/synctest.
type Memory struct {
	mu    sync.Mutex // guards all below and the content of all files; held for one operation
	files map[string]*memoryFile
	dirs  map[string]bool // all that were ever needed; a deleted one is gone
	hook  func(Operation) error
	count int
}

var _ Files = (*Memory)(nil)

// memoryFile is a file; after Rename it has another name but is the same file.
type memoryFile struct {
	data     []byte
	synced   int  // bytes that a crash leaves
	durable  bool // the name survives a crash
	modified time.Time
}

// NewMemory returns an empty file system.
func NewMemory() *Memory {
	return &Memory{files: map[string]*memoryFile{}, dirs: map[string]bool{"/": true}}
}

// Operation is what a hook is asked about.
type Operation struct {
	// N counts the operations of this file system from 1.
	N int
	// Name is that of the method: Create, Open, Delete, List, Stat, OpenWriter, Rename; or Write, Sync and
	// Close of a File. OpenAt counts as Open.
	Name string
	// Path is the plain path.
	Path string
}

// Hook makes f be asked before each operation: an error of f is that operation's, and nothing happens;
// an error made by Applied comes after the operation has been carried out. f must not use the file
// system. A nil f ends it.
func (m *Memory) Hook(f func(Operation) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = f
}

// FailNth is a hook that fails the nth operation from now on (from 1) and no other.
func FailNth(n int, err error) func(Operation) error {
	return func(Operation) error {
		n--
		if n == 0 {
			return err
		}
		return nil
	}
}

// Applied is the error of an operation that was carried out although it failed for the caller, as when
// an answer is lost.
func Applied(err error) error { return appliedError{err} }

type appliedError struct{ error }

func (e appliedError) Unwrap() error { return e.error }

// Crash is a power cut: what was not synced is lost. Open files fail from now on only in that they are
// gone from the directory, as after a restart.
func (m *Memory) Crash() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, f := range m.files {
		if !f.durable {
			delete(m.files, name)
			continue
		}
		m.files[name] = &memoryFile{data: slices.Clone(f.data[:f.synced]), synced: f.synced, durable: true, modified: f.modified}
	}
}

// Files returns the paths of all files, sorted.
func (m *Memory) Files() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make([]string, 0, len(m.files))
	for name := range m.files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// do runs one operation under the lock, with the hook.
func (m *Memory) do(ctx context.Context, name, uri string, f func(p string) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := memoryPath(uri)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count++
	var after error
	if m.hook != nil {
		if err := m.hook(Operation{N: m.count, Name: name, Path: p}); err != nil {
			if applied := (appliedError{}); !errors.As(err, &applied) {
				return fmt.Errorf("%s %s: %w", strings.ToLower(name), uri, err)
			}
			after = err
		}
	}
	if err := errors.Join(f(p), after); err != nil {
		return fmt.Errorf("%s %s: %w", strings.ToLower(name), uri, err)
	}
	return nil
}

func memoryPath(uri string) (string, error) {
	p := uri
	if !strings.HasPrefix(p, "/") {
		_, rest, found := strings.Cut(p, ":")
		if !found {
			return "", fmt.Errorf("filesystem: %s: want an absolute path or a URI", uri)
		}
		if p = rest; strings.HasPrefix(rest, "//") {
			_, p, _ = strings.Cut(rest[2:], "/")
		}
	}
	return path.Clean("/" + p), nil
}

// Create writes a new file, see FileSystem.
func (m *Memory) Create(ctx context.Context, uri string, r io.Reader) error {
	var data bytes.Buffer // outside the lock: r may take its time
	if _, err := io.Copy(contextWriter{ctx, &data}, r); err != nil {
		return fmt.Errorf("create %s: %w", uri, err)
	}
	return m.do(ctx, "Create", uri, func(p string) error {
		return m.add(p, &memoryFile{data: data.Bytes(), synced: data.Len(), durable: true, modified: time.Now()})
	})
}

func (m *Memory) add(p string, f *memoryFile) error {
	if m.files[p] != nil || m.dirs[p] {
		return ErrExists
	}
	if err := m.makeDirectories(path.Dir(p)); err != nil {
		return err
	}
	m.files[p] = f
	return nil
}

func (m *Memory) makeDirectories(dir string) error {
	for d := dir; !m.dirs[d]; d = path.Dir(d) {
		if m.files[d] != nil {
			return fmt.Errorf("%s is not a directory", d)
		}
	}
	for d := dir; !m.dirs[d]; d = path.Dir(d) {
		m.dirs[d] = true
	}
	return nil
}

// Open reads a file, see FileSystem. The reader sees the content as it is now.
func (m *Memory) Open(ctx context.Context, uri string) (io.ReadCloser, error) {
	return m.OpenAt(ctx, uri, 0)
}

// OpenAt reads a file from an offset on, see Files.
func (m *Memory) OpenAt(ctx context.Context, uri string, offset int64) (io.ReadCloser, error) {
	var r io.ReadCloser
	err := m.do(ctx, "Open", uri, func(p string) error {
		f := m.files[p]
		switch {
		case m.dirs[p]:
			return errors.New("is a directory")
		case f == nil:
			return ErrNotFound
		case offset < 0:
			return fmt.Errorf("negative offset %d", offset)
		}
		// Appending later writes behind what this slice shows.
		r = io.NopCloser(bytes.NewReader(f.data[min(offset, int64(len(f.data))):]))
		return nil
	})
	return r, err
}

// Delete removes a file or directory, see FileSystem.
func (m *Memory) Delete(ctx context.Context, uri string) error {
	return m.do(ctx, "Delete", uri, func(p string) error {
		below := strings.TrimSuffix(p, "/") + "/"
		for name := range m.files {
			if name == p || strings.HasPrefix(name, below) {
				delete(m.files, name)
			}
		}
		for name := range m.dirs {
			if name != "/" && (name == p || strings.HasPrefix(name, below)) {
				delete(m.dirs, name)
			}
		}
		return nil
	})
}

// List returns the names in a directory, see FileSystem.
func (m *Memory) List(ctx context.Context, uri string) ([]string, error) {
	var names []string
	err := m.do(ctx, "List", uri, func(p string) error {
		if m.files[p] != nil {
			return errors.New("is not a directory")
		}
		for name := range m.files {
			if path.Dir(name) == p {
				names = append(names, path.Base(name))
			}
		}
		for name := range m.dirs {
			if path.Dir(name) == p && name != p {
				names = append(names, path.Base(name))
			}
		}
		slices.Sort(names)
		return nil
	})
	return names, err
}

// Stat describes a file or directory, see Files.
func (m *Memory) Stat(ctx context.Context, uri string) (Info, error) {
	var info Info
	err := m.do(ctx, "Stat", uri, func(p string) error {
		switch f := m.files[p]; {
		case f != nil:
			info = Info{Size: int64(len(f.data)), Modified: f.modified}
		case m.dirs[p]:
			info = Info{Dir: true}
		default:
			return ErrNotFound
		}
		return nil
	})
	return info, err
}

// OpenWriter begins a new file, see Files.
func (m *Memory) OpenWriter(ctx context.Context, uri string) (File, error) {
	w := &memoryWriter{m: m, uri: uri, file: &memoryFile{modified: time.Now()}}
	if err := m.do(ctx, "OpenWriter", uri, func(p string) error { return m.add(p, w.file) }); err != nil {
		return nil, err
	}
	return w, nil
}

// Rename gives a file another name, see Files.
func (m *Memory) Rename(ctx context.Context, from, to string) error {
	target, err := memoryPath(to)
	if err != nil {
		return err
	}
	return m.do(ctx, "Rename", from, func(p string) error {
		f := m.files[p]
		switch {
		case f == nil && m.dirs[p]:
			return errors.New("is a directory")
		case f == nil:
			return ErrNotFound
		}
		if err := m.add(target, f); err != nil {
			return fmt.Errorf("to %s: %w", to, err)
		}
		delete(m.files, p)
		f.durable = true
		return nil
	})
}

// memoryWriter appends to a file, whatever its name is by now.
type memoryWriter struct {
	m      *Memory
	uri    string
	file   *memoryFile
	closed bool
}

var errClosed = errors.New("filesystem: file already closed")

func (w *memoryWriter) do(name string, f func()) error {
	return w.m.do(context.Background(), name, w.uri, func(string) error {
		if w.closed {
			return errClosed
		}
		f()
		return nil
	})
}

func (w *memoryWriter) Write(p []byte) (int, error) {
	err := w.do("Write", func() {
		w.file.data = append(w.file.data, p...)
		w.file.modified = time.Now()
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *memoryWriter) Sync() error {
	return w.do("Sync", func() { w.file.synced, w.file.durable = len(w.file.data), true })
}

func (w *memoryWriter) Close() error {
	return w.do("Close", func() { w.closed = true })
}

package files

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/tamias-project/tamias/pkg/filesystem"
)

// file is one to be read.
type file struct {
	path string
	size int64
}

// filesOf returns the file system of a path, which must have real files.
func filesOf(r filesystem.Resolver, path string) (filesystem.Files, error) {
	fs, err := r.For(path)
	if err != nil {
		return nil, err
	}
	files, ok := fs.(filesystem.Files)
	if !ok {
		return nil, fmt.Errorf("%s: the file system cannot read files in parts or rename them", path)
	}
	return files, nil
}

// find lists all files that paths stand for, each once, in the order of their names.
func find(ctx context.Context, r filesystem.Resolver, paths []string) ([]file, error) {
	var all []file
	for _, p := range paths {
		fs, err := filesOf(r, p)
		if err != nil {
			return nil, err
		}
		w := walk{ctx: ctx, fs: fs}
		if strings.ContainsAny(p, "*?[") {
			root, pattern := splitPattern(p)
			err = w.match(root, pattern)
		} else {
			err = w.add(p)
		}
		if err != nil {
			return nil, fmt.Errorf("find the files of %s: %w", p, err)
		}
		if len(w.found) == 0 && strings.ContainsAny(p, "*?[") {
			return nil, fmt.Errorf("no file matches %s", p)
		}
		all = append(all, w.found...)
	}
	slices.SortFunc(all, func(a, b file) int { return cmp.Compare(a.path, b.path) })
	return slices.CompactFunc(all, func(a, b file) bool { return a.path == b.path }), nil
}

// splitPattern cuts a path before the first part with a pattern in it.
func splitPattern(p string) (root string, pattern []string) {
	at := strings.LastIndexByte(p[:strings.IndexAny(p, "*?[")], '/') + 1
	return p[:at], strings.Split(p[at:], "/")
}

// compressed files would be read as lines of noise.
var compressed = []string{".bz2", ".gz", ".lz4", ".xz", ".zip", ".zst"}

type walk struct {
	ctx   context.Context
	fs    filesystem.Files
	found []file
}

// add adds a file, or all files below a directory.
func (w *walk) add(p string) error {
	info, err := w.fs.Stat(w.ctx, p)
	if err != nil {
		return err
	}
	if !info.Dir && slices.Contains(compressed, path.Ext(p)) {
		return fmt.Errorf("%s is compressed, by its name: decompress it first", p)
	}
	if !info.Dir {
		w.found = append(w.found, file{p, info.Size})
		return nil
	}
	names, err := w.fs.List(w.ctx, p)
	if err != nil {
		return err
	}
	for _, name := range names {
		if isHidden(name) {
			continue
		}
		if err := w.add(filesystem.Join(p, name)); err != nil {
			return err
		}
	}
	return nil
}

// match adds what matches the parts of a pattern below a directory.
func (w *walk) match(dir string, pattern []string) error {
	if len(pattern) == 0 {
		return w.add(dir)
	}
	if info, err := w.fs.Stat(w.ctx, dir); err != nil || !info.Dir {
		return err
	}
	names, err := w.fs.List(w.ctx, dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		matches, err := path.Match(pattern[0], name)
		if err != nil {
			return err
		}
		if !matches || isHidden(name) && !isHidden(pattern[0]) {
			continue
		}
		if err := w.match(filesystem.Join(dir, name), pattern[1:]); err != nil {
			return err
		}
	}
	return nil
}

func isHidden(name string) bool { return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") }

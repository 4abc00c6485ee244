package entrypoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// workingDirectory holds a process's temporary files. Its owner holds a lock on it, so that what a killed
// process left behind can be told from what is in use, and is removed by the next process.
type workingDirectory struct {
	path   string
	prefix string
	lock   *os.File
}

const lockName = ".lock"

// newWorkingDirectory makes <first of dirs>/<prefix><random> and removes leftovers beside it.
func newWorkingDirectory(dirs []string, prefix string) (*workingDirectory, error) {
	if len(dirs) == 0 {
		return nil, errors.New("io.tmp.dirs is empty")
	}
	if err := os.MkdirAll(dirs[0], 0o755); err != nil {
		return nil, err
	}
	removeLeftovers(dirs[0], prefix)
	// The lock is taken under a name that no sweep looks at, so that no directory without lock is ever seen.
	path, err := os.MkdirTemp(dirs[0], "."+prefix)
	if err != nil {
		return nil, err
	}
	lock, err := lockDirectory(path, os.O_CREATE)
	if err != nil {
		return nil, err
	}
	visible := filepath.Join(dirs[0], strings.TrimPrefix(filepath.Base(path), "."))
	if err := os.Rename(path, visible); err != nil {
		lock.Close()
		return nil, err
	}
	return &workingDirectory{path: visible, prefix: prefix, lock: lock}, nil
}

// remove deletes the directory, and leftovers beside it: the last process that stops leaves nothing. A nil
// directory is removed already.
func (d *workingDirectory) remove() error {
	if d == nil {
		return nil
	}
	defer d.lock.Close()
	removeLeftovers(filepath.Dir(d.path), d.prefix)
	return removeDirectory(d.path)
}

// lockDirectory locks a directory for this process; the kernel unlocks it when the process ends. The lock
// file is made if flags have os.O_CREATE.
func lockDirectory(dir string, flags int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

// removeDirectory deletes a directory whose lock this process holds. The lock file goes last: a directory
// without one is empty, and whoever finds it may remove it.
func removeDirectory(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.Name() != lockName {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	for _, path := range []string{filepath.Join(dir, lockName), dir} {
		if err != nil {
			return err
		}
		if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return err
}

// removeLeftovers deletes directories whose owner has died. It does what it can: a directory that
// cannot be removed is in nobody's way. Other processes may be doing the same.
func removeLeftovers(parent, prefix string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, prefix+"*"))
	for _, dir := range dirs {
		lock, err := lockDirectory(dir, 0)
		switch {
		case err == nil:
			_ = removeDirectory(dir)
			lock.Close()
		case errors.Is(err, fs.ErrNotExist): // being removed, or almost: its owner died at it
			_ = os.Remove(dir)
		}
	}
}

package filesystem

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// directories makes directories whose names survive a power cut. One that is there already may have been made by a
// process that died before it could see to that, or that is still at it; so for each directory it sees to it itself,
// once.
type directories struct {
	// sync makes the names in a directory durable; nil is SyncDirectory.
	sync func(dir string) error

	mu      sync.Mutex // guards durable, and is held while a directory is made: others find it made
	durable map[string]os.FileInfo
}

// keptDirectories bounds for how many directories is remembered that their names are durable: each checkpoint has
// one of its own.
const keptDirectories = 1000

// make makes dir and what is missing above it, and makes each name durable.
func (d *directories) make(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.makeOne(dir)
}

func (d *directories) makeOne(dir string) error {
	info, err := os.Stat(dir)
	there, parent := err == nil, filepath.Dir(dir)
	switch {
	case there && !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case there && (parent == dir || os.SameFile(info, d.durable[dir])):
		return nil
	}
	if parent != dir {
		if err := d.makeOne(parent); err != nil {
			return err
		}
	}
	if !there {
		if err := os.Mkdir(dir, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if info, err = os.Stat(dir); err != nil {
			return err
		}
	}
	sync := d.sync
	if sync == nil {
		sync = SyncDirectory
	}
	if err := sync(parent); err != nil && !(there && IsForeign(err)) {
		return err
	}
	if d.durable == nil || len(d.durable) >= keptDirectories {
		d.durable = map[string]os.FileInfo{}
	}
	d.durable[dir] = info
	return nil
}

// IsForeign reports whether an error of SyncDirectory is that of a directory which is not ours to sync, like those above a home: nobody
// who runs as this user has made what is in it.
func IsForeign(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EINVAL)
}

// SyncDirectory makes the names in a local directory durable.
func SyncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

package nodes

import (
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tamias-project/tamias/pkg/filesystem"
)

// directories makes the directories of a tree. A file in them is durable only if each name above it is, and a
// directory that is there already may have been made by a process that died before it could see to that. So whoever
// writes sees to it again, unless it knows that nothing has changed since it did.
type directories struct {
	root string
	// sync makes the names in a directory durable.
	sync func(dir string) error

	mu      sync.Mutex // guards settled
	settled map[string]*names

	rootMu      sync.Mutex // guards rootSettled, and is held until it is true
	rootSettled bool
}

// names are those in one directory.
type names struct {
	mu sync.Mutex // held while they are synced: who comes meanwhile waits instead of doing the same
	// durable are all names, as long as the directory has this time of modification.
	durable time.Time
}

const (
	// keptNames bounds for how many directories is remembered that they need no sync.
	keptNames = 10000
	// restless is for how long after a modification another one may leave the same time behind, as the clocks of
	// file systems are coarse.
	restless = time.Second
)

func newDirectories(root string) *directories {
	return &directories{root: root, sync: filesystem.SyncDirectory, settled: map[string]*names{}}
}

// settle makes the name of a directory below the root durable, and those above it.
func (d *directories) settle(dir string) error {
	for ; dir != d.root && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if err := d.settleNames(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return d.settleRoot()
}

// settleRoot makes the name of the root durable, and those above it, as far as they are this user's to sync. Once is
// enough: nobody takes them away under a cluster.
func (d *directories) settleRoot() error {
	d.rootMu.Lock()
	defer d.rootMu.Unlock()
	for dir := d.root; !d.rootSettled && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		err := d.sync(filepath.Dir(dir))
		if filesystem.IsForeign(err) {
			break
		}
		if err != nil {
			return err
		}
	}
	d.rootSettled = true
	return nil
}

// settleNames makes the names in a directory durable.
func (d *directories) settleNames(dir string) error {
	n := d.names(dir)
	n.mu.Lock()
	defer n.mu.Unlock()
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.ModTime().Equal(n.durable) {
		return nil
	}
	quiet := time.Since(info.ModTime()) > restless
	if err := d.sync(dir); err != nil {
		return err
	}
	if quiet {
		n.durable = info.ModTime()
	}
	return nil
}

func (d *directories) names(dir string) *names {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.settled[dir]
	if n == nil {
		if len(d.settled) >= keptNames {
			clear(d.settled)
		}
		n = &names{}
		d.settled[dir] = n
	}
	return n
}

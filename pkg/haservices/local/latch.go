package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/internal/nodes"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// latch is the directory of one component's lock.
type latch struct {
	tree *nodes.Tree
	dir  string
}

func (d *Driver) latch(c haservices.Component) latch {
	return latch{d.tree, d.tree.File("leaderlatch/" + c.Path())}
}

// holder is what the leader writes about itself beside its lock: whom its successors watch.
type holder struct {
	haservices.Contender
	Epoch uint64        `json:"epoch"`
	Since time.Time     `json:"since"`
	Owner nodes.Process `json:"os-process"`
	// How it came to lead: see haservices.Succession.
	Predecessor *haservices.Contender     `json:"predecessor,omitempty"`
	Reason      protocol.SuccessionReason `json:"reason,omitempty"`
	LastHeard   time.Time                 `json:"last-heard,omitzero"`
	Detected    time.Time                 `json:"detected,omitzero"`
}

var (
	errHeld = errors.New("lock is held")
	errGone = errors.New("lock's directory is being deleted")
)

func (l latch) lockFile() string   { return filepath.Join(l.dir, "lock") }
func (l latch) epochFile() string  { return filepath.Join(l.dir, "epoch") }
func (l latch) holderFile() string { return filepath.Join(l.dir, "holder") }

// try takes the lock or returns errHeld. The lock lasts as long as the file is open; the kernel closes it
// with the process, and no child inherits it (close-on-exec, as for every file that package os opens).
func (l latch) try() (*os.File, error) {
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make lock: %w", err)
	}
	f, err := os.OpenFile(l.lockFile(), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	for errors.Is(err, unix.EINTR) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		f.Close()
		return nil, errHeld
	case err != nil:
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", l.lockFile(), err)
	case !l.current(f):
		f.Close()
		return nil, errGone
	}
	return f, nil
}

// current reports whether f is still the file under the lock's name: one that was deleted locks nothing.
func (l latch) current(f *os.File) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(l.lockFile())
	return err == nil && os.SameFile(mine, named)
}

// raise makes the epoch one higher, durably. Its caller holds the lock.
func (l latch) raise(lock *os.File) (uint64, error) {
	epoch, err := l.epoch()
	if err != nil {
		return 0, err
	}
	epoch++
	if err := l.tree.SettleDirectory(l.dir); err != nil {
		return 0, err
	}
	err = l.tree.ReplaceIn(l.epochFile(), fmt.Appendf(nil, "%d\n", epoch), true)
	if err == nil && !l.current(lock) {
		err = errGone
	}
	return epoch, err
}

// epoch reads the epoch, 0 before the first.
func (l latch) epoch() (uint64, error) {
	data, err := os.ReadFile(l.epochFile())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", haservices.ErrUnavailable, err)
	}
	epoch, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 48)
	if err != nil {
		return 0, fmt.Errorf("%s is damaged: %w", l.epochFile(), err)
	}
	return epoch, nil
}

// describe writes who holds the lock. A power cut ends the holder too, so this needs no disk.
func (l latch) describe(h holder) error {
	return l.tree.ReplaceIn(l.holderFile(), nodes.Readable(haservices.EncodeRecord(h)), false)
}

// holder reads who holds the lock; nil when it does not say.
func (l latch) holder() *holder {
	data, err := os.ReadFile(l.holderFile())
	if err != nil {
		return nil
	}
	var h holder
	if haservices.DecodeRecord(data, &h) != nil {
		return nil
	}
	return &h
}

// release gives the lock up and lets the waiting know. They see the directory change only once the lock
// is free.
func (l latch) release(lock *os.File) {
	if l.current(lock) {
		os.Remove(l.holderFile())
	}
	lock.Close()
	now := time.Now()
	_ = os.Chtimes(l.lockFile(), now, now)
}

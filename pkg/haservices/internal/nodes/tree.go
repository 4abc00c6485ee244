package nodes

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
)

// temporaryDir is where files are made before they get their name, and where deleted ones go before they
// are gone. Its files are named after the process that works on them.
const temporaryDir = ".tmp"

// Tree is a tree of nodes as files: a node is a file with the node's data and nothing else, so that an
// operator can read it, and its parents are directories. A node with data has no children. A version is
// a hash of the data: an unchanged node keeps it, and a node that was changed back has it again.
//
// Every change is one rename, so a crash at any instant leaves each node whole, old or new. Changes of
// different nodes may be made at the same time; two of the same node must not be, which is what the
// leader lock of its component is for.
type Tree struct {
	root        string
	self        Process
	directories *directories
}

// NewTree opens the tree below a directory, which is made if it is not there, and removes what processes
// that have ended since left unfinished.
func NewTree(root string) (*Tree, error) {
	t := &Tree{root: root, self: Self(), directories: newDirectories(root)}
	if err := os.MkdirAll(filepath.Join(root, temporaryDir), 0o755); err != nil {
		return nil, fmt.Errorf("open HA nodes: %w", err)
	}
	if err := t.RemoveUnfinished(); err != nil {
		return nil, fmt.Errorf("open HA nodes: %w", err)
	}
	return t, nil
}

// RemoveUnfinished deletes the temporary files of processes that have ended. Backends do that in the end
// too, so that the last process that stops leaves nothing of one that was killed.
func (t *Tree) RemoveUnfinished() error {
	names, err := os.ReadDir(filepath.Join(t.root, temporaryDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = nil
	for _, name := range names {
		if owner, ok := parseTemporary(name.Name()); ok && !owner.Alive() {
			err = errors.Join(err, os.RemoveAll(filepath.Join(t.root, temporaryDir, name.Name())))
		}
	}
	return err
}

// File is the file of a node, for those who need more than nodes can do.
func (t *Tree) File(path string) string { return filepath.Join(t.root, filepath.FromSlash(path)) }

func (t *Tree) file(path string) (string, error) {
	if !filepath.IsLocal(filepath.FromSlash(path)) || path == "." || strings.HasPrefix(path, temporaryDir) {
		return "", fmt.Errorf("node %q: not a path of a node", path)
	}
	return t.File(path), nil
}

// Read returns a node: ErrNotFound, also for a directory, or ErrUnavailable.
func (t *Tree) Read(path string) (haservices.Node, error) {
	file, err := t.file(path)
	if err != nil {
		return haservices.Node{}, err
	}
	data, found, err := readFile(file)
	switch {
	case err != nil:
		return haservices.Node{}, fmt.Errorf("%w: %w", haservices.ErrUnavailable, err)
	case !found:
		return haservices.Node{}, haservices.ErrNotFound
	}
	return haservices.Node{Data: data, Version: versionOf(data)}, nil
}

func readFile(file string) (data []byte, found bool, err error) {
	data, err = os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) {
		return nil, false, nil
	}
	return data, err == nil, err
}

func versionOf(data []byte) int64 {
	sum := sha256.Sum256(data)
	return int64(binary.BigEndian.Uint64(sum[:]) >> 1) // never negative: AnyVersion is
}

// Children lists the names below path, sorted; none if it is not there.
func (t *Tree) Children(path string) ([]string, error) {
	file, err := t.file(path)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("%w: %w", haservices.ErrUnavailable, err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// Apply makes one change durably: ErrExists, ErrNotFound, ErrVersion; ErrUnavailable when the disk refused
// and nothing was changed, ErrUnknownOutcome when it refused afterwards.
func (t *Tree) Apply(w haservices.Write) error {
	file, err := t.file(w.Path)
	if err != nil {
		return err
	}
	data, found, err := readFile(file)
	if err != nil {
		return fmt.Errorf("%w: %w", haservices.ErrUnavailable, err)
	}
	same := found && bytes.Equal(data, w.Data)
	expected := w.Version == haservices.AnyVersion || w.Version == versionOf(data)
	switch {
	case w.Operation == haservices.Delete && found && !expected:
		return haservices.ErrVersion
	case w.Operation == haservices.Delete:
		return t.Remove(file)
	case w.Operation == haservices.Set && !found:
		return haservices.ErrNotFound
	case same: // perhaps a repeated request whose first try changed the file but could not sync it
		return unknown(errors.Join(t.SettleDirectory(filepath.Dir(file)), filesystem.SyncDirectory(filepath.Dir(file))))
	case w.Operation == haservices.Create && found:
		return haservices.ErrExists
	case w.Operation == haservices.Set && !expected:
		return haservices.ErrVersion
	}
	return t.Replace(file, w.Data, true)
}

// Replace makes or replaces a file with its directories. What is worth nothing after a power cut can do
// without the disk: then it is not durable.
func (t *Tree) Replace(file string, data []byte, durable bool) error {
	makeDirectory := t.MakeDirectory
	if !durable {
		makeDirectory = func(dir string) error { return os.MkdirAll(dir, 0o755) }
	}
	for range 10 { // a directory may be deleted between its making and the rename
		err := makeDirectory(filepath.Dir(file))
		if err != nil {
			err = fmt.Errorf("%w: %w", haservices.ErrUnavailable, err)
		} else {
			err = t.ReplaceIn(file, data, durable)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("%w: directory of %s is being deleted", haservices.ErrUnavailable, file)
}

// MakeDirectory makes a directory of the tree, and those above it, if they are not there. They are durable then,
// whoever made them.
func (t *Tree) MakeDirectory(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return t.SettleDirectory(dir)
}

// SettleDirectory makes a directory of the tree durable that is there.
func (t *Tree) SettleDirectory(dir string) error { return t.directories.settle(dir) }

// ReplaceIn is Replace in a directory that must be there.
func (t *Tree) ReplaceIn(file string, data []byte, durable bool) error {
	changes <- struct{}{}
	defer func() { <-changes }()
	temporary := t.temporary()
	err := writeFile(temporary, data, durable)
	if err == nil {
		err = os.Rename(temporary, file)
	}
	if err != nil {
		os.Remove(temporary)
		return fmt.Errorf("%w: %w", haservices.ErrUnavailable, err)
	}
	if !durable {
		return nil
	}
	return unknown(filesystem.SyncDirectory(filepath.Dir(file)))
}

// changes bounds how many files this process makes at a time. A file system gains nothing from more, and each
// holds a thread: a JobManager that takes over a thousand jobs would have a thousand, in each other's way.
var changes = make(chan struct{}, 32)

func writeFile(name string, data []byte, durable bool) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && durable {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Remove takes a file or a directory with all below it away at once and durably.
func (t *Tree) Remove(file string) error {
	temporary := t.temporary()
	err := os.Rename(file, temporary)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		if err := filesystem.SyncDirectory(filepath.Dir(file)); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return unknown(err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", haservices.ErrUnavailable, err)
	}
	return unknown(errors.Join(filesystem.SyncDirectory(filepath.Dir(file)), os.RemoveAll(temporary)))
}

func unknown(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", haservices.ErrUnknownOutcome, err)
	}
	return nil
}

// temporary is a name in temporaryDir that says whose it is.
func (t *Tree) temporary() string {
	name := fmt.Sprintf("%d-%d-%s-%d", t.self.PID, t.self.StartTime, t.self.Namespace, treeCounter.Add(1))
	return filepath.Join(t.root, temporaryDir, name)
}

// treeCounter is shared by all trees of the process, which may have the same root.
var treeCounter atomic.Int64

func parseTemporary(name string) (owner Process, ok bool) {
	fields := strings.Split(name, "-")
	if len(fields) != 4 {
		return Process{}, false
	}
	_, err := fmt.Sscan(strings.Join(fields[:2], " "), &owner.PID, &owner.StartTime)
	owner.Namespace = fields[2]
	return owner, err == nil
}

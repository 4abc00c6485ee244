// Package nodes keeps the nodes of HA backends that have no server of their own: in memory (embedded,
// standalone) or as files (local, standalone). It also knows how to recognise a process again by its
// PID. It knows no leaders: whoever calls Apply has checked the fence.
package nodes

import (
	"slices"
	"strings"

	"github.com/tamias-project/tamias/pkg/haservices"
)

// Memory is a tree of nodes in this process. Its user serialises the calls. Versions count from 0.
type Memory struct {
	nodes map[string]haservices.Node
}

// NewMemory returns an empty tree.
func NewMemory() *Memory { return &Memory{nodes: map[string]haservices.Node{}} }

// Read returns a copy of a node, or ErrNotFound.
func (m *Memory) Read(path string) (haservices.Node, error) {
	n, found := m.nodes[path]
	if !found {
		return haservices.Node{}, haservices.ErrNotFound
	}
	n.Data = slices.Clone(n.Data)
	return n, nil
}

// Children lists the names below path, sorted.
func (m *Memory) Children(path string) ([]string, error) {
	names := map[string]bool{}
	for node := range m.nodes {
		if below, ok := strings.CutPrefix(node, path+"/"); ok {
			name, _, _ := strings.Cut(below, "/")
			names[name] = true
		}
	}
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	return list, nil
}

// All returns every path with its data.
func (m *Memory) All() map[string]string {
	all := make(map[string]string, len(m.nodes))
	for path, n := range m.nodes {
		all[path] = string(n.Data)
	}
	return all
}

// Apply makes one change: ErrExists, ErrNotFound or ErrVersion.
func (m *Memory) Apply(w haservices.Write) error {
	old, found := m.nodes[w.Path]
	same := found && string(old.Data) == string(w.Data)
	expected := w.Version == haservices.AnyVersion || w.Version == old.Version
	switch w.Operation {
	case haservices.Create:
		if found && !same {
			return haservices.ErrExists
		}
		if found {
			return nil
		}
	case haservices.Set:
		switch {
		case !found:
			return haservices.ErrNotFound
		case !expected && same && old.Version == w.Version+1:
			return nil // the first try of this request got through
		case !expected:
			return haservices.ErrVersion
		}
	case haservices.Delete:
		if found && !expected {
			return haservices.ErrVersion
		}
		m.remove(w.Path)
		return nil
	}
	version := int64(0)
	if found {
		version = old.Version + 1
	}
	m.nodes[w.Path] = haservices.Node{Data: slices.Clone(w.Data), Version: version}
	return nil
}

func (m *Memory) remove(path string) {
	delete(m.nodes, path)
	for node := range m.nodes {
		if strings.HasPrefix(node, path+"/") {
			delete(m.nodes, node)
		}
	}
}

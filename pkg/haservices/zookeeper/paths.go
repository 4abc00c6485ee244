package zookeeper

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

const (
	latchFolder  = "leaderlatch"
	leaderFolder = "leader"
	// flinkLeader is where Flink's clients look for the REST endpoint.
	flinkLeader = "leader/rest_server/connection_info"
)

// absolute returns the znode of a path below the root.
func (d *Driver) absolute(relative string) (string, error) {
	for part := range strings.SplitSeq(relative, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsRune(part, 0) {
			return "", fmt.Errorf("node path %q: expected names separated by single slashes", relative)
		}
	}
	return d.cfg.Root + "/" + relative, nil
}

func (d *Driver) latchPath(c haservices.Component) string {
	return d.cfg.Root + "/" + latchFolder + "/" + c.Path()
}

// resignedPath is where leaders of c that go in order say so: leaderlatch/<component>_resigned.
func (d *Driver) resignedPath(c haservices.Component) string {
	return strings.TrimSuffix(d.latchPath(c), "_lock") + "_resigned"
}

func (d *Driver) leaderPath(c haservices.Component) string {
	return d.cfg.Root + "/" + leaderFolder + "/" + c.Path()
}

// leaderPaths are all nodes that tell the leader of c.
func (d *Driver) leaderPaths(c haservices.Component) []string {
	all := []string{d.leaderPath(c)}
	if c.Kind == haservices.RestServer {
		all = append(all, d.cfg.Root+"/"+flinkLeader)
	}
	return all
}

func parent(p string) string { return path.Dir(p) }

// leadership is the content of a latch's parent node: who won last.
type leadership struct {
	Token id.FencingToken `json:"leader-session-id"`
	Epoch uint64          `json:"epoch"`
	haservices.Contender
	Since time.Time `json:"since"`
	// How it came to lead: see haservices.Succession.
	Predecessor *haservices.Contender     `json:"predecessor,omitempty"`
	Reason      protocol.SuccessionReason `json:"reason"`
	LastHeard   time.Time                 `json:"last-heard,omitzero"`
	Detected    time.Time                 `json:"detected"`
}

// latchNode is the content of a contender's node.
type latchNode struct {
	haservices.Contender
	// Challenge is written by a successor that hears nothing from the contender; the contender answers
	// with the same word.
	Challenge string `json:"challenge,omitempty"`
	Answer    string `json:"answer,omitempty"`
	// EvictedAlive: the contender was evicted again and again although it lived, so a refused connection to
	// its address proves nothing (a firewall, a wrong address).
	EvictedAlive bool `json:"evicted-alive,omitempty"`
}

// encode is for the records in nodes of our own.
func encode(v any) []byte { return haservices.EncodeRecord(v) }

// place is one node in a latch.
type place struct {
	name     string
	sequence int
}

const latchInfix = "-latch-"

func latchPrefix(guid string) string { return "_c_" + guid + latchInfix }

// line returns the contenders among names, first in line first. Other children are passed over.
func line(names []string) []place {
	var all []place
	for _, name := range names {
		i := strings.LastIndex(name, latchInfix)
		if i < 0 {
			continue
		}
		if n, err := strconv.Atoi(name[i+len(latchInfix):]); err == nil {
			all = append(all, place{name, n})
		}
	}
	slices.SortFunc(all, func(a, b place) int { return cmp.Compare(a.sequence, b.sequence) })
	return all
}

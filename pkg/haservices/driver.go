// Package haservices gives every component of a process its leader election, the retrieval of other
// leaders, and the stores that survive a leader: job graphs, completed checkpoints, the checkpoint ID
// counter, execution ledgers, intents, job results and blobs. Names and roles are those of Flink's
// HighAvailabilityServices.
//
// A Driver is one backend: NONE (standalone), local, zookeeper, kubernetes, and embedded for tests. It
// elects, publishes leaders, and keeps small nodes whose writes are fenced by the epoch of the writer.
// Everything above it (LeaderElection, the stores) is written once.
package haservices

import (
	"context"
	"errors"
	"fmt"

	"github.com/tamias-project/tamias/pkg/id"
)

var (
	// ErrNotLeader: the term that this write belongs to is over; nothing was written. Stop acting.
	ErrNotLeader = errors.New("ha: not the leader any more")
	// ErrNotFound: there is no such node.
	ErrNotFound = errors.New("ha: not found")
	// ErrExists: the node to create is there already, with other content.
	ErrExists = errors.New("ha: exists already")
	// ErrVersion: the node was changed by someone else since it was read.
	ErrVersion = errors.New("ha: version does not match")
	// ErrUnavailable: the backend cannot be reached now; nothing was written. Retry while the term lasts.
	ErrUnavailable = errors.New("ha: backend unavailable")
	// ErrUnknownOutcome: the write may or may not have happened. Read the node again before anything that
	// depends on it; delete no file that it would point to.
	ErrUnknownOutcome = errors.New("ha: outcome of a write is unknown")
	// ErrContended: a second contender in standalone mode, where leadership cannot change hands.
	ErrContended = errors.New("ha: component has a contender already")
	// ErrClosed: the driver was closed; the process is on its way out. Do not retry.
	ErrClosed = errors.New("ha: driver is closed")
)

// Kind is one of the elected roles.
type Kind string

const (
	ResourceManager Kind = "resource_manager"
	Dispatcher      Kind = "dispatcher"
	RestServer      Kind = "rest_server"
	JobManager      Kind = "job_manager"
)

// Component is what has one leader at a time: a role of the cluster, or the JobMaster of one job.
type Component struct {
	Kind Kind
	Job  id.Job // set for JobManager only
}

// JobMaster is the component of one job.
func JobMaster(job id.Job) Component { return Component{Kind: JobManager, Job: job} }

// Path is the component's place below leaderlatch/ and leader/: <kind>_lock or <jobid>/job_manager_lock.
func (c Component) Path() string {
	if c.Kind == JobManager {
		return fmt.Sprintf("%s/%s_lock", c.Job, c.Kind)
	}
	return string(c.Kind) + "_lock"
}

// String names the component in logs.
func (c Component) String() string {
	if c.Kind == JobManager {
		return fmt.Sprintf("%s of job %s", c.Kind, c.Job)
	}
	return string(c.Kind)
}

// LeaderInformation is what leader retrieval tells: the confirmed leader's address and session. The zero
// value means that there is no leader. (In NONE mode the Token of a leader is zero, its Address is not.)
type LeaderInformation struct {
	Address string          `json:"address"`
	Token   id.FencingToken `json:"leader-session-id"`
}

// IsEmpty reports whether there is no leader.
func (i LeaderInformation) IsEmpty() bool { return i.Address == "" }

// Contender describes a process that wants to lead: what a successor needs to watch it, and what an
// operator wants to see.
type Contender struct {
	Process id.Instance `json:"process"`
	Host    string      `json:"host"`
	PID     int         `json:"pid"`
	// Address is host:port of the process's RPC service.
	Address string `json:"rpc-address"`
}

// Node is a small readable piece of data: at most a few kilobytes.
type Node struct {
	Data    []byte
	Version int64
}

// Operation is what a Write does.
type Operation int

const (
	// Create makes a node, and its parents as needed; ErrExists if it is there.
	Create Operation = iota
	// Set replaces the data of a node; ErrNotFound if it is not there.
	Set
	// Put creates or replaces.
	Put
	// Delete removes a node and all below it. Deleting what is not there succeeds.
	Delete
)

// AnyVersion makes a write unconditional.
const AnyVersion int64 = -1

// Write is one fenced change.
type Write struct {
	Operation Operation
	// Path is relative to the cluster's root, slash-separated: jobgraphs/<jobid>.
	Path string
	Data []byte
	// Version that Set and Delete expect, or AnyVersion.
	Version int64
}

// Driver is one backend. Its methods may be called on any goroutine. It derives nothing from timing:
// only Write is safe, Lost is a courtesy.
type Driver interface {
	// Campaign contends for c until this process wins and returns the term, or until ctx ends (ctx's error).
	// The epoch has been raised durably by then: no earlier term can write any more. ErrContended is
	// final. Campaigning for one component twice at a time in one process is an error.
	Campaign(ctx context.Context, c Component, me Contender) (Term, error)
	// Observe calls tell with the confirmed leader of c now, if there is one, and at each change, the
	// zero value when there is none, until ctx ends. Equal values are told once; an older epoch than one
	// told is never told. tell is called on one goroutine and must not block.
	Observe(ctx context.Context, c Component, tell func(LeaderInformation)) error
	// Read returns the node at path: ErrNotFound, ErrUnavailable. It sees every write that a term of this
	// process made, and every write made before the latest term of this process began.
	Read(ctx context.Context, path string) (Node, error)
	// Children lists the names below path, sorted; none if path is not there.
	Children(ctx context.Context, path string) ([]string, error)
	// Close gives up everything that this process holds and waits for its goroutines. Nodes stay.
	Close() error
}

// Term is one leadership of one component, from winning to loss or resignation.
type Term interface {
	// Token is the leader session; its epoch is higher than that of every earlier term. In NONE mode it is
	// zero, except for job masters when there is a storage directory.
	Token() id.FencingToken
	// Lost is closed when leadership is lost or was resigned.
	Lost() <-chan struct{}
	// Publish makes address known to Observe, under the fence.
	Publish(ctx context.Context, address string) error
	// Write changes one node if, and only if, this term is still the latest of its component: otherwise
	// ErrNotLeader. Also ErrExists, ErrNotFound, ErrVersion, ErrUnavailable, ErrUnknownOutcome. A write
	// that finds its own effect already there (a repeated request) succeeds.
	Write(ctx context.Context, w Write) error
	// Resign withdraws the published address and lets the next contender lead, at once. Idempotent.
	Resign(ctx context.Context)
}

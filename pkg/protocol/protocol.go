// Package protocol holds the messages between components: data only, one file for each receiver. A
// message is a plain struct with numbered fields; on the wire it is CBOR inside a gRPC frame (see
// docs/adr). Numbers are never reused; a receiver ignores numbers that it does not know, so processes
// of neighbouring versions understand each other.
package protocol

// Version is the protocol that this build speaks. It rises with every change that a peer may have to know
// of, and may rise without harm: what decides is MinVersion.
const Version = 1

// MinVersion is the oldest peer that this build works with. It understands what such a peer sends, and what it
// sends is understood there; a field that an older receiver ignores is no reason to raise it. Every request
// carries both numbers, and is taken when the two processes' ranges overlap. Builds whose versions lie within
// each other's range can be mixed in a cluster for as long as an upgrade takes, in either direction.
const MinVersion = 1

// Demanding is a request that not every receiver from MinVersion on would understand, because of what is in
// it: a new field that must not be ignored, when it is set. Such a request is refused by receivers that are too
// old, instead of being half understood.
type Demanding interface {
	// OldestReceiver is the version from which on a receiver understands this request.
	OldestReceiver() int
}

// Call ties the name of an RPC to what is sent and what comes back.
type Call[Request, Response any] struct {
	Method string
}

// Empty is the answer of calls that only succeed or fail.
type Empty struct{}

// Endpoint names, the path part of an RPC address (tamias://host:port/<name>).
const (
	ResourceManagerEndpoint = "resource_manager"
	DispatcherEndpoint      = "dispatcher"
	TaskManagerEndpoint     = "task_manager"
	WorkerEndpoint          = "worker"
	// JobMasterEndpoint is followed by /<jobid>.
	JobMasterEndpoint = "job_manager"
)

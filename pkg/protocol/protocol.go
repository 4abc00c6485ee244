// Package protocol holds the messages between components: data only, one file for each receiver. A
// message is a plain struct with numbered fields; on the wire it is CBOR inside a gRPC frame (see
// docs/adr). Numbers are never reused; a receiver ignores numbers that it does not know, so processes
// of neighbouring versions understand each other.
package protocol

// Version is the protocol that this build speaks. It rises when an old receiver would misunderstand a
// new message although unknown fields are ignored.
const Version = 1

// MinVersion is the oldest protocol that this build still understands.
const MinVersion = 1

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

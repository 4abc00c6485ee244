package protocol

import "github.com/tamias-project/tamias/pkg/id"

// ProcessEndpoint is there in every JobManager and TaskManager, whatever leads.
const ProcessEndpoint = "process"

// DescribeProcess asks a process about itself. It changes nothing, and needs no token.
var DescribeProcess = Call[Empty, ProcessStatus]{"DescribeProcess"}

// ProcessStatus is what a process counts, since it started, of what came too late.
type ProcessStatus struct {
	PID     int         `cbor:"1,keyasint"`
	Process id.Instance `cbor:"2,keyasint"`
	// FencedMessages counts requests that it refused, because they were sent under another leader session than
	// the present one.
	FencedMessages int64 `cbor:"3,keyasint"`
	// RefusedWrites counts its own writes to the HA store that were refused because its term was over.
	RefusedWrites int64 `cbor:"4,keyasint"`
}

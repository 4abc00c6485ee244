package taskmanager

import (
	"context"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// Launcher starts job processes. The real one is in package process, a simulated one in package
// taskmanagertest.
type Launcher interface {
	// Launch starts a process of the job's binary and returns when it answers calls. When ctx ends first
	// nothing of the process is left, and neither after an error.
	Launch(ctx context.Context, spec LaunchSpec) (Process, error)
	// Release removes what was kept on this machine to start processes of a job. None of them runs any more.
	Release(job id.Job) error
}

// LaunchSpec says what to start.
type LaunchSpec struct {
	Graph jobgraph.JobGraph
	// BlobServer is host:port of a blob server that has the binary, or empty.
	BlobServer string
}

// Process is a running job process.
type Process interface {
	// Gateway speaks the calls of protocol.StartWorker and after.
	Gateway() rpc.Gateway
	// Done is closed when the process has ended and nothing of it is left: no member of its process group,
	// no temporary file.
	Done() <-chan struct{}
	// Failure says why the process ended. Call it after Done.
	Failure() *protocol.Failure
	// Kill ends the process and all that it started, at once and without its help. It does not wait.
	// Idempotent.
	Kill()
}

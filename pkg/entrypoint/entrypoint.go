// Package entrypoint builds the components of a process and runs them: it is the only place where they
// are wired together. RunJobManager and RunTaskManager are called once, by the main of their binaries,
// and block until ctx ends or something fails. Flink's ClusterEntrypoint and TaskManagerRunner.
//
// A process ends in order: first its components, which give up leadership so that a successor leads at
// once, then the HA services, then the servers and the network. Ending deletes nothing that was stored.
package entrypoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// ErrStartup wraps every failure before the process was up: a setting, a port, a directory. Nothing has
// been promised to anyone then; correct the cause and start again.
var ErrStartup = errors.New("start-up failed")

func startup(what string, err error) error { return startupError{fmt.Errorf("%s: %w", what, err)} }

// startupError is ErrStartup in the words of its cause alone.
type startupError struct{ error }

func (e startupError) Unwrap() []error { return []error{ErrStartup, e.error} }

// highlyAvailable reports whether leaders are elected among several JobManagers.
func highlyAvailable(cfg *config.Configuration) bool { return config.HAType.In(cfg) != config.HANone }

// listen opens the process's RPC port and announces host for it.
func listen(ctx context.Context, ports config.Ports, bind, host string) (*rpc.GRPC, error) {
	l, err := ports.Listen(ctx, bind)
	if err != nil {
		return nil, err
	}
	return rpc.NewTransport(l, host), nil
}

// contender describes this process to its successors.
func contender(t rpc.Transport) haservices.Contender {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown" // shown to people only
	}
	return haservices.Contender{Process: t.Process(), Host: host, PID: os.Getpid(), Address: t.Address()}
}

// newServices makes the HA services of a process on an open transport. blobDir holds blobs when there is
// no storage directory.
func newServices(cfg *config.Configuration, t *rpc.GRPC, blobDir string, log *zap.Logger) (*haservices.Services, error) {
	files := filesystem.NewResolver()
	driver, err := NewDriver(cfg, DriverConfig{
		FileSystem: files,
		AwaitGone:  t.Prober(probeInterval(cfg)),
		Log:        log,
	})
	if err != nil {
		return nil, err
	}
	return haservices.New(haservices.Config{
		Driver:          driver,
		FileSystem:      files,
		StorageDir:      config.HAStorageDir.In(cfg),
		ClusterID:       config.HAClusterID.In(cfg),
		Coordination:    coordination(cfg),
		BlobDir:         blobDir,
		OlderCheckpoint: config.RecoverFromOlder.In(cfg),
		Me:              contender(t),
		Log:             log,
	}), nil
}

// rpcAddress is host:port of the only JobManager when there is no high availability.
func rpcAddress(cfg *config.Configuration) string {
	return net.JoinHostPort(config.JobManagerRPCAddress.In(cfg), strconv.Itoa(config.JobManagerRPCPort.In(cfg)))
}

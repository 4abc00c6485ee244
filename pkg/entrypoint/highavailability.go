package entrypoint

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/local"
	"github.com/tamias-project/tamias/pkg/haservices/standalone"
	"github.com/tamias-project/tamias/pkg/haservices/zookeeper"
	"github.com/tamias-project/tamias/pkg/id"
)

// DriverConfig is what a backend needs beside the configuration.
type DriverConfig struct {
	FileSystem filesystem.FileSystem
	// AwaitGone watches a process for its successor; nil in processes that only follow leaders.
	AwaitGone func(ctx context.Context, address string, process id.Instance, silence time.Duration) error
	Log       *zap.Logger
}

// NewDriver opens the backend that high-availability.type names. JobManagers, TaskManagers and clients
// use it alike. The error says which setting to change.
func NewDriver(cfg *config.Configuration, d DriverConfig) (haservices.Driver, error) {
	probe := d.AwaitGone
	if !config.LeaderProbeEnabled.In(cfg) {
		probe = nil
	}
	switch kind := config.HAType.In(cfg); kind {
	case config.HANone:
		return newStandalone(cfg, d.Log)
	case config.HALocal:
		return local.New(local.Config{
			StorageDir:   config.HAStorageDir.In(cfg),
			ClusterID:    config.HAClusterID.In(cfg),
			AwaitGone:    probe,
			ProbeTimeout: config.LeaderProbeTimeout.In(cfg),
			Log:          d.Log,
		})
	case config.HAZooKeeper:
		return zookeeper.New(zookeeper.Config{
			Quorum:            config.ZooKeeperQuorum.In(cfg),
			Root:              zookeeper.Root(config.ZooKeeperRoot.In(cfg), config.HAClusterID.In(cfg)),
			SessionTimeout:    config.ZooKeeperSessionTimeout.In(cfg),
			ConnectionTimeout: config.ZooKeeperConnectionTimeout.In(cfg),
			RetryWait:         config.ZooKeeperRetryWait.In(cfg),
			MaxRetryWait:      config.ZooKeeperMaxRetryWait.In(cfg),
			MaxRetryAttempts:  config.ZooKeeperMaxRetryAttempts.In(cfg),
			ACL:               config.ZooKeeperACL.In(cfg),
			Authorization:     config.ZooKeeperAuthorization.In(cfg),
			TolerateSuspended: config.ZooKeeperTolerateSuspended.In(cfg),
			AwaitGone:         probe,
			ProbeTimeout:      config.LeaderProbeTimeout.In(cfg),
			Log:               d.Log,
		})
	default:
		return nil, fmt.Errorf("%s: %s is not supported by this build; use NONE, local or zookeeper", config.HAType.Key, kind)
	}
}

// probeInterval is the pause between two signs of life of a watched leader.
func probeInterval(cfg *config.Configuration) time.Duration {
	return cmp.Or(config.LeaderProbeInterval.In(cfg), config.LeaderProbeTimeout.In(cfg)/4)
}

// coordination names what NewDriver opens, and the place of this cluster there, for people.
func coordination(cfg *config.Configuration) string {
	kind := config.HAType.In(cfg)
	if kind != config.HAZooKeeper {
		return kind
	}
	return fmt.Sprintf("%s %s%s", kind, config.ZooKeeperQuorum.In(cfg), zookeeper.Root(config.ZooKeeperRoot.In(cfg), config.HAClusterID.In(cfg)))
}

// newStandalone: without high availability everyone knows where the only JobManager is.
func newStandalone(cfg *config.Configuration, log *zap.Logger) (haservices.Driver, error) {
	rest := net.JoinHostPort(config.RestAddress.In(cfg), fmt.Sprint(config.RestPort.In(cfg)))
	return standalone.New(standalone.Config{
		StorageDir: config.HAStorageDir.In(cfg),
		ClusterID:  config.HAClusterID.In(cfg),
		Address:    standalone.FixedAddresses(rpcAddress(cfg), "http://"+rest),
		Log:        log,
	})
}

// Package local is the HA backend for several JobManagers on one machine, with nothing installed: a
// kernel file lock for each component, and nodes as files, below a directory that all of them reach.
//
//	<storageDir>/<cluster-id>/ha/leaderlatch/<component>_lock/lock     held (flock) by the leader
//	                                                         /epoch    its epoch, raised before anything else
//	                                                         /holder   who holds the lock, JSON
//	                                                         /departure  how the last holder left, JSON
//	                            /leader/<component>_lock               the confirmed leader, JSON
//	                            /jobgraphs/... /jobs/... /job-results/...   nodes, one file each
//
// The kernel frees a lock when its holder ends, however it ends, so two leaders at a time cannot be.
// Contenders do not sleep: they watch the lock's directory and the holder's process, and lead within
// milliseconds of its end. A holder that lives but is frozen keeps its lock; so each contender probes it
// and, when it has been silent for the probe timeout, shoots it (SIGKILL, by PID and start time). With the
// handful of JobManagers that one machine has, all of them may watch.
//
// It is used by the entrypoint for high-availability.type: local. The directory must lie on a file system
// with working locks and inotify, and all processes in one PID namespace; otherwise leaders are still
// unique, but their loss is noticed by polling and nobody is shot.
package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/internal/nodes"
	"github.com/tamias-project/tamias/pkg/id"
)

// Config says where the cluster lies and how leaders are watched.
type Config struct {
	// StorageDir is an absolute path or a file: URI. Flink's high-availability.storageDir.
	StorageDir string
	// ClusterID keeps clusters apart. Flink's high-availability.cluster-id; default "default".
	ClusterID string
	// AwaitGone watches a process until it has certainly ended (rpc.ErrGone) or has not been heard for
	// silence (rpc.ErrSilent): rpc.Transport.AwaitGone. Nil means that frozen leaders are not shot.
	AwaitGone func(ctx context.Context, address string, process id.Instance, silence time.Duration) error
	// ProbeTimeout is the silence after which a leader is shot. high-availability.leader-probe.timeout;
	// default 2 s.
	ProbeTimeout time.Duration
	// PollInterval is how often contenders and observers look although nothing told them to. Default 1 s.
	PollInterval time.Duration
	Log          *zap.Logger
}

// Driver is one process's part in the cluster.
type Driver struct {
	cfg     Config
	tree    *nodes.Tree
	events  *nodes.Events
	leaders *nodes.Leaders
	member  *nodes.Member[*Term]

	shotMu sync.Mutex // guards shot
	// shot are the processes that this one has killed, with how that went.
	shot map[nodes.Process]departure
}

var _ haservices.Driver = (*Driver)(nil)

// New returns a driver on the directory of cfg, which is made if it is not there.
func New(cfg Config) (*Driver, error) {
	cfg.ClusterID = cmp.Or(strings.Trim(cfg.ClusterID, "/"), "default")
	cfg.ProbeTimeout = cmp.Or(cfg.ProbeTimeout, 2*time.Second)
	cfg.PollInterval = cmp.Or(cfg.PollInterval, time.Second)
	cfg.Log = cmp.Or(cfg.Log, zap.NewNop())
	if cfg.StorageDir == "" {
		return nil, errors.New("high-availability.type local needs high-availability.storageDir")
	}
	dir, err := filesystem.LocalPath(cfg.StorageDir)
	if err != nil {
		return nil, fmt.Errorf("high-availability.storageDir: %w", err)
	}
	tree, err := nodes.NewTree(filepath.Join(dir, filepath.FromSlash(cfg.ClusterID), "ha"))
	if err != nil {
		return nil, err
	}
	events := nodes.NewEvents(cfg.Log)
	return &Driver{
		cfg: cfg, tree: tree, events: events, leaders: nodes.NewLeaders(tree, events, cfg.PollInterval, cfg.Log),
		member: nodes.NewMember[*Term](tree, errContends), shot: map[nodes.Process]departure{},
	}, nil
}

var errContends = errors.New("this process contends already")

// Observe implements haservices.Driver.
func (d *Driver) Observe(ctx context.Context, c haservices.Component, tell func(haservices.LeaderInformation)) error {
	if err := d.member.Enter(ctx); err != nil {
		return err
	}
	defer d.member.Leave()
	return d.leaders.Observe(ctx, d.member.Closed(), c, tell)
}

// Read implements haservices.Driver.
func (d *Driver) Read(ctx context.Context, path string) (haservices.Node, error) {
	return d.member.Read(ctx, path)
}

// Children implements haservices.Driver.
func (d *Driver) Children(ctx context.Context, path string) ([]string, error) {
	return d.member.Children(ctx, path)
}

// Close implements haservices.Driver.
func (d *Driver) Close() error {
	d.member.Close()
	return errors.Join(d.events.Close(), d.tree.RemoveUnfinished())
}

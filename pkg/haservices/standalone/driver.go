// Package standalone is the HA backend of a cluster with one JobManager (high-availability.type: NONE).
// Leadership is granted at once and does not change hands: a second contender in the process is an error.
// Leaders are where the configuration says, and their session is the zero token, Flink's
// DEFAULT_LEADER_ID. Used by the entrypoint; methods may be called on any goroutine.
//
// Without a storage directory nodes live in the memory of the process and are gone with it.
//
// With a storage directory nodes are files below <storageDir>/<cluster-id>/ha, laid out as the local
// backend's, and a JobManager that is started again finds its jobs. So that it can adopt what still runs,
// the terms of job masters have epochs there: each one is a file epoch-<n> that is created exclusively,
// and the highest one is the present term. The other components keep the zero token.
//
// A TaskManager cannot derive a job master's token from a fixed address. It learns it as with the other
// backends, from the leader's file, which means: with a storage directory, TaskManagers must reach it (as
// they must reach the checkpoints anyway), and must have the same setting. One that does not reach it
// finds no job master and never guesses a token: it warns that nobody took the slot that was leased to the
// job (after taskmanager.slot.timeout), and frees it. Without a storage directory the job master's address
// follows from the configuration like the others, and its token is zero on both sides.
package standalone

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
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// Config says where leaders are and where nodes lie.
type Config struct {
	// Address says where the leader of a component is; empty if that is not known. See FixedAddresses.
	Address func(haservices.Component) string
	// StorageDir is an absolute path or a file: URI; empty keeps nodes in memory. Flink's
	// high-availability.storageDir.
	StorageDir string
	// ClusterID keeps clusters apart that share a StorageDir. Flink's high-availability.cluster-id; default
	// "default".
	ClusterID string
	// PollInterval is how often observers of job masters look although nothing told them to. Default 1 s.
	PollInterval time.Duration
	Log          *zap.Logger
}

// FixedAddresses is a Config.Address for a JobManager whose RPC service listens at host:port and whose
// REST endpoint has that URL.
func FixedAddresses(hostPort, restURL string) func(haservices.Component) string {
	endpoints := map[haservices.Kind]string{
		haservices.ResourceManager: protocol.ResourceManagerEndpoint,
		haservices.Dispatcher:      protocol.DispatcherEndpoint,
		haservices.JobManager:      protocol.JobMasterEndpoint,
	}
	return func(c haservices.Component) string {
		switch endpoint := endpoints[c.Kind]; {
		case c.Kind == haservices.RestServer:
			return restURL
		case hostPort == "" || endpoint == "":
			return ""
		case c.Kind == haservices.JobManager:
			return rpc.Address{HostPort: hostPort, Endpoint: endpoint + "/" + c.Job.String()}.String()
		default:
			return rpc.Address{HostPort: hostPort, Endpoint: endpoint}.String()
		}
	}
}

// store is where nodes lie: a nodes.Tree, or a nodes.Memory with a lock.
type store interface {
	nodes.Store
	Apply(haservices.Write) error
}

// Driver is the backend of one process.
type Driver struct {
	cfg    Config
	nodes  store
	member *nodes.Member[*Term]
	// With a StorageDir only.
	tree    *nodes.Tree
	events  *nodes.Events
	leaders *nodes.Leaders
}

var _ haservices.Driver = (*Driver)(nil)

// New returns a driver. With a StorageDir it makes the directory if it is not there.
func New(cfg Config) (*Driver, error) {
	cfg.ClusterID = cmp.Or(strings.Trim(cfg.ClusterID, "/"), "default")
	cfg.PollInterval = cmp.Or(cfg.PollInterval, time.Second)
	cfg.Log = cmp.Or(cfg.Log, zap.NewNop())
	if cfg.Address == nil {
		cfg.Address = func(haservices.Component) string { return "" }
	}
	if cfg.StorageDir == "" {
		m := &memory{nodes: nodes.NewMemory()}
		return &Driver{cfg: cfg, nodes: m, member: nodes.NewMember[*Term](m, haservices.ErrContended)}, nil
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
		cfg: cfg, nodes: tree, member: nodes.NewMember[*Term](tree, haservices.ErrContended),
		tree: tree, events: events, leaders: nodes.NewLeaders(tree, events, cfg.PollInterval, cfg.Log),
	}, nil
}

// memory is nodes.Memory for several goroutines.
type memory struct {
	mu    sync.Mutex // guards nodes
	nodes *nodes.Memory
}

func (m *memory) Read(path string) (haservices.Node, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nodes.Read(path)
}

func (m *memory) Children(path string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nodes.Children(path)
}

func (m *memory) Apply(w haservices.Write) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nodes.Apply(w)
}

// Observe implements haservices.Driver: the configured address once, for a job master with a StorageDir
// what it publishes.
func (d *Driver) Observe(ctx context.Context, c haservices.Component, tell func(haservices.LeaderInformation)) error {
	if err := d.member.Enter(ctx); err != nil {
		return err
	}
	defer d.member.Leave()
	if d.hasEpochs(c) {
		return d.leaders.Observe(ctx, d.member.Closed(), c, tell)
	}
	if address := d.cfg.Address(c); address != "" {
		tell(haservices.LeaderInformation{Address: address})
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-d.member.Closed():
		return haservices.ErrClosed
	}
}

// hasEpochs reports whether the terms of c have tokens other than zero.
func (d *Driver) hasEpochs(c haservices.Component) bool {
	return d.tree != nil && c.Kind == haservices.JobManager
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
	if d.events == nil {
		return nil
	}
	return errors.Join(d.events.Close(), d.tree.RemoveUnfinished())
}

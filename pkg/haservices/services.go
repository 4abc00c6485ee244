package haservices

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
)

// Config is what the HA services of one process are made of.
type Config struct {
	// Driver is the backend. Services closes it.
	Driver Driver
	// FileSystem holds StorageDir and the directories of checkpoints. Nil means memory.
	FileSystem filesystem.FileSystem
	// StorageDir is where job graphs, ledgers, results and blobs lie; every JobManager must reach it. Empty
	// means that they live in the memory of this process. Flink's high-availability.storageDir.
	StorageDir string
	// ClusterID keeps clusters apart that share a StorageDir. Flink's high-availability.cluster-id; slashes at
	// its ends are dropped. Default "default".
	ClusterID string
	// Coordination names the service that holds the nodes, and this cluster's place there, for people.
	Coordination string
	// BlobDir is where blobs lie when StorageDir is empty; a directory in FileSystem. Empty means memory.
	BlobDir string
	// OlderCheckpoint lets CompletedCheckpointStore.Latest fall back to the next older checkpoint when the
	// newest cannot be read. Off, such a checkpoint is an error.
	OlderCheckpoint bool
	// Me describes this process to other contenders.
	Me  Contender
	Log *zap.Logger
}

// Services hands out elections, retrievals and stores of one process. Its methods may be called on any
// goroutine. Flink's HighAvailabilityServices.
type Services struct {
	cfg     Config
	driver  Driver
	log     *zap.Logger
	objects objects
	// checkpointFiles holds the directories of checkpoints.
	checkpointFiles filesystem.FileSystem
	blobs           *BlobStore
	terms           *termLog
	refused         atomic.Int64 // writes
}

// New returns the services of one process. It starts nothing.
func New(cfg Config) *Services {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	cfg.ClusterID = strings.Trim(cfg.ClusterID, "/")
	if cfg.ClusterID == "" {
		cfg.ClusterID = "default"
	}
	var memory filesystem.FileSystem = filesystem.NewMemory()
	durable := cfg.FileSystem
	if durable == nil {
		durable = memory
	}
	s := &Services{cfg: cfg, driver: cfg.Driver, log: cfg.Log, checkpointFiles: durable, terms: newTermLog()}
	switch {
	case cfg.StorageDir != "":
		root := filesystem.Join(cfg.StorageDir, cfg.ClusterID)
		s.objects = objects{files: durable, root: filesystem.Join(root, "files"), log: cfg.Log}
		s.blobs = &BlobStore{files: durable, root: filesystem.Join(root, "blob")}
	case cfg.BlobDir != "":
		s.objects = objects{files: memory, root: "/files", log: cfg.Log}
		s.blobs = &BlobStore{files: durable, root: cfg.BlobDir}
	default:
		s.objects = objects{files: memory, root: "/files", log: cfg.Log}
		s.blobs = &BlobStore{files: memory, root: "/blob"}
	}
	return s
}

// LeaderElection returns an election of c for this process. Two of the same component must not run at
// the same time.
func (s *Services) LeaderElection(c Component) *LeaderElection {
	return &LeaderElection{services: s, component: c, log: s.log.With(componentFields(c)...)}
}

// LeaderRetrieval returns a new way to follow the leader of c.
func (s *Services) LeaderRetrieval(c Component) *LeaderRetrievalService {
	return &LeaderRetrievalService{services: s, component: c}
}

// JobGraphs returns the store of submitted jobs. dispatcher guards its writes.
func (s *Services) JobGraphs(dispatcher *LeaderElection) *JobGraphStore {
	return &JobGraphStore{services: s, election: dispatcher}
}

// JobResults returns the store of ended jobs. dispatcher guards its writes.
func (s *Services) JobResults(dispatcher *LeaderElection) *JobResultStore {
	return &JobResultStore{services: s, election: dispatcher}
}

// Checkpoints returns the store of a job's completed checkpoints. jobMaster guards its writes.
func (s *Services) Checkpoints(jobMaster *LeaderElection, job id.Job) *CompletedCheckpointStore {
	return &CompletedCheckpointStore{services: s, election: jobMaster, job: job}
}

// CheckpointIDs returns a job's checkpoint ID counter. jobMaster guards its writes.
func (s *Services) CheckpointIDs(jobMaster *LeaderElection, job id.Job) *CheckpointIDCounter {
	return &CheckpointIDCounter{services: s, election: jobMaster, path: jobNode(job, "checkpoint_id_counter")}
}

// Ledger returns the store of a job's execution ledger. jobMaster guards its writes.
func (s *Services) Ledger(jobMaster *LeaderElection, job id.Job) *LedgerStore {
	return &LedgerStore{services: s, election: jobMaster, job: job}
}

// Intent returns the store of a job's intent. jobMaster guards its writes.
func (s *Services) Intent(jobMaster *LeaderElection, job id.Job) *IntentStore {
	return &IntentStore{services: s, election: jobMaster, path: jobNode(job, "intent")}
}

// Leadership returns the store of the cluster's leadership history. dispatcher guards its writes.
func (s *Services) Leadership(dispatcher *LeaderElection) *LeadershipStore {
	return &LeadershipStore{services: s, election: dispatcher}
}

// Blobs returns the store of job binaries.
func (s *Services) Blobs() *BlobStore { return s.blobs }

// Close gives up everything that this process holds. It deletes nothing that was stored. If ctx ends
// first, the driver goes on closing in the background.
func (s *Services) Close(ctx context.Context) error {
	closed := make(chan error, 1) // room for one: the driver never waits for a caller that left
	go func() { closed <- s.driver.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			return fmt.Errorf("close HA driver: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close HA driver: %w", ctx.Err())
	}
}

// read returns a node, waiting while the backend is unavailable.
func (s *Services) read(ctx context.Context, path string) (n Node, err error) {
	err = retry(ctx, s.log, path, func() error {
		n, err = s.driver.Read(ctx, path)
		return err
	})
	return n, err
}

// children lists nodes, waiting while the backend is unavailable.
func (s *Services) children(ctx context.Context, path string) (names []string, err error) {
	err = retry(ctx, s.log, path, func() error {
		names, err = s.driver.Children(ctx, path)
		return err
	})
	return names, err
}

const (
	jobGraphNodes  = "jobgraphs"
	jobNodes       = "jobs"
	jobResultNodes = "job-results"
)

func jobNode(job id.Job, name string) string { return jobNodes + "/" + job.String() + "/" + name }

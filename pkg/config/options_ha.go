package config

const availability = "High availability"

// Values of high-availability.type.
const (
	HANone       = "NONE"
	HALocal      = "local"
	HAZooKeeper  = "zookeeper"
	HAKubernetes = "kubernetes"
)

// Values of high-availability.zookeeper.client.acl.
const (
	ACLOpen    = "open"
	ACLCreator = "creator"
)

// Values of cleanup-strategy.type.
const (
	CleanupNone             = "none"
	CleanupFixedDelay       = "fixed-delay"
	CleanupExponentialDelay = "exponential-delay"
)

var (
	// HAType says which backend elects leaders: one of the HA constants.
	HAType = define(availability, oneOf("NONE|standalone|off|disabled", HALocal, HAZooKeeper, HAKubernetes), Description{
		Key: "high-availability.type", Default: HANone, Older: []string{"high-availability", "recovery.mode"},
		Doc: "Who elects leaders. NONE: one JobManager at a fixed address. local: file locks below the storageDir, for several JobManagers on one machine. zookeeper, kubernetes: that service."})
	// HAClusterID separates clusters that share a ZooKeeper or a storageDir.
	HAClusterID = define(availability, text, Description{Key: "high-availability.cluster-id", Default: "/default",
		Older: []string{"high-availability.zookeeper.path.namespace", "recovery.zookeeper.path.namespace"},
		Doc:   "Name of this cluster below the root; clusters that share a ZooKeeper or a storageDir need different ones."})
	// HAStorageDir is where job graphs, checkpoint metadata, results and blobs outlive a leader.
	HAStorageDir = define(availability, text, Description{Key: "high-availability.storageDir",
		Older: []string{"high-availability.zookeeper.storageDir", "recovery.zookeeper.storageDir"},
		Doc:   "Folder that every JobManager can reach, for what outlives a leader: job graphs, job binaries, checkpoint metadata, job results. Mandatory unless the type is NONE; there it lets a restarted JobManager adopt its running jobs."})
	// HAJobManagerPort is the choice of RPC ports of a JobManager when high availability is on.
	HAJobManagerPort = define(availability, ports, Description{Key: "high-availability.jobmanager.port", Default: "0",
		Older: []string{"recovery.jobmanager.port"},
		Doc:   "RPC port of a JobManager when high availability is on: a port or ranges; 0 is any free port."})
	// HAExecutionPlansPath is the znode of stored job graphs below the cluster.
	HAExecutionPlansPath = define(availability, text, Description{Key: "high-availability.zookeeper.path.execution-plans", Default: "/jobgraphs",
		Older: []string{"high-availability.zookeeper.path.jobgraphs", "recovery.zookeeper.path.jobgraphs"},
		Doc:   "Znode of stored job graphs below the cluster. (Flink 2 has /execution-plans here.)"})

	// LeaderProbeEnabled turns the watch over the leader's process on.
	LeaderProbeEnabled = define(availability, boolean, Description{Key: "high-availability.leader-probe.enabled", Default: "true",
		Doc: "Whether the next in line watches the process of the leader and takes over when it is gone or frozen, long before its session times out. Costs one stream from the next in line to the leader's process (local: from each standby), and a small message on it in each interval. Off, a killed leader of type zookeeper is missed only when its session ends, and a frozen one of type local never."})
	// LeaderProbeInterval is the pause between two signs of life of a watched leader; 0 = a quarter of LeaderProbeTimeout.
	LeaderProbeInterval = define(availability, positive(), Description{Key: "high-availability.leader-probe.interval",
		Doc: "Pause between two signs of life that a watched leader gives: at least 10 ms, at most a quarter of the timeout, which is also the default. It bounds nothing by itself: a killed leader is noticed at once, a frozen one after the timeout. Shorter costs messages; longer lets fewer late ones look like silence."})
	// LeaderProbeTimeout is how long a leader may stay silent before it is evicted.
	LeaderProbeTimeout = define(availability, positive(), Description{Key: "high-availability.leader-probe.timeout", Default: "2 s",
		Doc: "A leader that has not answered for this long is evicted (zookeeper: it is asked through ZooKeeper after half of it; local: it is killed). Shorter finds frozen leaders and lost hosts sooner, and evicts leaders on busy machines more often, which is safe and costs no task, but with local a process."})

	// ZooKeeperQuorum is the comma-separated host:port list of the ZooKeeper servers.
	ZooKeeperQuorum = define(availability, text, Description{Key: "high-availability.zookeeper.quorum", Older: []string{"recovery.zookeeper.quorum"},
		Doc: "ZooKeeper servers as host:port, separated by commas. Mandatory for type zookeeper."})
	// ZooKeeperRoot is the znode below which all clusters live.
	ZooKeeperRoot = define(availability, text, Description{Key: "high-availability.zookeeper.path.root", Default: "/flink",
		Older: []string{"recovery.zookeeper.path.root"}, Doc: "Znode below which every cluster has its own."})
	// ZooKeeperSessionTimeout is the session timeout asked for; the server may shorten it.
	ZooKeeperSessionTimeout = define(availability, positive(), Description{Key: "high-availability.zookeeper.client.session-timeout", Default: "1 min",
		Older: []string{"recovery.zookeeper.client.session-timeout"},
		Doc:   "Session timeout asked for. The server keeps it between 2 and 20 of its ticks. It bounds only the loss of a whole machine."})
	// ZooKeeperConnectionTimeout bounds one attempt to connect.
	ZooKeeperConnectionTimeout = define(availability, positive(), Description{Key: "high-availability.zookeeper.client.connection-timeout", Default: "15 s",
		Older: []string{"recovery.zookeeper.client.connection-timeout"}, Doc: "Longest wait for a connection to one ZooKeeper server."})
	// ZooKeeperRetryWait is the first pause before an operation is tried again.
	ZooKeeperRetryWait = define(availability, positive(), Description{Key: "high-availability.zookeeper.client.retry-wait", Default: "5 s",
		Older: []string{"recovery.zookeeper.client.retry-wait"}, Doc: "First pause before a failed operation is tried again; it doubles."})
	// ZooKeeperMaxRetryWait is the longest pause before an operation is tried again.
	ZooKeeperMaxRetryWait = define(availability, positive(), Description{Key: "high-availability.zookeeper.client.max-retry-wait", Default: "1 min",
		Doc: "Longest pause before a failed operation is tried again."})
	// ZooKeeperMaxRetryAttempts is how often an operation is tried again.
	ZooKeeperMaxRetryAttempts = define(availability, atLeast(0), Description{Key: "high-availability.zookeeper.client.max-retry-attempts", Default: "3",
		Older: []string{"recovery.zookeeper.client.max-retry-attempts"}, Doc: "How often a failed operation is tried again."})
	// ZooKeeperTolerateSuspended keeps leadership while the connection is lost but the session may live.
	ZooKeeperTolerateSuspended = define(availability, boolean, Description{Key: "high-availability.zookeeper.client.tolerate-suspended-connections", Default: "true",
		Doc: "Whether a leader goes on leading while its connection is interrupted, until the session is lost. (Flink's default is false.)"})
	// ZooKeeperACL is who may change our znodes: ACLOpen or ACLCreator.
	ZooKeeperACL = define(availability, oneOf(ACLOpen, ACLCreator), Description{Key: "high-availability.zookeeper.client.acl", Default: ACLOpen,
		Doc: "Who may change the znodes: everybody, or only who authenticates as their creator."})
	// ZooKeeperAuthorization are the credentials by scheme.
	ZooKeeperAuthorization = define(availability, dictionary, Description{Key: "high-availability.zookeeper.client.authorization",
		Doc: "Credentials as scheme:auth pairs, such as digest:user:password."})

	// JobResultStorePath is where job results are kept.
	JobResultStorePath = define(availability, text, Description{Key: "job-result-store.storage-path",
		Doc: "Folder of job results; by default job-result-store/<cluster-id> below the storageDir."})
	// JobResultStoreDeleteOnCommit drops a job's result when its clean-up is over.
	JobResultStoreDeleteOnCommit = define(availability, boolean, Description{Key: "job-result-store.delete-on-commit", Default: "true",
		Doc: "Whether the result of a job is deleted once everything else of the job is cleaned up. It is kept here, as what is remembered of an ended job: see completed-application-store.max-capacity."})

	// CompletedJobsCapacity is how many ended jobs are remembered.
	CompletedJobsCapacity = define(availability, atLeast(1), Description{Key: "completed-application-store.max-capacity", Default: "1000",
		Older: []string{"jobstore.max-capacity"},
		Doc:   "How many ended jobs are remembered, the newest ones. (Flink's default is 2147483647.)"})
	// CompletedJobsExpiration is how long ended jobs are remembered; 0 = while there is room.
	CompletedJobsExpiration = define(availability, duration, Description{Key: "completed-application-store.expiration-time",
		Doc: "How long ended jobs are remembered. Not set or 0: as long as there is room. (Flink's default is 1 h.)"})

	// CleanupStrategy says how a failed clean-up of a finished job is repeated: one of the Cleanup constants.
	CleanupStrategy = define(availability, oneOf("none|disable|off", "fixed-delay|fixeddelay", "exponential-delay|exponentialdelay"), Description{
		Key: "cleanup-strategy.type", Default: CleanupExponentialDelay, Older: []string{"cleanup-strategy"},
		Doc: "How a failed clean-up of a finished job's data is repeated."})
	// CleanupFixedDelayAttempts is how often a clean-up is repeated with fixed pauses.
	CleanupFixedDelayAttempts = define(availability, atLeast(0), Description{Key: "cleanup-strategy.fixed-delay.attempts", Default: "2147483647",
		Doc: "Number of repeated attempts of strategy fixed-delay."})
	// CleanupFixedDelayPause is the pause between attempts of strategy fixed-delay.
	CleanupFixedDelayPause = define(availability, duration, Description{Key: "cleanup-strategy.fixed-delay.delay", Default: "1 min",
		Doc: "Pause between attempts of strategy fixed-delay."})
	// CleanupInitialBackoff is the first pause of strategy exponential-delay.
	CleanupInitialBackoff = define(availability, positive(), Description{Key: "cleanup-strategy.exponential-delay.initial-backoff", Default: "1 s",
		Doc: "First pause of strategy exponential-delay."})
	// CleanupMaxBackoff is the longest pause of strategy exponential-delay.
	CleanupMaxBackoff = define(availability, positive(), Description{Key: "cleanup-strategy.exponential-delay.max-backoff", Default: "1 h",
		Doc: "Longest pause of strategy exponential-delay."})
)

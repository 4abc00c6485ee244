package config

const addresses = "Addresses, ports, folders"

// Loopback is where every server listens unless the configuration says otherwise: nothing here asks a
// client who it is.
const Loopback = "127.0.0.1"

var (
	// JobManagerRPCAddress is the host under which this JobManager announces itself, and where processes
	// look for it when high availability is off.
	JobManagerRPCAddress = define(addresses, text, Description{Key: "jobmanager.rpc.address", Default: "localhost",
		Doc: "Host under which the JobManager is reached by TaskManagers and by other JobManagers."})
	// JobManagerRPCPort is the RPC port of the one JobManager when high availability is off.
	JobManagerRPCPort = define(addresses, port, Description{Key: "jobmanager.rpc.port", Default: "6123",
		Doc: "RPC port of the JobManager when high availability is off; otherwise see high-availability.jobmanager.port."})
	// JobManagerBindHost is the interface that RPC and blob server of a JobManager listen on.
	JobManagerBindHost = define(addresses, text, Description{Key: "jobmanager.bind-host", Default: Loopback,
		Doc: "Interface on which a JobManager's RPC and blob server listen. 0.0.0.0 for all."})
	// JobManagerRPCBindPort is the port bound instead of jobmanager.rpc.port, behind a port translation.
	JobManagerRPCBindPort = define(addresses, port, Description{Key: "jobmanager.rpc.bind-port",
		Doc: "Port really bound, where it differs from the announced jobmanager.rpc.port (behind a port translation)."})

	// TaskManagerHost is the host that a TaskManager announces for RPC and records.
	TaskManagerHost = define(addresses, text, Description{Key: "taskmanager.host", Default: "localhost",
		Doc: "Host that a TaskManager announces to the others. On more than one machine each TaskManager needs its own; start-cluster.sh passes the name in conf/workers to TaskManagers on other machines when this is not set."})
	// TaskManagerBindHost is the interface that a TaskManager and its job processes listen on.
	TaskManagerBindHost = define(addresses, text, Description{Key: "taskmanager.bind-host", Default: Loopback,
		Doc: "Interface on which a TaskManager and its job processes listen. 0.0.0.0 for all."})
	// TaskManagerRPCPort is the choice of RPC ports of a TaskManager.
	TaskManagerRPCPort = define(addresses, ports, Description{Key: "taskmanager.rpc.port", Default: "0",
		Doc: "RPC port of a TaskManager: a port, or ranges that are tried in order; 0 is any free port."})
	// TaskManagerDataPort is the port on which a job process takes records from other job processes.
	TaskManagerDataPort = define(addresses, port, Description{Key: "taskmanager.data.port", Default: "0",
		Doc: "Port on which a job process takes records from others; 0 is any free port. A fixed port allows one job process on a machine."})
	// TaskManagerResourceID is the TaskManager's name.
	TaskManagerResourceID = define(addresses, text, Description{Key: "taskmanager.resource-id",
		Doc: "Name of the TaskManager in the cluster, unique and new at each start; by default host, port and a random part."})

	// BlobServerPort is the choice of ports of a JobManager's blob server.
	BlobServerPort = define(addresses, ports, Description{Key: "blob.server.port", Default: "0",
		Doc: "Port of the JobManager's blob server, from which TaskManagers fetch job binaries: a port or ranges; 0 is any free port."})
	// BlobStorageDirectory is where a process keeps its copies of blobs.
	BlobStorageDirectory = define(addresses, text, Description{Key: "blob.storage.directory",
		Doc: "Local folder for copies of blobs; by default a folder of the process in io.tmp.dirs."})
	// TmpDirs are the folders for temporary files.
	TmpDirs = define(addresses, directories, Description{Key: "io.tmp.dirs", Default: "/tmp", Older: []string{"taskmanager.tmp.dirs"},
		Doc: "Folders for temporary files, separated by a comma, a bar or a colon. The first is used for what exists once for each process."})

	// ServicesShutdownTimeout bounds an orderly end of a process.
	ServicesShutdownTimeout = define(addresses, positive(), Description{Key: "cluster.services.shutdown-timeout", Default: "30 s",
		Doc: "How long a process that was told to stop may take for an orderly end; then it just ends."})
)

package config

const environment = "Logs, and what the scripts use"

// Values of env.log.level.
const (
	LogTrace = "TRACE"
	LogDebug = "DEBUG"
	LogInfo  = "INFO"
	LogWarn  = "WARN"
	LogError = "ERROR"
	LogOff   = "OFF"
)

var (
	// LogDir is the folder of log files, also those of job processes.
	LogDir = define(environment, text, Description{Key: "env.log.dir",
		Doc: "Folder of log files, also those of job processes. The scripts use log/ in the distribution when it is not set, and pass it on."})
	// LogMax is the number of log files of earlier runs that are kept.
	LogMax = define(environment, atLeast(0), Description{Key: "env.log.max", Default: "10", Doc: "Number of log files of earlier runs that the scripts keep."})
	// LogLevel is the least level that is logged: one of the Log constants.
	LogLevel = define(environment, oneOf(LogTrace, LogDebug, LogInfo, "WARN|WARNING", LogError, LogOff), Description{Key: "env.log.level", Default: LogInfo,
		Doc: "Least level that is logged. TRACE is the same as DEBUG."})
	// PIDDir is the folder of pid files.
	PIDDir = define(environment, text, Description{Key: "env.pid.dir", Default: "/tmp", Doc: "Folder of the scripts' pid files."})
	// SSHOptions are passed to ssh.
	SSHOptions = define(environment, text, Description{Key: "env.ssh.opts", Doc: "Options that the scripts pass to ssh."})
	// RedirectOutput sends the output of foreground processes to files.
	RedirectOutput = define(environment, boolean, Description{Key: "env.stdout-err.redirect-to-file", Default: "false",
		Doc: "Whether the output of processes in the foreground goes to the files in the log folder too."})
	// JavaHome is the Java that runs a local ZooKeeper.
	JavaHome = define(environment, text, Description{Key: "env.java.home", Doc: "Java installation that runs the local ZooKeeper of zookeeper.sh."})
	// ZooKeeperHeap is the heap of a local ZooKeeper.
	ZooKeeperHeap = define(environment, atLeast(0), Description{Key: "zookeeper.heap.mb", Default: "0", Unit: "MB",
		Doc: "Heap of the local ZooKeeper of zookeeper.sh; 0 leaves it to Java."})
)

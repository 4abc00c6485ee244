package config

const checkpoints = "Checkpoints and state"

// Values of execution.checkpointing.mode.
const (
	ExactlyOnce = "EXACTLY_ONCE"
	AtLeastOnce = "AT_LEAST_ONCE"
)

// Values of execution.checkpointing.externalized-checkpoint-retention.
const (
	DeleteOnCancellation    = "DELETE_ON_CANCELLATION"
	RetainOnCancellation    = "RETAIN_ON_CANCELLATION"
	NoExternalizedRetention = "NO_EXTERNALIZED_CHECKPOINTS"
)

var (
	// CheckpointInterval is the pause between the starts of two checkpoints; 0 turns them off.
	CheckpointInterval = define(checkpoints, duration, Description{Key: "execution.checkpointing.interval",
		Doc: "Time between the starts of two checkpoints. Not set or 0: no checkpoints."})
	// CheckpointMode is ExactlyOnce or AtLeastOnce.
	CheckpointMode = define(checkpoints, oneOf(ExactlyOnce, AtLeastOnce), Description{Key: "execution.checkpointing.mode", Default: ExactlyOnce,
		Doc: "What a restart from a checkpoint promises about each record."})
	// CheckpointTimeout is how long a checkpoint may take.
	CheckpointTimeout = define(checkpoints, positive(), Description{Key: "execution.checkpointing.timeout", Default: "10 min",
		Doc: "A checkpoint that is not complete after this long is given up."})
	// CheckpointMinPause is the least time between two checkpoints.
	CheckpointMinPause = define(checkpoints, duration, Description{Key: "execution.checkpointing.min-pause", Default: "0 ms",
		Doc: "Least time between the end of a checkpoint and the start of the next."})
	// MaxConcurrentCheckpoints is how many checkpoints may be under way.
	MaxConcurrentCheckpoints = define(checkpoints, atLeast(1), Description{Key: "execution.checkpointing.max-concurrent-checkpoints", Default: "1",
		Doc: "How many checkpoints of a job may be under way."})
	// TolerableFailedCheckpoints is the number of checkpoints in a row that may fail.
	TolerableFailedCheckpoints = define(checkpoints, atLeast(-1), Description{Key: "execution.checkpointing.tolerable-failed-checkpoints", Default: "0",
		Doc: "Number of checkpoints in a row that may fail before the job restarts. A checkpoint that a change of leader ends does not count."})
	// CheckpointRetention says what happens to checkpoints of a job that ended.
	CheckpointRetention = define(checkpoints, oneOf(DeleteOnCancellation, RetainOnCancellation, NoExternalizedRetention), Description{
		Key: "execution.checkpointing.externalized-checkpoint-retention", Default: NoExternalizedRetention,
		Doc: "Whether the checkpoints of a cancelled job are kept."})
	// CheckpointsDir is where checkpoints are written.
	CheckpointsDir = define(checkpoints, text, Description{Key: "execution.checkpointing.dir",
		Older: []string{"state.checkpoints.dir", "state.backend.fs.checkpointdir"},
		Doc:   "Folder that every process can reach, for checkpoints: <dir>/<job id>/chk-<n>. Not set: below high-availability.storageDir."})
	// CheckpointsRetained is the number of completed checkpoints that are kept.
	CheckpointsRetained = define(checkpoints, atLeast(1), Description{Key: "execution.checkpointing.num-retained", Default: "1",
		Older: []string{"state.checkpoints.num-retained"}, Doc: "Number of completed checkpoints that are kept."})
	// RecoverFromOlder allows a restart from an older checkpoint than the latest.
	RecoverFromOlder = define(checkpoints, boolean, Description{Key: "execution.checkpointing.recover-from-older", Default: "false",
		Doc: "Whether a job whose latest checkpoint cannot be read may restart from the next older one, if it is kept (execution.checkpointing.num-retained). Sinks write again what they had committed since. Otherwise the job fails. (Not a setting of Flink.)"})
	// DataInlineThreshold is the largest state that is kept in the metadata of a checkpoint.
	DataInlineThreshold = define(checkpoints, memory, Description{Key: "execution.checkpointing.data-inline-threshold", Default: "20kb",
		Older: []string{"state.storage.fs.memory-threshold", "state.backend.fs.memory-threshold"},
		Doc:   "State of a task that is smaller than this goes into the metadata of the checkpoint instead of a file of its own."})
	// SavepointDir is where savepoints are written.
	SavepointDir = define(checkpoints, text, Description{Key: "execution.checkpointing.savepoint-dir",
		Older: []string{"state.savepoints.dir", "savepoints.state.backend.fs.dir"}, Doc: "Folder for savepoints that name none."})
	// StateBackend is where keyed state lives.
	StateBackend = define(checkpoints, oneOf("hashmap|filesystem|jobmanager"), Description{Key: "state.backend.type", Default: "hashmap",
		Older: []string{"state.backend"}, Doc: "Where keyed state lives: hashmap is the memory of the job process."})
)

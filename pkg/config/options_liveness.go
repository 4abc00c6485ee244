package config

const liveness = "Heartbeats, registration, slots"

var (
	// HeartbeatInterval is the pause between two heartbeats.
	HeartbeatInterval = define(liveness, positive(), Description{Key: "heartbeat.interval", Default: "10 s", Doc: "Pause between two heartbeats to the same process."})
	// HeartbeatTimeout is how long a process may stay silent.
	HeartbeatTimeout = define(liveness, positive(), Description{Key: "heartbeat.timeout", Default: "50 s",
		Doc: "A process that was silent for this long counts as lost. One that refuses connections counts as lost at once."})
	// HeartbeatRPCFailureThreshold is the number of heartbeats in a row that may fail to be sent.
	HeartbeatRPCFailureThreshold = define(liveness, atLeast(-1), Description{Key: "heartbeat.rpc-failure-threshold", Default: "2",
		Doc: "Number of heartbeats in a row that could not be sent after which a process counts as lost; -1 for never."})
	// RegistrationInitialTimeout is the first wait for an answer to a registration.
	RegistrationInitialTimeout = define(liveness, positive(), Description{Key: "cluster.registration.initial-timeout", Default: "100 ms",
		Doc: "First wait for the answer to a registration; it doubles."})
	// RegistrationMaxTimeout is the longest wait for an answer to a registration.
	RegistrationMaxTimeout = define(liveness, positive(), Description{Key: "cluster.registration.max-timeout", Default: "30 s",
		Doc: "Longest wait for the answer to a registration."})
	// RegistrationErrorDelay is the pause after a registration that failed.
	RegistrationErrorDelay = define(liveness, positive(), Description{Key: "cluster.registration.error-delay", Default: "10 s",
		Doc: "Longest pause after a registration that failed."})
	// RegistrationRefusedDelay is the pause after a registration that was refused.
	RegistrationRefusedDelay = define(liveness, positive(), Description{Key: "cluster.registration.refused-registration-delay", Default: "30 s",
		Doc: "Pause after a registration that was refused."})
	// TaskManagerRegistrationTimeout is how long a TaskManager looks for a ResourceManager.
	TaskManagerRegistrationTimeout = define(liveness, positive(), Description{Key: "taskmanager.registration.timeout", Default: "5 min",
		Older: []string{"taskmanager.maxRegistrationDuration"},
		Doc:   "A TaskManager that has found no ResourceManager for this long ends, unless it still has tasks."})
	// TaskManagerSlotTimeout is how long a leased slot waits for its job.
	TaskManagerSlotTimeout = define(liveness, positive(), Description{Key: "taskmanager.slot.timeout", Default: "10 s",
		Doc: "A slot that was leased to a job and that no JobMaster has taken for this long is free again."})
	// JobOrphanTimeout is how long tasks run on without a master.
	JobOrphanTimeout = define(liveness, positive(), Description{Key: "taskmanager.job.orphan-timeout", Default: "5 min",
		Doc: "How long the tasks of a job run on without a JobMaster before the TaskManager gives them up. Not in Flink, where it is 0."})
	// TaskCancellationTimeout is how long a task may take to end when it is cancelled.
	TaskCancellationTimeout = define(liveness, duration, Description{Key: "task.cancellation.timeout", Default: "3 min",
		Doc: "A job's process with a task that has not ended this long after it was cancelled is killed, so that the job can go on. 0 for never. Flink ends the whole TaskManager."})
	// JobMasterAdoptionTimeout is how long a new JobMaster waits for the tasks of its predecessor.
	JobMasterAdoptionTimeout = define(liveness, positive(), Description{Key: "jobmaster.adoption-timeout", Default: "30 s",
		Doc: "How long a new JobMaster waits for TaskManagers to report running tasks before it restarts those that nobody reported. Not in Flink."})
	// NumberOfTaskSlots is the number of slots of a TaskManager.
	NumberOfTaskSlots = define(liveness, atLeast(1), Description{Key: "taskmanager.numberOfTaskSlots", Default: "1",
		Doc: "Number of slots of a TaskManager; a slot takes one parallel instance of a whole job."})
	// SlotRequestTimeout is how long a job waits for slots.
	SlotRequestTimeout = define(liveness, positive(), Description{Key: "slot.request.timeout", Default: "5 min",
		Doc: "A job that has not got its slots for this long fails."})
)

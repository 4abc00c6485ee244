package entrypoint

import (
	"fmt"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/jobgraph"
)

func timing(cfg *config.Configuration) Timing {
	return Timing{
		HeartbeatInterval: config.HeartbeatInterval.In(cfg),
		HeartbeatTimeout:  config.HeartbeatTimeout.In(cfg),
		Adoption:          config.JobMasterAdoptionTimeout.In(cfg),
		SlotRequest:       config.SlotRequestTimeout.In(cfg),
	}
}

// defaults are what the cluster's configuration says for jobs that leave it open. Checkpoints go below
// the HA storage directory unless there is a directory for them.
func defaults(cfg *config.Configuration) Defaults {
	dir := config.CheckpointsDir.In(cfg)
	if storage := config.HAStorageDir.In(cfg); dir == "" && storage != "" {
		dir = filesystem.Join(storage, config.HAClusterID.In(cfg), "checkpoints")
	}
	return Defaults{CheckpointDir: dir, Restart: restart(cfg)}
}

func restart(cfg *config.Configuration) jobgraph.Restart {
	kind, delay := jobgraph.RestartKind(config.RestartStrategy.In(cfg)), config.RestartFixedDelayPause.In(cfg)
	if kind == jobgraph.RestartFailureRate {
		delay = config.RestartFailureRatePause.In(cfg)
	}
	return jobgraph.Restart{
		Kind:           kind,
		Attempts:       config.RestartFixedDelayAttempts.In(cfg),
		Delay:          delay,
		MaxPerInterval: config.RestartFailureRateMax.In(cfg),
		Interval:       config.RestartFailureRateInterval.In(cfg),
		InitialBackoff: config.RestartInitialBackoff.In(cfg),
		MaxBackoff:     config.RestartMaxBackoff.In(cfg),
		Multiplier:     config.RestartBackoffMultiplier.In(cfg),
		ResetAfter:     config.RestartResetThreshold.In(cfg),
		Jitter:         config.RestartJitterFactor.In(cfg),
	}
}

func ended(cfg *config.Configuration) EndedJobs {
	return EndedJobs{Capacity: config.CompletedJobsCapacity.In(cfg), Expiration: config.CompletedJobsExpiration.In(cfg)}
}

func cleanup(cfg *config.Configuration) Cleanup {
	switch config.CleanupStrategy.In(cfg) {
	case config.CleanupNone:
		return Cleanup{Attempts: 1}
	case config.CleanupFixedDelay:
		pause := config.CleanupFixedDelayPause.In(cfg)
		return Cleanup{InitialBackoff: pause, MaxBackoff: pause, Attempts: 1 + config.CleanupFixedDelayAttempts.In(cfg)}
	default:
		return Cleanup{InitialBackoff: config.CleanupInitialBackoff.In(cfg), MaxBackoff: config.CleanupMaxBackoff.In(cfg)}
	}
}

// validate finds settings that contradict each other.
func validate(cfg *config.Configuration) error {
	if interval, timeout := config.HeartbeatInterval.In(cfg), config.HeartbeatTimeout.In(cfg); interval >= timeout {
		return fmt.Errorf("%s (%s) must be shorter than %s (%s)", config.HeartbeatInterval.Key, interval, config.HeartbeatTimeout.Key, timeout)
	}
	if highlyAvailable(cfg) && config.HAStorageDir.In(cfg) == "" {
		return fmt.Errorf("%s is %s, which needs %s: a directory that all JobManagers can reach",
			config.HAType.Key, config.HAType.In(cfg), config.HAStorageDir.Key)
	}
	if !highlyAvailable(cfg) && config.JobManagerRPCPort.In(cfg) == 0 {
		return fmt.Errorf("%s is 0: without high availability TaskManagers must know the port beforehand", config.JobManagerRPCPort.Key)
	}
	return nil
}

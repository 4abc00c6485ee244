package config

import (
	"errors"
	"fmt"
)

// unsupported are switches of Flink that must not be accepted in silence: who turns them on relies on them.
var unsupported = []string{"security.ssl.enabled", "security.ssl.internal.enabled", "security.ssl.rest.enabled", "security.ssl.rest.authentication-enabled"}

// CheckCluster reports what keeps a JobManager or TaskManager from running under c although each value is
// right by itself. A client does not need it. The error has a line for each thing that is wrong.
func (c *Configuration) CheckCluster() error {
	var errs []error
	fail := func(key, format string, args ...any) {
		place := ""
		if s, ok := c.Lookup(key); ok {
			place = s.Place + ": "
		}
		errs = append(errs, fmt.Errorf("%s%s %s", place, key, fmt.Sprintf(format, args...)))
	}
	mode := HAType.In(c)
	if mode != HANone && HAStorageDir.In(c) == "" {
		fail(HAStorageDir.Key, "must be set for %s %s", HAType.Key, mode)
	}
	if mode == HAZooKeeper && ZooKeeperQuorum.In(c) == "" {
		fail(ZooKeeperQuorum.Key, "must be set for %s %s", HAType.Key, mode)
	}
	if HeartbeatInterval.In(c) >= HeartbeatTimeout.In(c) {
		fail(HeartbeatInterval.Key, "(%s) must be less than %s (%s)", HeartbeatInterval.In(c), HeartbeatTimeout.Key, HeartbeatTimeout.In(c))
	}
	if 4*LeaderProbeInterval.In(c) > LeaderProbeTimeout.In(c) {
		fail(LeaderProbeInterval.Key, "(%s) must be at most a quarter of %s (%s): one late sign of life must not look like silence",
			LeaderProbeInterval.In(c), LeaderProbeTimeout.Key, LeaderProbeTimeout.In(c))
	}
	if DefaultParallelism.In(c) > PipelineMaxParallelism.In(c) {
		fail(DefaultParallelism.Key, "(%d) must not exceed %s (%d)", DefaultParallelism.In(c), PipelineMaxParallelism.Key, PipelineMaxParallelism.In(c))
	}
	for _, key := range unsupported {
		if s, ok := c.Lookup(key); ok {
			if on, err := parseBool(s.Value); err != nil || on {
				fail(key, "asks for TLS, which there is none of: remove it")
			}
		}
	}
	return errors.Join(errs...)
}

package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/worker"
)

// configuration loads the configuration directory and puts the options of the command line on top.
func (c *cli) configuration() (*config.Configuration, error) {
	dynamic := slices.Clone(c.dynamic)
	if c.clusterID != "" {
		dynamic = append(dynamic, config.HAClusterID.Key+"="+c.clusterID)
	}
	dir, asked := c.directory()
	cfg, warnings, err := config.Load(dir, dynamic)
	if errors.Is(err, config.ErrNoFile) && !asked {
		cfg, warnings, err = config.Load("", dynamic)
	}
	for _, w := range warnings {
		if !w.Quiet {
			fmt.Fprintf(c.stderr, "warning: %s\n", w)
		}
	}
	return cfg, err
}

// directory is where the configuration lies; asked says that someone named it, so that it must be there.
func (c *cli) directory() (dir string, asked bool) {
	if dir := cmp.Or(c.configDir, os.Getenv("TAMIAS_CONF_DIR"), os.Getenv("FLINK_CONF_DIR")); dir != "" {
		return dir, true
	}
	candidates := []string{"conf"}
	if self, err := os.Executable(); err == nil {
		candidates = append(candidates, filepath.Join(filepath.Dir(self), "..", "conf"))
	}
	for _, dir := range candidates {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir, false
		}
	}
	return "", false
}

// programDefaults is the environment that tells a program what to do where it says nothing itself.
func programDefaults(cfg *config.Configuration, parallelism int) []string {
	env := []string{fmt.Sprintf("%s=%d", worker.EnvParallelism, parallelism)}
	if config.PipelineMaxParallelism.IsSet(cfg) {
		env = append(env, fmt.Sprintf("%s=%d", worker.EnvMaxParallelism, config.PipelineMaxParallelism.In(cfg)))
	}
	switch {
	case !config.BufferTimeoutEnabled.In(cfg):
		env = append(env, worker.EnvBufferTimeout+"=-1ms") // full batches only
	case config.BufferTimeout.IsSet(cfg):
		env = append(env, worker.EnvBufferTimeout+"="+config.BufferTimeout.In(cfg).String())
	}
	return env
}

// applySettings gives a job what the client's configuration says and the program left open. What is in
// neither, the cluster decides.
func applySettings(g *jobgraph.JobGraph, cfg *config.Configuration) {
	c := &g.Checkpointing
	c.Interval = cmp.Or(c.Interval, config.CheckpointInterval.In(cfg))
	c.Dir = cmp.Or(c.Dir, config.CheckpointsDir.In(cfg))
	if config.CheckpointTimeout.IsSet(cfg) {
		c.Timeout = cmp.Or(c.Timeout, config.CheckpointTimeout.In(cfg))
	}
	if config.CheckpointMinPause.IsSet(cfg) {
		c.MinPause = cmp.Or(c.MinPause, config.CheckpointMinPause.In(cfg))
	}
	if config.CheckpointsRetained.IsSet(cfg) {
		c.Retained = cmp.Or(c.Retained, config.CheckpointsRetained.In(cfg))
	}
	if config.TolerableFailedCheckpoints.IsSet(cfg) {
		c.TolerableFailures = cmp.Or(c.TolerableFailures, max(0, config.TolerableFailedCheckpoints.In(cfg)))
	}
	if retention := config.CheckpointRetention.In(cfg); c.Retention == jobgraph.RetainNothing && retention != config.NoExternalizedRetention {
		c.Retention = jobgraph.Retention(retention)
	}
	if g.Restart.Kind == jobgraph.RestartDefault {
		g.Restart = restartOf(cfg)
	}
}

// restartOf is the restart strategy that the client's configuration names, the zero value for none.
func restartOf(cfg *config.Configuration) jobgraph.Restart {
	switch kind := jobgraph.RestartKind(config.RestartStrategy.In(cfg)); kind {
	case jobgraph.RestartFixedDelay:
		return jobgraph.Restart{
			Kind: kind, Attempts: config.RestartFixedDelayAttempts.In(cfg), Delay: config.RestartFixedDelayPause.In(cfg),
		}
	case jobgraph.RestartFailureRate:
		return jobgraph.Restart{
			Kind: kind, MaxPerInterval: config.RestartFailureRateMax.In(cfg),
			Interval: config.RestartFailureRateInterval.In(cfg), Delay: config.RestartFailureRatePause.In(cfg),
		}
	case jobgraph.RestartExponentialDelay:
		return jobgraph.Restart{
			Kind:           kind,
			InitialBackoff: config.RestartInitialBackoff.In(cfg),
			MaxBackoff:     config.RestartMaxBackoff.In(cfg),
			Multiplier:     config.RestartBackoffMultiplier.In(cfg),
			ResetAfter:     config.RestartResetThreshold.In(cfg),
			Jitter:         config.RestartJitterFactor.In(cfg),
		}
	default:
		return jobgraph.Restart{Kind: kind}
	}
}

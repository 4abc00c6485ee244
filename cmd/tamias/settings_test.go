package main

import (
	"slices"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/jobgraph"
)

func settings(t *testing.T, values map[string]string) *config.Configuration {
	t.Helper()
	cfg, err := config.FromMap(values)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestProgramDefaults(t *testing.T) {
	for _, tc := range []struct {
		name   string
		values map[string]string
		want   []string
	}{
		{"nothing set", nil, []string{"TAMIAS_PARALLELISM=4"}},
		{"set", map[string]string{"pipeline.max-parallelism": "64", "execution.buffer-timeout": "7 ms"},
			[]string{"TAMIAS_PARALLELISM=4", "TAMIAS_MAX_PARALLELISM=64", "TAMIAS_BUFFER_TIMEOUT=7ms"}},
		{"full batches only", map[string]string{"execution.buffer-timeout.enabled": "false", "execution.buffer-timeout.interval": "7 ms"},
			[]string{"TAMIAS_PARALLELISM=4", "TAMIAS_BUFFER_TIMEOUT=-1ms"}},
	} {
		if got := programDefaults(settings(t, tc.values), 4); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestRestartStrategyOfTheConfiguration(t *testing.T) {
	for _, tc := range []struct {
		values map[string]string
		want   jobgraph.Restart
	}{
		{nil, jobgraph.Restart{}},
		{map[string]string{"restart-strategy": "none"}, jobgraph.Restart{Kind: jobgraph.RestartNone}},
		{map[string]string{"restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "7"},
			jobgraph.Restart{Kind: jobgraph.RestartFixedDelay, Attempts: 7, Delay: time.Second}},
		{map[string]string{"restart-strategy.type": "failurerate", "restart-strategy.failure-rate.max-failures-per-interval": "3", "restart-strategy.failure-rate.delay": "5 s"},
			jobgraph.Restart{Kind: jobgraph.RestartFailureRate, MaxPerInterval: 3, Interval: time.Minute, Delay: 5 * time.Second}},
	} {
		g := &jobgraph.JobGraph{}
		applySettings(g, settings(t, tc.values))
		if g.Restart != tc.want {
			t.Errorf("%v: %+v, want %+v", tc.values, g.Restart, tc.want)
		}
	}
	g := &jobgraph.JobGraph{Restart: jobgraph.Restart{Kind: jobgraph.RestartNone}}
	applySettings(g, settings(t, map[string]string{"restart-strategy.type": "fixed-delay"}))
	if g.Restart.Kind != jobgraph.RestartNone {
		t.Errorf("the configuration won over the program: %+v", g.Restart)
	}
}

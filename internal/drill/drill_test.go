package drill

import (
	"io"
	"strings"
	"testing"
	"time"
)

func TestOptions(t *testing.T) {
	for _, tc := range []struct {
		name, scenario string
		options        Options
		want           string // part of the error; empty for none
	}{
		{"a scenario that nobody knows", "kill-everybody", Options{Local: true}, "unknown scenario"},
		{"no such backend", "kill-leader", Options{Local: true, HA: "NONE"}, `high availability "NONE"`},
		{"no standby", "kill-leader", Options{Local: true, JobManagers: 1}, "needs 2 JobManagers"},
		{"no servers", "restart-zookeeper", Options{Local: true}, "--ha zookeeper without --quorum"},
		{"servers of somebody else", "restart-zookeeper", Options{Local: true, HA: "zookeeper", Quorum: "localhost:2181"}, "--ha zookeeper without --quorum"},
		{"links of a live cluster", "partition", Options{}, "use --local"},
		{"no such cut", "partition", Options{Local: true, Cut: "leader-moon"}, `unknown cut "leader-moon"`},
		{"nothing", "kill-leader", Options{Local: true, Rate: -1}, "must be positive"},
	} {
		tc.options.Scenario, tc.options.Progress, tc.options.Bin = tc.scenario, io.Discard, t.TempDir()
		_, err := Run(t.Context(), tc.options)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: Run = %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestDefaults(t *testing.T) {
	for _, tc := range []struct {
		scenario             string
		masters, taskmanager int
		outage               time.Duration
	}{
		{"kill-leader", 2, 2, 0},
		{"kill-leader-twice", 3, 2, 0},
		{"kill-taskmanager", 2, 3, 0},
		{"kill-all-jobmanagers", 2, 2, 0},
		{"restart-zookeeper", 2, 2, 3 * time.Second},
	} {
		s, err := find(tc.scenario)
		if err != nil {
			t.Fatal(err)
		}
		o, err := Options{Local: true, HA: "zookeeper"}.withDefaults(s)
		if err != nil || o.JobManagers != tc.masters || o.TaskManagers != tc.taskmanager || o.Outage != tc.outage || o.Seed == 0 {
			t.Errorf("%s: %d JobManagers, %d TaskManagers, outage %s, seed %d, %v; want %+v",
				tc.scenario, o.JobManagers, o.TaskManagers, o.Outage, o.Seed, err, tc)
		}
	}
}

package failover_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/test/harness"
)

// The drills of `tamias drill` and scripts/demo.sh, on one machine with nothing installed. A frozen leader is
// shot there.
func TestDrillLocal(t *testing.T) {
	for _, scenario := range []string{"kill-leader", "terminate-leader", "freeze-leader"} {
		t.Run(scenario, func(t *testing.T) { drill(t, 3, "--ha", "local", scenario) })
	}
}

// The same with three ZooKeeper servers. A frozen leader comes back there, and steps down.
func TestDrillZooKeeper(t *testing.T) {
	quorum := zkserver.StartEnsemble(t, 3).Quorum()
	for _, tc := range []struct {
		scenario string
		rounds   int
	}{
		{"kill-leader", 3},
		{"terminate-leader", 3},
		{"freeze-leader", 3},
		{"kill-leader-twice", 2},
		{"kill-all-jobmanagers", 1},
		{"kill-taskmanager", 1},
		{"kill-leader-and-taskmanager", 1},
		{"kill-job-process", 1},
	} {
		t.Run(tc.scenario, func(t *testing.T) {
			t.Parallel()
			drill(t, tc.rounds, "--ha", "zookeeper", "--quorum", quorum, tc.scenario)
		})
	}
}

// ZooKeeper is away for longer than any request waits, but not as long as sessions last.
func TestDrillZooKeeperAwayFor30Seconds(t *testing.T) {
	t.Parallel() // it waits most of the time
	report := drill(t, 1, "--ha", "zookeeper", "--outage", "30s", "restart-zookeeper")
	if report.Rounds[0].LeaderChanges != 0 {
		t.Errorf("%d changes of leaders, want none", report.Rounds[0].LeaderChanges)
	}
}

// Links are cut between the processes of a cluster and to ZooKeeper. A leader that is cut off from ZooKeeper
// leads until its session ends; nothing else changes a leader.
func TestDrillPartition(t *testing.T) {
	t.Parallel() // it waits most of the time
	report := drill(t, 5, "--ha", "zookeeper", "--outage", "2s", "partition")
	for _, r := range report.Rounds {
		want := 0
		if r.Detail == "cut leader-zookeeper" {
			want = 1
		}
		if r.LeaderChanges != want {
			t.Errorf("%s: %d changes of leaders, want %d", r.Detail, r.LeaderChanges, want)
		}
	}
}

// A drill tells when a promise is broken: this cluster gives its tasks up before a leader can be back.
func TestDrillOfABrokenPromise(t *testing.T) {
	t.Parallel()
	report := harness.BrokenDrill(t, "--ha", "local", "--checkpoint", "200ms", "--outage", "4s",
		"-D", "taskmanager.job.orphan-timeout=1 s", "kill-all-jobmanagers")
	want := "round 1, kill-all-jobmanagers: 8 tasks were restarted"
	if !slices.ContainsFunc(report.Broken, func(b string) bool { return strings.Contains(b, want) }) {
		t.Errorf("broken: %q, want %q", report.Broken, want)
	}
	if s := report.Summary; s.RecordsLost != 0 || s.RecordsRepeated != 0 {
		t.Errorf("lost %d records, repeated %d", s.RecordsLost, s.RecordsRepeated)
	}
}

func drill(t *testing.T, rounds int, args ...string) harness.DrillReport {
	t.Helper()
	report := harness.Drill(t, append([]string{"--count", strconv.Itoa(rounds), "--checkpoint", "200ms", "--window", "500ms"}, args...)...)
	if len(report.Rounds) != rounds || report.Summary.Records == 0 {
		t.Fatalf("%d rounds with %d records, want %d rounds", len(report.Rounds), report.Summary.Records, rounds)
	}
	return report
}

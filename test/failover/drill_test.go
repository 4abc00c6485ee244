package failover_test

import (
	"testing"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/test/harness"
)

// The drills of `tamias drill` and scripts/demo.sh, on one machine with nothing installed. A frozen leader is
// shot there.
func TestDrillLocal(t *testing.T) {
	for _, scenario := range []string{"kill-leader", "terminate-leader", "freeze-leader"} {
		t.Run(scenario, func(t *testing.T) { drill(t, "--ha", "local", scenario) })
	}
}

// The same with three ZooKeeper servers. A frozen leader comes back there, and steps down.
func TestDrillZooKeeper(t *testing.T) {
	quorum := zkserver.StartEnsemble(t, 3).Quorum()
	for _, scenario := range []string{"kill-leader", "terminate-leader", "freeze-leader"} {
		t.Run(scenario, func(t *testing.T) { drill(t, "--ha", "zookeeper", "--quorum", quorum, scenario) })
	}
}

func drill(t *testing.T, args ...string) {
	t.Helper()
	report := harness.Drill(t, append([]string{"--count", "3", "--checkpoint", "200ms"}, args...)...)
	if len(report.Rounds) != 3 || report.Summary.Records == 0 {
		t.Errorf("%d rounds with %d records, want 3 rounds", len(report.Rounds), report.Summary.Records)
	}
}

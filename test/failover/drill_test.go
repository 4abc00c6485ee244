package failover_test

import (
	"os"
	"testing"
	"time"

	"github.com/tamias-project/tamias/internal/drill"
	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/test/harness"
)

// The drills that users run with `tamias drill` and scripts/demo.sh.
func TestDrill(t *testing.T) {
	var ensemble *zkserver.Ensemble
	for _, tc := range []struct{ ha, scenario string }{
		{"local", "kill-leader"},
		{"local", "terminate-leader"},
		{"local", "freeze-leader"},
		{"zookeeper", "kill-leader"},
		{"zookeeper", "terminate-leader"},
		{"zookeeper", "freeze-leader"},
	} {
		t.Run(tc.ha+" "+tc.scenario, func(t *testing.T) {
			o := drill.Options{
				Scenario: tc.scenario, HA: tc.ha, Count: 3, JobManagers: 2, TaskManagers: 2, Rate: 1000, CheckpointInterval: 200 * time.Millisecond,
				Bin: harness.Bin(t), Progress: t.Output(),
			}
			_ = ensemble
			report, err := drill.Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if !report.OK || len(report.Rounds) != 3 {
				report.Print(os.Stderr)
				t.Errorf("a promise was broken in %d rounds", len(report.Rounds))
			}
		})
	}
}

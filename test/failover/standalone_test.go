package failover_test

import (
	"testing"

	"github.com/tamias-project/tamias/internal/localcluster"
	"github.com/tamias-project/tamias/test/harness"
)

// Without high availability, but with a storageDir, the only JobManager may end and come again.
func TestStandaloneJobManagerStartedAgain(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(*harness.Cluster, *localcluster.Process)
	}{
		{"SIGKILL", (*harness.Cluster).Kill},
		{"SIGTERM", (*harness.Cluster).Terminate},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := harness.Start(t, harness.Options{HA: "NONE"})
			job := startNumbered(t, c, "numbered")
			for restart := 1; restart <= 2; restart++ {
				tc.end(c, c.JobManagers[len(c.JobManagers)-1])
				c.StartJobManagers(1)
				d := c.AwaitRunning(job.id)
				checkAdopted(t, d, restart)
				job.awaitProgress()
			}
			job.conclude()
		})
	}
}

package failover_test

import (
	"testing"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/test/harness"
)

// All that ZooKeeper and JobManagers can do to a job in its life, on one cluster: servers restart one after
// the other and all together, leaders are killed, terminated and frozen, and everything ends. No task
// notices, and no znode of the job is left.
func TestZooKeeperAndJobManagersComeAndGo(t *testing.T) {
	ensemble := zkserver.StartEnsemble(t, 3)
	c := harness.Start(t, harness.Options{HA: "zookeeper", ZooKeeper: ensemble, JobManagers: 2})
	job := startNumbered(t, c, "numbered")
	check := func(what string) protocol.JobDetails {
		t.Helper()
		job.awaitProgress()
		d := c.AwaitRunning(job.id)
		if harness.Attempts(d) != 0 || d.Overview.Restarts != 0 {
			t.Fatalf("after %s: highest attempt %d, %d restarts", what, harness.Attempts(d), d.Overview.Restarts)
		}
		return d
	}
	for _, server := range ensemble.Servers {
		server.Stop()
		job.awaitProgress()
		server.Start(t)
	}
	check("a rolling restart of ZooKeeper")

	ensemble.Kill()
	ensemble.Start(t)
	before := check("the death of all ZooKeeper servers")

	c.AwaitServing(c.JobManagers...)
	c.Kill(c.LeadingJobManager())
	c.AwaitServing(c.StartJobManagers(1)...)
	after := check("the death of the leader")
	if after.JobMasterEpoch <= before.JobMasterEpoch {
		t.Errorf("epoch %d after %d", after.JobMasterEpoch, before.JobMasterEpoch)
	}
	c.Terminate(c.LeadingJobManager())
	check("the orderly end of the leader")
	job.conclude()
}

func TestWordCountLeaderKilledZooKeeper(t *testing.T) {
	c, job, output := wordCount(t, harness.Options{HA: "zookeeper", ZooKeeper: zkserver.StartEnsemble(t, 3), JobManagers: 2})
	c.Kill(c.LeadingJobManager())
	d := c.AwaitEnd(job, protocol.JobFinished)
	checkAdopted(t, d, 1)
	harness.CheckCounts(t, output)
}

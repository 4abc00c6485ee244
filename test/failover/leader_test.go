package failover_test

import (
	"strings"
	"testing"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/test/harness"
)

func TestAllJobManagersKilledOneStartedAgain(t *testing.T) {
	c := harness.Start(t, harness.Options{HA: "local", JobManagers: 2})
	job := startNumbered(t, c, "numbered")
	c.Kill(c.JobManagers[0])
	c.Kill(c.JobManagers[1])
	c.StartJobManagers(1)
	checkAdopted(t, c.AwaitRunning(job.id), 1)
	job.awaitProgress()
	job.conclude()
}

// The second leader dies as soon as it leads, with the adoption under way.
func TestTwoLeadersKilledInARow(t *testing.T) {
	c := harness.Start(t, harness.Options{HA: "local", JobManagers: 3})
	job := startNumbered(t, c, "numbered")
	c.AwaitServing(c.JobManagers...)
	first := c.LeadingJobManager()
	c.Kill(first)
	second := first
	for second == first {
		second = c.LeadingJobManager()
	}
	c.Kill(second)
	d := c.AwaitRunning(job.id)
	if harness.Attempts(d) != 0 || d.Overview.Restarts != 0 || d.Overview.Adoptions == 0 {
		t.Errorf("highest attempt %d, %d restarts, %d adoptions", harness.Attempts(d), d.Overview.Restarts, d.Overview.Adoptions)
	}
	job.awaitProgress()
	job.conclude()
}

// Everything is killed at once, ZooKeeper included, and started again: the job goes on from its last checkpoint.
func TestPowerCut(t *testing.T) {
	for _, ha := range []string{"local", "NONE", "zookeeper"} {
		t.Run(ha, func(t *testing.T) {
			o := harness.Options{HA: ha}
			if ha == "zookeeper" {
				o.ZooKeeper = zkserver.StartEnsemble(t, 3)
			}
			c := harness.Start(t, o)
			job := startNumbered(t, c, "numbered")
			if o.ZooKeeper != nil {
				o.ZooKeeper.Kill()
			}
			c.PowerCut()
			if o.ZooKeeper != nil {
				o.ZooKeeper.Start(t)
			}
			c.StartJobManagers(1)
			c.StartTaskManagers(2)
			d := c.AwaitJob(job.id, "the restarted job", func(d protocol.JobDetails) bool { return harness.AllRun(d) && harness.Attempts(d) > 0 })
			if d.Overview.Restarts != 1 {
				t.Errorf("%d restarts, want 1", d.Overview.Restarts)
			}
			job.awaitProgress()
			job.conclude()
		})
	}
}

// A client that waits for the end of a job goes on waiting when the leader dies.
func TestRunWaitsOnWhileTheLeaderIsKilled(t *testing.T) {
	c := harness.Start(t, harness.Options{HA: "local", JobManagers: 2})
	c.AwaitServing(c.JobManagers...)
	leader := c.LeadingJobManager()
	output := c.Output("numbered")
	job, run := c.BeginRun(harness.Job{Program: "numbered", Parallelism: 2,
		Args: []string{"-out", output, "-n", "40000", "-rate", "5000", "-checkpoint", "200ms"}})
	c.AwaitJob(job, "a checkpoint", func(d protocol.JobDetails) bool { return d.Checkpoints.Completed > 0 })
	c.Kill(leader)
	r := run.Wait()
	if r.Code != 0 || !strings.Contains(r.Stdout, "Job with JobID "+job.String()+" has finished.") {
		t.Errorf("tamias run: %s", r)
	}
	if !strings.Contains(r.Stderr, "Another JobManager leads the job now") {
		t.Errorf("the client did not notice another leader: %s", r)
	}
	checkAdopted(t, c.AwaitEnd(job, protocol.JobFinished), 1)
	harness.CheckAllNumbered(t, output, 40000)
}

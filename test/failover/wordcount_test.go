package failover_test

import (
	"testing"

	"github.com/tamias-project/tamias/internal/localcluster"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/test/harness"
)

// wordCount starts the count of a large text on two TaskManagers and returns when it is in the middle: some
// checkpoints have completed, and no task has seen the end of its input.
func wordCount(t *testing.T, o harness.Options) (c *harness.Cluster, job id.Job, output string) {
	t.Helper()
	text, _ := harness.Text(t)
	c = harness.Start(t, o)
	c.AwaitServing(c.JobManagers...) // before the job begins: it does not wait for the fault
	output = c.Output("counts")
	job = c.Submit(harness.Job{Program: "wordcount", Parallelism: 4, Args: []string{"-checkpoint", "50ms", "-in", text, "-out", output}})
	c.AwaitJob(job, "a few checkpoints", func(d protocol.JobDetails) bool {
		return d.Checkpoints.Completed >= 3 && harness.AllRun(d)
	})
	if d := c.Details(job); !harness.AllRun(d) || harness.Drained(d) {
		t.Fatal("the job is near its end already: its input is too small for this machine")
	}
	return c, job, output
}

func TestWordCountTaskManagerKilled(t *testing.T) {
	c, job, output := wordCount(t, harness.Options{HA: "local"})
	c.Kill(c.TaskManagers[0])
	c.StartTaskManagers(1)
	d := c.AwaitEnd(job, protocol.JobFinished)
	if d.Overview.Restarts == 0 || harness.Attempts(d) == 0 {
		t.Error("no task was restarted: the kill came too late")
	}
	harness.CheckCounts(t, output)
}

func TestWordCountLeaderKilled(t *testing.T) {
	c, job, output := wordCount(t, harness.Options{HA: "local", JobManagers: 2})
	c.Kill(c.LeadingJobManager())
	d := c.AwaitEnd(job, protocol.JobFinished)
	checkAdopted(t, d, 1)
	harness.CheckCounts(t, output)
}

// The same without any JobManager for the rest of the input: the tasks read to the end by themselves, and
// the result appears when a JobManager is there again.
func TestWordCountAllJobManagersKilled(t *testing.T) {
	c, job, output := wordCount(t, harness.Options{HA: "local", JobManagers: 2})
	for _, p := range []*localcluster.Process{c.JobManagers[0], c.JobManagers[1]} {
		c.Kill(p)
	}
	c.AwaitLog("taskmanager-0.log", "task drained", 4)
	c.StartJobManagers(1)
	d := c.AwaitEnd(job, protocol.JobFinished)
	checkAdopted(t, d, 1)
	harness.CheckCounts(t, output)
}

// checkAdopted: leaders came and went, and no task noticed.
func checkAdopted(t *testing.T, d protocol.JobDetails, adoptions int) {
	t.Helper()
	if harness.Attempts(d) != 0 || d.Overview.Restarts != 0 || d.Overview.Adoptions != adoptions {
		t.Errorf("highest attempt %d, %d restarts, %d adoptions; want 0, 0, %d", harness.Attempts(d), d.Overview.Restarts, d.Overview.Adoptions, adoptions)
	}
}

package failover_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/test/harness"
)

func TestTaskManagerKilledWithSpareSlots(t *testing.T) {
	c := harness.Start(t, harness.Options{HA: "local", TaskManagers: 3})
	job := startNumbered(t, c, "numbered")
	victim := c.TaskManager(c.Details(job.id).Subtasks[0].TaskManager)
	c.Kill(victim)
	d := c.AwaitJob(job.id, "the restarted region", func(d protocol.JobDetails) bool { return harness.AllRun(d) && harness.Attempts(d) > 0 })
	if d.Overview.Restarts != 1 || harness.Attempts(d) != 1 {
		t.Errorf("%d restarts, highest attempt %d; want 1 and 1", d.Overview.Restarts, harness.Attempts(d))
	}
	job.awaitProgress()
	job.conclude()
}

func TestJobProcessKilled(t *testing.T) {
	c := harness.Start(t, harness.Options{HA: "local", TaskManagers: 2, Slots: 4})
	job, other := startNumbered(t, c, "numbered"), startNumbered(t, c, "other")
	processes := c.JobProcesses(job.id)
	c.KillPID(slices.Collect(maps.Values(processes))[0])
	d := c.AwaitJob(job.id, "the restarted region", func(d protocol.JobDetails) bool { return harness.AllRun(d) && harness.Attempts(d) > 0 })
	if d.Overview.Restarts != 1 || harness.Attempts(d) != 1 {
		t.Errorf("%d restarts, highest attempt %d; want 1 and 1", d.Overview.Restarts, harness.Attempts(d))
	}
	if len(d.Failures) == 0 || !d.Failures[0].Failure.Process { // what lost its connections to it may have been heard first
		t.Errorf("failures %+v, want the end of a process on top", d.Failures)
	}
	job.awaitProgress()
	other.awaitProgress()
	if d := c.Details(other.id); harness.Attempts(d) != 0 || d.Overview.Restarts != 0 {
		t.Errorf("the other job was restarted too")
	}
	for _, tm := range c.TaskManagers {
		if !tm.Alive() {
			t.Errorf("%s died with the job process", tm.Name)
		}
	}
	job.conclude()
	other.conclude()
}

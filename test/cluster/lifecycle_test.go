package cluster_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/test/harness"
)

// numbers is a short bounded job.
func numbers(c *harness.Cluster, output string) harness.Job {
	return harness.Job{ID: id.NewJob(), Program: "numbered", Parallelism: 2,
		Args: []string{"-out", c.Output(output), "-n", "5000", "-rate", "10000", "-checkpoint", "100ms"}}
}

// endless is a job without end.
func endless(c *harness.Cluster, output string) harness.Job {
	return harness.Job{ID: id.NewJob(), Program: "numbered", Parallelism: 4,
		Args: []string{"-out", c.Output(output), "-rate", "1000", "-checkpoint", "100ms"}}
}

// A stopped cluster has left nothing of its jobs but their results; started again it knows how they ended,
// and does not run them again, not even when they are submitted again.
func TestStartedAgainWithoutGhosts(t *testing.T) {
	for _, ha := range []string{"NONE", "local"} {
		t.Run(ha, func(t *testing.T) {
			c := harness.Start(t, harness.Options{HA: ha})
			finished, cancelled := numbers(c, "finished"), endless(c, "cancelled")
			if r := c.Run(finished); r.Code != 0 {
				t.Fatalf("tamias run: %s", r)
			}
			c.Submit(cancelled)
			c.AwaitJob(cancelled.ID, "a checkpoint", func(d protocol.JobDetails) bool { return d.Checkpoints.Completed > 0 })
			c.Submit(cancelled) // as if the first answer had been lost
			c.Cancel(cancelled.ID)
			c.StopInOrder()
			c.CheckNothingIsLeft()
			output := list(t, c.Output("finished"))

			c.StartJobManagers(1)
			c.StartTaskManagers(2)
			r := c.Tamias("list", "-a")
			if r.Code != 0 || !strings.Contains(r.Stdout, "No running jobs.\nNo scheduled jobs.\n") ||
				!strings.Contains(r.Stdout, finished.ID.String()+" : numbered (FINISHED)") ||
				!strings.Contains(r.Stdout, cancelled.ID.String()+" : numbered (CANCELED)") {
				t.Errorf("tamias list -a: %s", r)
			}
			if r := c.Run(finished); r.Code != 0 || !strings.Contains(r.Stdout, "has finished") {
				t.Errorf("a finished job is submitted again: %s", r)
			}
			if r := c.Run(cancelled); r.Code != 1 || !strings.Contains(r.Stderr, "Job was cancelled.") {
				t.Errorf("a cancelled job is submitted again: %s", r)
			}
			other := finished
			other.Args = slices.Concat(finished.Args, []string{"-keys", "7"})
			if r := c.Run(other); r.Code != 1 {
				t.Errorf("another job under the ID of a finished one: %s", r)
			}
			if got := list(t, c.Output("finished")); !slices.Equal(got, output) {
				t.Errorf("the output of the finished job has changed: %q, was %q", got, output)
			}
			next := numbers(c, "next")
			if r := c.Run(next); r.Code != 0 {
				t.Errorf("the next job: %s", r)
			}
		})
	}
}

// A cluster is stopped while a job is being cancelled: started again, it goes on cancelling.
func TestCancelIsNotForgotten(t *testing.T) {
	c := harness.Start(t, harness.Options{HA: "local"})
	job := endless(c, "out")
	c.Submit(job)
	c.AwaitRunning(job.ID)
	if r := c.Tamias("cancel", job.ID.String()); r.Code != 0 {
		t.Fatalf("cancel: %s", r)
	}
	c.PowerCut()
	c.StartJobManagers(1)
	c.StartTaskManagers(2)
	d := c.AwaitEnd(job.ID, protocol.JobCanceled)
	if harness.Attempts(d) != 0 {
		t.Error("a cancelled job was started again")
	}
	c.AwaitCleanedUp(job.ID)
}

// All TaskManagers die, and their job is cancelled before others come: one of those, which never had anything
// of the job, removes what its sinks had prepared.
func TestCancelBehindLostTaskManagers(t *testing.T) {
	c := harness.Start(t, harness.Options{HA: "local"})
	job := endless(c, "out")
	c.Submit(job)
	c.AwaitJob(job.ID, "a checkpoint", func(d protocol.JobDetails) bool { return d.Checkpoints.Completed > 0 })
	for _, tm := range c.TaskManagers {
		c.Kill(tm)
	}
	c.Cancel(job.ID)
	if len(hidden(t, c.Output("out"))) == 0 {
		t.Error("the sinks had prepared nothing: this test tests nothing")
	}
	c.StartTaskManagers(1)
	c.AwaitCleanedUp(job.ID)
	if left := hidden(t, c.Output("out")); len(left) > 0 {
		t.Errorf("after the clean-up there is still %q", left)
	}
}

// hidden lists the files that sinks have not committed.
func hidden(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, ".part-*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A stopped cluster keeps the jobs that run: started again, they go on from their last checkpoint.
func TestRunningJobSurvivesAStop(t *testing.T) {
	c := harness.Start(t, harness.Options{HA: "local"})
	job := endless(c, "out")
	c.Submit(job)
	c.AwaitJob(job.ID, "a checkpoint", func(d protocol.JobDetails) bool { return d.Checkpoints.Completed > 0 })
	c.StopInOrder()
	c.StartJobManagers(1)
	c.StartTaskManagers(2)
	c.AwaitJob(job.ID, "a checkpoint after the start", func(d protocol.JobDetails) bool { return d.Checkpoints.Completed > 0 })
	c.Cancel(job.ID)
	harness.CheckNumbered(t, c.Output("out"))
}

// A job waits for TaskManagers, and can be cancelled while it waits.
func TestJobWaitsForSlots(t *testing.T) {
	c := harness.Start(t, harness.Options{HA: "local", TaskManagers: 1})
	waiting, waitingToo := endless(c, "a"), endless(c, "b")
	c.Submit(waiting)
	c.AwaitJob(waiting.ID, "waiting", func(d protocol.JobDetails) bool { return d.Waiting != "" })
	c.StartTaskManagers(1)
	c.AwaitRunning(waiting.ID)
	c.Submit(waitingToo)
	c.AwaitJob(waitingToo.ID, "waiting", func(d protocol.JobDetails) bool { return d.Waiting != "" })
	c.Cancel(waitingToo.ID)
	c.Cancel(waiting.ID)
	if r := c.Run(numbers(c, "c")); r.Code != 0 {
		t.Errorf("the next job: %s", r)
	}
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

package cluster_test

import (
	"testing"

	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/test/harness"
)

// The counts of a large text are exactly those of an independent count, on a cluster of two TaskManagers.
func TestWordCount(t *testing.T) {
	for _, ha := range []string{"NONE", "local"} {
		t.Run(ha, func(t *testing.T) {
			text, _ := harness.Text(t)
			c := harness.Start(t, harness.Options{HA: ha})
			output := c.Output("counts")
			job, run := c.BeginRun(harness.Job{Program: "wordcount", Parallelism: 4, Args: []string{"-in", text, "-out", output}})
			if r := run.Wait(); r.Code != 0 {
				t.Fatalf("tamias run: %s", r)
			}
			d := c.AwaitEnd(job, protocol.JobFinished)
			if harness.Attempts(d) != 0 || d.Overview.Restarts != 0 {
				t.Errorf("tasks were restarted on an undisturbed cluster: %d restarts", d.Overview.Restarts)
			}
			if n := harness.TaskManagers(d); n != 2 {
				t.Errorf("the job ran on %d TaskManagers, want 2", n)
			}
			harness.CheckCounts(t, output)
		})
	}
}

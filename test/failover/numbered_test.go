package failover_test

import (
	"fmt"
	"testing"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/test/harness"
)

// numbered is a running job whose output can be checked record by record.
type numbered struct {
	t      *testing.T
	c      *harness.Cluster
	id     id.Job
	output string
}

// startNumbered submits the job and returns when it has committed output.
func startNumbered(t *testing.T, c *harness.Cluster, name string, options ...string) *numbered {
	t.Helper()
	j := &numbered{t: t, c: c, output: c.Output(name)}
	j.id = c.Submit(harness.Job{
		Program: "numbered", Parallelism: 4, Args: []string{"-out", j.output, "-rate", "2000", "-checkpoint", "200ms"}, Options: options,
	})
	c.AwaitRunning(j.id)
	j.awaitProgress()
	return j
}

// awaitProgress waits until a thousand more records are committed than now.
func (j *numbered) awaitProgress() {
	j.t.Helper()
	goal := j.records() + 1000
	j.c.AwaitJob(j.id, fmt.Sprintf("%d committed records", goal), func(protocol.JobDetails) bool { return j.records() >= goal })
}

func (j *numbered) records() int64 {
	j.t.Helper()
	lines, err := harness.CommittedLines(j.output)
	if err != nil {
		j.t.Fatal(err)
	}
	return lines
}

// conclude cancels the job and checks its output.
func (j *numbered) conclude() protocol.JobDetails {
	j.t.Helper()
	d := j.c.Cancel(j.id)
	harness.CheckNumbered(j.t, j.output)
	return d
}

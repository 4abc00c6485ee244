package cluster_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/test/harness"
)

// A job whose code goes wrong fails alone, and its user is told where: by the command that waits for it and
// by REST. Another job on the same TaskManagers does not notice.
func TestUserCodeThatGoesWrongFailsItsJobAlone(t *testing.T) {
	c := harness.Start(t, harness.Options{Slots: 4})
	bystander := c.Submit(harness.Job{Program: "numbered", Parallelism: 4, Args: []string{"-out", c.Output("bystander"), "-rate", "1000", "-checkpoint", "200ms"}})
	c.AwaitRunning(bystander)
	for _, tc := range []struct {
		how    string
		report []string // what the user reads
		class  string   // what Flink's clients read
	}{
		{"panic", []string{"panic: record 2000: this job was told to go wrong", "main.goWrong", "main.go:"}, "panic"},
		{"exit", []string{"job process ended: exit status 3", "record 2000: this job was told to end its process"}, "ProcessExited"},
		{"runtime", []string{"fatal error: concurrent map", "main.goWrong", "main.go:"}, ""},
	} {
		t.Run(tc.how, func(t *testing.T) {
			job, run := c.BeginRun(harness.Job{
				Program: "faulty", Parallelism: 4, Options: []string{"-D", "restart-strategy.type=none"},
				Args: []string{"-out", c.Output("faulty-" + tc.how), "-at", "2000", "-rate", "4000", "-how", tc.how},
			})
			r := run.Wait()
			if r.Code != 1 {
				t.Errorf("tamias run: exit code %d, want 1", r.Code)
			}
			d := c.AwaitEnd(job, protocol.JobFailed)
			var exceptions json.RawMessage
			c.Get("/jobs/"+job.String()+"/exceptions", &exceptions)
			for _, want := range tc.report {
				if !strings.Contains(r.Stderr, want) {
					t.Errorf("tamias run does not say %q: %s", want, r)
				}
				if !strings.Contains(string(exceptions), want) {
					t.Errorf("/exceptions does not say %q: %s", want, exceptions)
				}
			}
			if !strings.Contains(string(exceptions), `"exceptionName":"`+tc.class) {
				t.Errorf("/exceptions does not name a %s: %s", tc.class, exceptions)
			}
			if d.Overview.Restarts != 0 {
				t.Errorf("the job restarted %d times although its strategy is none", d.Overview.Restarts)
			}
		})
	}
	d := c.AwaitRunning(bystander)
	if harness.Attempts(d) != 0 || d.Overview.Restarts != 0 || len(d.Failures) != 0 {
		t.Errorf("the other job has noticed: %d restarts, failures %+v", d.Overview.Restarts, d.Failures)
	}
	completed := d.Checkpoints.Completed
	c.AwaitJob(bystander, "another checkpoint", func(d protocol.JobDetails) bool { return d.Checkpoints.Completed > completed })
	c.Cancel(bystander)
}

// With a restart strategy the job goes on from its checkpoint, and fails in the end with the same panic.
func TestPanicUnderFixedDelay(t *testing.T) {
	c := harness.Start(t, harness.Options{})
	_, run := c.BeginRun(harness.Job{
		Program: "faulty", Parallelism: 2, Args: []string{"-out", c.Output("out"), "-at", "2000", "-rate", "4000"},
		Options: []string{"-D", "restart-strategy.type=fixed-delay", "-D", "restart-strategy.fixed-delay.attempts=2", "-D", "restart-strategy.fixed-delay.delay=10 ms"},
	})
	r := run.Wait()
	if r.Code != 1 || !strings.Contains(r.Stderr, "main.goWrong") || !strings.Contains(r.Stderr, "2 restarts so far") {
		t.Errorf("tamias run: %s", r)
	}
}

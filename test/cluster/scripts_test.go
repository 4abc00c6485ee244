package cluster_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/test/harness"
)

// What a user does, with the real scripts: a cluster with two lines in conf/masters, a job, the death of the
// leader, the end.
func TestScripts(t *testing.T) {
	i := harness.Install(t, "local", 2, 2)
	if r := i.Script("start-cluster.sh"); r.Code != 0 || !strings.HasPrefix(r.Stdout, "Starting HA cluster with 2 masters.\n") {
		t.Fatalf("start-cluster.sh: %s", r)
	}
	if jm, tm := i.PIDs("standalonesession"), i.PIDs("taskexecutor"); len(jm) != 2 || len(tm) != 2 {
		t.Fatalf("JobManagers %q, TaskManagers %q; want 2 of each", jm, tm)
	}
	job := i.Submit(harness.Job{Program: "numbered", Parallelism: 4, Args: []string{"-out", i.Output("numbered"), "-checkpoint", "100ms"}})
	before := i.AwaitJob(job, "a checkpoint", func(d protocol.JobDetails) bool { return d.Checkpoints.Completed > 0 && harness.AllRun(d) })
	if r := i.Tamias("list"); r.Code != 0 || !regexp.MustCompile(`(?m)^\S+ \S+ : `+job.String()+` : numbered \(RUNNING\)$`).MatchString(r.Stdout) {
		t.Errorf("tamias list: %s", r)
	}
	i.KillLeader()
	d := i.AwaitJob(job, "adoption", func(d protocol.JobDetails) bool { return d.JobMasterEpoch > before.JobMasterEpoch && harness.AllRun(d) })
	if harness.Attempts(d) != 0 || d.Overview.Adoptions != 1 {
		t.Errorf("highest attempt %d, %d adoptions; want 0 and 1", harness.Attempts(d), d.Overview.Adoptions)
	}
	if r := i.Tamias("info", job.String()); r.Code != 0 || !strings.Contains(r.Stdout, "RUNNING") {
		t.Errorf("tamias info: %s", r)
	}
	i.Cancel(job)
	harness.CheckNumbered(t, i.Output("numbered"))
	r := i.Script("stop-cluster.sh")
	if r.Code != 0 || strings.Count(r.Stdout, "Stopping ") != 3 || strings.Count(r.Stdout, "is running anymore") != 1 {
		t.Errorf("stop-cluster.sh: %s", r)
	}
	i.CheckNothingIsLeft()

	// Started again, nothing is left to do.
	if r := i.Script("start-cluster.sh"); r.Code != 0 {
		t.Fatalf("start-cluster.sh again: %s", r)
	}
	if r := i.Tamias("list", "-a"); r.Code != 0 || !strings.Contains(r.Stdout, "No running jobs.") || !strings.Contains(r.Stdout, job.String()) {
		t.Errorf("tamias list -a: %s", r)
	}
	if r := i.Script("stop-cluster.sh"); r.Code != 0 || strings.Count(r.Stdout, "Stopping ") != 4 {
		t.Errorf("stop-cluster.sh: %s", r)
	}
}

// The same without high availability, as it is shipped: one JobManager whatever is in conf/masters.
func TestScriptsWithoutHighAvailability(t *testing.T) {
	i := harness.Install(t, "NONE", 1, 1)
	if r := i.Script("start-cluster.sh"); r.Code != 0 || !strings.HasPrefix(r.Stdout, "Starting cluster.\n") {
		t.Fatalf("start-cluster.sh: %s", r)
	}
	text, _ := harness.Text(t)
	job, run := i.BeginRun(harness.Job{Program: "wordcount", Parallelism: 2, Args: []string{"-in", text, "-out", i.Output("counts")}})
	if r := run.Wait(); r.Code != 0 || !strings.Contains(r.Stdout, "Job has been submitted with JobID "+job.String()+"\n") {
		t.Errorf("tamias run: %s", r)
	}
	harness.CheckCounts(t, i.Output("counts"))
	if r := i.Script("start-cluster.sh"); r.Code != 1 || !strings.Contains(r.Stdout, "Error starting standalonesession daemon.") ||
		!strings.Contains(r.Stderr, "RPC service (jobmanager.rpc.port): listen on 127.0.0.1, port ") {
		t.Errorf("start-cluster.sh while its ports are taken: %s", r)
	}
	i.Script("taskmanager.sh", "stop")
	if r := i.Script("stop-cluster.sh"); r.Code != 0 || strings.Count(r.Stdout, "Stopping ") != 2 {
		t.Errorf("stop-cluster.sh: %s", r)
	}
	for _, line := range i.Logs() {
		if strings.Contains(line, " WARN ") || strings.Contains(line, " ERROR ") && !strings.Contains(line, "could not start") {
			t.Errorf("a job that finished and a stop in order alarm the operator: %s", line)
		}
		if key := repeatedKey(line); key != "" {
			t.Errorf("the field %s is twice in one line: %s", key, line)
		}
	}
}

var fieldKey = regexp.MustCompile(`[{,] ?"([a-z-]+)": `)

// repeatedKey is a field that a line of a log has twice.
func repeatedKey(line string) string {
	seen := map[string]bool{}
	for _, m := range fieldKey.FindAllStringSubmatch(line, -1) {
		if seen[m[1]] {
			return m[1]
		}
		seen[m[1]] = true
	}
	return ""
}

package cluster_test

import (
	"strings"
	"testing"

	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/test/harness"
)

// A drill of a cluster that the scripts have started, with somebody's job on it: the cluster is whole afterwards,
// the job goes on, and stop-cluster.sh stops what the drill has started.
func TestDrillOfALiveCluster(t *testing.T) {
	i := harness.Install(t, "local", 2, 3)
	if r := i.Script("start-cluster.sh"); r.Code != 0 {
		t.Fatalf("start-cluster.sh: %s", r)
	}
	job := i.Submit(harness.Job{Program: "numbered", Parallelism: 1, Args: []string{"-out", i.Output("numbered"), "-checkpoint", "200ms"}})
	i.AwaitJob(job, "a checkpoint", func(d protocol.JobDetails) bool { return d.Checkpoints.Completed > 0 && harness.AllRun(d) })

	for _, tc := range []struct{ scenario, parallelism, refusal string }{
		{"kill-leader-twice", "2", "needs 3 JobManagers, the cluster has 2"},
		{"kill-taskmanager", "4", "without one of its TaskManagers the cluster has 3 free slots"},
		{"restart-zookeeper", "2", "no ZooKeeper server"},
		{"partition", "2", "use --local"},
	} {
		if r := i.Tamias("drill", "--parallelism", tc.parallelism, tc.scenario); r.Code != 1 || !strings.Contains(r.Stderr, tc.refusal) {
			t.Errorf("drill %s: %s", tc.scenario, r)
		}
	}
	before := i.Details(job)
	r := i.Tamias("drill", "--count", "3", "--parallelism", "2", "--checkpoint", "200ms", "--window", "300ms", "kill-leader-and-taskmanager")
	if r.Code != 0 || !strings.Contains(r.Stdout, "OK: every promise was kept") {
		t.Fatalf("drill: %s", r)
	}
	i.AwaitJob(job, "its third leader after that", func(d protocol.JobDetails) bool {
		return d.JobMasterEpoch >= before.JobMasterEpoch+3 && harness.AllRun(d)
	})
	if jm, tm := i.PIDs("standalonesession"), i.PIDs("taskexecutor"); len(jm) != 2 || len(tm) != 3 {
		t.Errorf("in the pid files: JobManagers %q, TaskManagers %q; want 2 and 3", jm, tm)
	}
	i.Cancel(job)
	harness.CheckNumbered(t, i.Output("numbered"))
	if r := i.Script("stop-cluster.sh"); r.Code != 0 || strings.Count(r.Stdout, "Stopping ") != 5 {
		t.Errorf("stop-cluster.sh: %s", r)
	}
}

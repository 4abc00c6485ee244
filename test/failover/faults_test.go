package failover_test

import (
	"flag"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/test/harness"
)

var (
	seed   = flag.Uint64("seed", 0, "seed of the random faults; 0: another one each time")
	faults = flag.Int("faults", 8, "number of random faults for each backend")
)

// fault is something that happens to a cluster. It makes the cluster whole again, too.
type fault struct {
	name string
	// tasks: the job's tasks may be restarted.
	tasks  bool
	inject func(w *world)
}

// world is a cluster with a job, at which random things happen.
type world struct {
	*harness.Cluster
	random *rand.Rand
	job    *numbered
}

var allFaults = []fault{
	{"leader killed", false, func(w *world) {
		w.Kill(w.LeadingJobManager())
		w.StartJobManagers(1)
	}},
	{"leader terminated", false, func(w *world) {
		w.Terminate(w.LeadingJobManager())
		w.StartJobManagers(1)
	}},
	{"leader and its successor killed", false, func(w *world) {
		first := w.LeadingJobManager()
		w.Kill(first)
		w.Kill(w.LeadingJobManager())
		w.StartJobManagers(2)
	}},
	{"all JobManagers killed", false, func(w *world) {
		n := 0
		for _, p := range w.JobManagers {
			if p.Alive() {
				w.Kill(p)
				n++
			}
		}
		w.StartJobManagers(n)
	}},
	{"TaskManager killed", true, func(w *world) {
		w.killTaskManager()
		w.StartTaskManagers(1)
	}},
	{"TaskManager terminated", true, func(w *world) {
		for _, p := range w.TaskManagers {
			if p.Alive() {
				w.Terminate(p)
				break
			}
		}
		w.StartTaskManagers(1)
	}},
	{"job process killed", true, func(w *world) {
		if pids := w.JobProcesses(w.job.id); len(pids) > 0 {
			w.KillPID(pids[slices.Sorted(maps.Keys(pids))[w.random.IntN(len(pids))]])
		}
	}},
	{"leader and TaskManager killed", true, func(w *world) {
		w.killTaskManager()
		w.Kill(w.LeadingJobManager())
		w.StartTaskManagers(1)
		w.StartJobManagers(1)
	}},
	{"power cut", true, func(w *world) {
		w.PowerCut()
		w.StartJobManagers(3)
		w.StartTaskManagers(2)
	}},
}

func (w *world) killTaskManager() {
	for _, i := range w.random.Perm(len(w.TaskManagers)) {
		if p := w.TaskManagers[i]; p.Alive() {
			w.Kill(p)
			return
		}
	}
}

// Faults in random order, some before the last one has been got over: no record is lost or repeated, and no
// task restarts because of JobManagers.
func TestRandomFaults(t *testing.T) {
	for _, ha := range []string{"local", "zookeeper"} {
		t.Run(ha, func(t *testing.T) {
			seed := *seed
			for seed == 0 {
				seed = rand.Uint64()
			}
			t.Logf("seed %d", seed)
			o := harness.Options{HA: ha, JobManagers: 3}
			if ha == "zookeeper" {
				o.ZooKeeper = zkserver.StartEnsemble(t, 3)
			}
			c := harness.Start(t, o)
			job := startNumbered(t, c, "numbered", "-D", "restart-strategy.type=fixed-delay",
				"-D", "restart-strategy.fixed-delay.attempts=1000", "-D", "restart-strategy.fixed-delay.delay=100 ms")
			w := &world{Cluster: c, random: rand.New(rand.NewPCG(seed, 0)), job: job}
			calm := true // nothing is left of earlier faults
			for range *faults {
				f := allFaults[w.random.IntN(len(allFaults))]
				before := 0
				if calm {
					before = harness.Attempts(c.AwaitRunning(w.job.id))
				}
				t.Log(f.name)
				f.inject(w)
				if w.random.IntN(3) == 0 {
					calm = false
					continue // the next one comes at once
				}
				w.job.awaitProgress()
				if after := harness.Attempts(c.AwaitRunning(w.job.id)); calm && !f.tasks && after != before {
					t.Errorf("%s: highest attempt %d, was %d", f.name, after, before)
				}
				calm = true
			}
			w.job.awaitProgress()
			w.job.conclude()
		})
	}
}

package upgrade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tamias-project/tamias/internal/localcluster"
	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

const (
	// parallelism is half of the cluster's slots, so that one TaskManager can take what the other one ran.
	parallelism = 4
	slots       = 4
	// patience bounds each wait. Only failures wait that long.
	patience = 2 * time.Minute
)

func TestRollingUpgrade(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the programs twice and starts processes")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	builds := map[string]string{
		present: build(t, root, present, nil, "./cmd/...", "./examples/numbered/..."),
		next:    build(t, root, next, changes(), "./cmd/jobmanager", "./cmd/taskmanager"),
	}
	for _, tc := range []struct {
		name     string
		settings func(t *testing.T) map[string]string
	}{
		{"local", func(*testing.T) map[string]string { return nil }},
		{"zookeeper", func(t *testing.T) map[string]string {
			return map[string]string{"high-availability.zookeeper.quorum": zkserver.Start(t).Address()}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := start(t, tc.name, builds, tc.settings(t))
			c.submit()
			c.untouched("at the beginning")

			c.replaceJobManagers(next)
			c.leads(next)
			c.untouched("after the upgrade")

			c.replaceJobManagers(present)
			c.leads(present)
			c.untouched("after going back")

			// The job's own processes are of the present build all the time, whoever starts them.
			c.replaceJobManagers(next)
			c.replaceTaskManagers(next)
			c.conclude()
		})
	}
}

// cluster is a running cluster with its job.
type cluster struct {
	*testing.T
	*localcluster.Cluster
	leaders *localcluster.Leaders
	builds  map[string]string // directories of programs by version
	bin     string            // what the cluster starts from
	job     id.Job
	output  string
	epoch   uint64 // of the job's master, when it was looked at last
}

func start(t *testing.T, ha string, builds map[string]string, settings map[string]string) *cluster {
	t.Helper()
	c := &cluster{T: t, builds: builds, bin: t.TempDir(), output: t.TempDir(), job: id.NewJob()}
	install(t, c.bin, builds[present])
	dir := t.TempDir()
	var err error
	c.Cluster, err = localcluster.Start(localcluster.Config{
		Bin: c.bin, Dir: dir, HA: ha, JobManagers: 2, TaskManagers: 2, Slots: slots, Settings: settings,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			c.logs()
		}
	})
	if c.leaders, err = localcluster.FollowLeaders(t.Context(), c.ConfigDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.leaders.Close)
	return c
}

// logs shows the end of what each process said.
func (c *cluster) logs() {
	for _, p := range append(slices.Clone(c.JobManagers), c.TaskManagers...) {
		data, err := os.ReadFile(p.Log)
		if err != nil {
			c.Log(err)
			continue
		}
		lines := strings.Split(string(data), "\n")
		c.Logf("%s:\n%s", p.Name, strings.Join(lines[max(0, len(lines)-12):], "\n"))
	}
}

// command runs one of the present build's programs and returns what it printed.
func (c *cluster) command(program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	return exec.CommandContext(ctx, filepath.Join(c.builds[present], program), args...).CombinedOutput()
}

func (c *cluster) submit() {
	c.Helper()
	out, err := c.command("tamias", "run", "--configDir", c.ConfigDir(), "-d", "-p", fmt.Sprint(parallelism),
		"--job-id", c.job.String(), filepath.Join(c.builds[present], "numbered"),
		"-out", c.output, "-rate", "2000", "-keys", "40", "-checkpoint", "200ms")
	if err != nil {
		c.Fatalf("submit the job: %v\n%s", err, out)
	}
	c.awaitRunning(0, 2)
}

// await polls until ok says "", which is what is wrong otherwise.
func (c *cluster) await(what string, ok func() string) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		wrong := ok()
		if wrong == "" {
			return
		}
		select {
		case <-ctx.Done():
			c.Fatalf("%s: not within %s: %s", what, patience, wrong)
		case <-tick.C:
		}
	}
}

// awaitRunning waits until all tasks run under a master of that epoch or a later one, and this master has
// completed that many checkpoints.
func (c *cluster) awaitRunning(epoch uint64, checkpoints int) (d protocol.JobDetails) {
	c.Helper()
	c.await("the job runs", func() string {
		var err error
		if d, err = c.leaders.JobDetails(c.Context(), c.job); err != nil {
			return err.Error()
		}
		if d.Overview.State.Terminal() {
			c.Fatalf("the job is %s: %+v", d.Overview.State, d.Failures)
		}
		tasks := 0
		for _, v := range d.Graph.Vertices {
			tasks += v.Parallelism
		}
		if d.JobMasterEpoch >= epoch && d.Overview.State == protocol.JobRunning &&
			d.Overview.Tasks[protocol.Running] == tasks && d.Checkpoints.Completed >= checkpoints {
			return ""
		}
		return fmt.Sprintf("%s under epoch %d, tasks %v, %d checkpoints %s", d.Overview.State, d.JobMasterEpoch, d.Overview.Tasks,
			d.Checkpoints.Completed, d.Waiting)
	})
	c.epoch = d.JobMasterEpoch
	return d
}

// replaceJobManagers ends each JobManager, as an operator would, and starts one of another build, while the
// other one goes on. The standby comes first, so that leadership moves once.
func (c *cluster) replaceJobManagers(version string) {
	c.Helper()
	install(c.T, c.bin, c.builds[version])
	old := slices.DeleteFunc(slices.Clone(c.JobManagers), func(p *localcluster.Process) bool { return !p.Alive() })
	leader := c.leader()
	slices.SortFunc(old, func(a, b *localcluster.Process) int {
		if b == leader {
			return -1
		}
		return 1
	})
	for _, p := range old {
		led := p == leader
		c.terminate(p)
		if led {
			c.awaitRunning(c.epoch+1, 2)
		}
		started, err := c.StartJobManager()
		if err != nil {
			c.Fatal(err)
		}
		c.await(started.Name+" is up", func() string {
			if c.Serving(started) {
				return ""
			}
			return "it refuses connections"
		})
		c.awaitRunning(c.epoch, 2)
	}
}

// terminate sends SIGTERM and waits for an orderly end.
func (c *cluster) terminate(p *localcluster.Process) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	p.Terminate()
	if !p.WaitContext(ctx) {
		c.Fatalf("%s did not end within %s of SIGTERM", p.Name, patience)
	}
	// 128 and the number of the signal, as a shell has it.
	var exit *exec.ExitError
	if err := p.Err(); !errors.As(err, &exit) || exit.ExitCode() != 128+int(syscall.SIGTERM) {
		c.Errorf("%s ended with %v, want an orderly end after SIGTERM", p.Name, err)
	}
}

// leader is the process whose Dispatcher leads.
func (c *cluster) leader() (leader *localcluster.Process) {
	c.Helper()
	c.await("a leader is known", func() string {
		info, _ := c.leaders.Dispatcher()
		if leader = c.JobManagerAt(info.Address); leader == nil || !leader.Alive() {
			return fmt.Sprintf("%q is not the address of a JobManager that lives", info.Address)
		}
		return ""
	})
	return leader
}

// leads checks that whoever leads is of that build, and says so.
func (c *cluster) leads(version string) {
	c.Helper()
	leader := c.leader()
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", leader.PID()))
	if err != nil || filepath.Dir(program) != c.builds[version] {
		c.Errorf("%s leads and runs %s, %v; want the build %s", leader.Name, program, err, version)
	}
	var config struct {
		Version string `json:"flink-version"`
	}
	var details map[string]json.RawMessage
	c.await("REST shows the leader's build", func() string {
		if err := c.leaders.Get(c.Context(), "/config", &config); err != nil || config.Version != version {
			return fmt.Sprintf("%q, %v", config.Version, err)
		}
		if err := c.leaders.Get(c.Context(), "/jobs/"+c.job.String()+"/details", &details); err != nil {
			return err.Error()
		}
		if _, has := details["of-the-next-build"]; has != (version == next) {
			return fmt.Sprintf("a member that only the next build has is there: %t", has)
		}
		return ""
	})
}

// untouched checks that every task is still its first attempt.
func (c *cluster) untouched(when string) {
	c.Helper()
	d := c.awaitRunning(c.epoch, 1)
	for _, s := range d.Subtasks {
		if a := s.Execution.Attempt; a.Attempt != 0 {
			c.Errorf("%s: %s was restarted", when, a)
		}
	}
	if len(d.Failures) > 0 || d.Overview.Restarts != 0 {
		c.Errorf("%s: %d restarts, failures %+v", when, d.Overview.Restarts, d.Failures)
	}
	if moved := when != "at the beginning"; moved != (d.Overview.Adoptions > 0) {
		c.Errorf("%s: the job was adopted %d times", when, d.Overview.Adoptions)
	}
	c.Logf("%s: epoch %d, %d adoptions, %d restarts", when, d.JobMasterEpoch, d.Overview.Adoptions, d.Overview.Restarts)
}

// replaceTaskManagers does with TaskManagers what replaceJobManagers does with JobManagers. What ran there is
// restarted from the latest checkpoint on the ones that are left.
func (c *cluster) replaceTaskManagers(version string) {
	c.Helper()
	install(c.T, c.bin, c.builds[version])
	for _, p := range slices.Clone(c.TaskManagers) {
		if _, err := c.StartTaskManager(); err != nil {
			c.Fatal(err)
		}
		c.terminate(p)
		c.awaitAway(p)
	}
	d := c.awaitRunning(c.epoch, 0)
	c.awaitRunning(c.epoch, d.Checkpoints.Completed+2)
}

// awaitAway waits until the job runs again without a TaskManager that has ended.
func (c *cluster) awaitAway(p *localcluster.Process) {
	c.Helper()
	c.await("the job runs without "+p.Name, func() string {
		d, err := c.leaders.JobDetails(c.Context(), c.job)
		switch {
		case err != nil:
			return err.Error()
		case d.Overview.State.Terminal():
			c.Fatalf("the job is %s: %+v", d.Overview.State, d.Failures)
		case slices.ContainsFunc(d.Subtasks, func(s protocol.SubtaskDetails) bool { return string(s.TaskManager) == p.ResourceID }):
			return "some of its tasks are still there"
		case d.Overview.State != protocol.JobRunning || d.Overview.Tasks[protocol.Running] != len(d.Subtasks):
			return fmt.Sprintf("%s, tasks %v, %d restarts %s", d.Overview.State, d.Overview.Tasks, d.Overview.Restarts, d.Waiting)
		}
		return ""
	})
}

// conclude cancels the job and has its output checked.
func (c *cluster) conclude() {
	c.Helper()
	if out, err := c.command("tamias", "cancel", "--configDir", c.ConfigDir(), c.job.String()); err != nil {
		c.Fatalf("cancel the job: %v\n%s", err, out)
	}
	c.await("the job has ended", func() string {
		d, err := c.leaders.JobDetails(c.Context(), c.job)
		if err != nil {
			return err.Error()
		}
		if d.Overview.State != protocol.JobCanceled {
			return string(d.Overview.State)
		}
		return ""
	})
	out, err := c.command("check", c.output)
	if err != nil {
		c.Errorf("check: %v", err)
	}
	c.Logf("%s", out)
}

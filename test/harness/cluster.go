package harness

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tamias-project/tamias/internal/localcluster"
	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/pkg/id"
)

// Options describe a cluster. The zero value of a field means what its comment says first.
type Options struct {
	// HA is high-availability.type: NONE, local or zookeeper.
	HA string
	// ZooKeeper is the quorum for HA zookeeper.
	ZooKeeper *zkserver.Ensemble
	// JobManagers (1) and TaskManagers (2) to start, and Slots of each TaskManager (2).
	JobManagers, TaskManagers, Slots int
	// Settings are configuration keys for all processes.
	Settings map[string]string
}

// Cluster is a cluster of processes that ends with its test. Processes are started, killed and looked up
// with the methods of localcluster.Cluster.
type Cluster struct {
	*localcluster.Cluster
	*client
	t       testing.TB
	dir     string
	options Options
	ended   map[*localcluster.Process]bool // by the test
	killed  bool                           // one of them with SIGKILL
}

// Start starts a cluster. It does not wait until it is ready: clients do.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	o.HA = orDefault(o.HA, "NONE")
	o.JobManagers, o.TaskManagers, o.Slots = orDefault(o.JobManagers, 1), orDefault(o.TaskManagers, 2), orDefault(o.Slots, 2)
	c := &Cluster{t: t, dir: NewDir(t), options: o, ended: map[*localcluster.Process]bool{}}
	settings := map[string]string{}
	if o.ZooKeeper != nil {
		settings["high-availability.zookeeper.quorum"] = o.ZooKeeper.Quorum()
		settings["high-availability.zookeeper.path.root"] = zooKeeperRoot
		settings["high-availability.zookeeper.client.session-timeout"] = "10 s"
	}
	maps.Copy(settings, o.Settings)
	cluster, err := localcluster.Start(localcluster.Config{
		Bin: Bin(t), Dir: c.dir, HA: o.HA, JobManagers: o.JobManagers, TaskManagers: o.TaskManagers, Slots: o.Slots,
		Settings: settings, Env: Environment(c.dir),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Cluster = cluster
	t.Cleanup(c.end)
	c.client = newClient(t, c.dir, cluster.ConfigDir(), Environment(c.dir))
	return c
}

// NewDir makes a directory that goes with its test, with a short path: Unix sockets below it have at most 107 bytes.
func NewDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tamias-test-")
	if err == nil {
		err = os.Mkdir(filepath.Join(dir, systemTmp), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if os.Getenv("TAMIAS_KEEP") != "" {
			t.Logf("files of the test: %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// systemTmp is the system's temporary directory as far as the processes of a test know.
const systemTmp = "systemtmp"

// Environment has a temporary directory that is checked at the end, and nothing of the user's.
func Environment(dir string) []string {
	return []string{"TMPDIR=" + filepath.Join(dir, systemTmp), "TAMIAS_CONF_DIR=", "FLINK_CONF_DIR="}
}

// end stops everything and looks at what is left.
func (c *Cluster) end() {
	if c.client != nil {
		c.client.close()
	}
	c.checkNobodyEnded()
	if err := c.Stop(context.Background()); err != nil {
		c.t.Error(err)
	}
	if !c.t.Failed() {
		c.CheckNothingIsLeft()
	}
	checkLogs(c.t, c.LogDir())
	if c.t.Failed() {
		c.t.Log(tails(c.LogDir()))
	}
}

// checkNobodyEnded finds processes that ended although nobody told them to.
func (c *Cluster) checkNobodyEnded() {
	for _, p := range slices.Concat(c.JobManagers, c.TaskManagers) {
		if !p.Alive() && !c.ended[p] {
			c.t.Errorf("%s ended by itself: %v", p.Name, p.Err())
		}
	}
}

// checkLogs finds what no process of ours ever says.
func checkLogs(t testing.TB, dir string) {
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Error(err)
		}
		if bytes.Contains(text, []byte("WARNING: DATA RACE")) {
			t.Errorf("data race in %s:\n%s", filepath.Base(f), text)
		}
		if strings.HasSuffix(f, ".log") && crash.Match(text) {
			t.Errorf("crash in %s:\n%s", filepath.Base(f), text)
		}
	}
}

// crash is how the Go runtime begins to say why it ends a process.
var crash = regexp.MustCompile(`(?m)^(panic|fatal error): `)

// Dir is the test's directory.
func (c *Cluster) Dir() string { return c.dir }

// Output is the directory for the output of a job.
func (c *Cluster) Output(name string) string { return filepath.Join(c.dir, "output", name) }

// StopInOrder ends all processes as stop-cluster.sh does.
func (c *Cluster) StopInOrder() {
	c.t.Helper()
	c.checkNobodyEnded()
	if err := c.Stop(context.Background()); err != nil {
		c.t.Fatal(err)
	}
	for _, p := range slices.Concat(c.JobManagers, c.TaskManagers) {
		c.ended[p] = true
	}
}

// PowerCut kills all processes that run, at once.
func (c *Cluster) PowerCut() {
	for _, group := range [][]*localcluster.Process{c.JobManagers, c.TaskManagers} {
		for _, p := range group {
			c.ended[p], c.killed = true, true
			p.Kill()
		}
		for _, p := range group {
			<-p.Done()
		}
	}
}

// Kill kills a process with SIGKILL and waits until it is gone.
func (c *Cluster) Kill(p *localcluster.Process) {
	c.t.Helper()
	if !p.Alive() {
		c.t.Fatalf("%s is dead already: %v", p.Name, p.Err())
	}
	c.ended[p], c.killed = true, true
	p.Kill()
	<-p.Done()
}

// Terminate ends a process with SIGTERM and waits until it is gone.
func (c *Cluster) Terminate(p *localcluster.Process) {
	c.t.Helper()
	c.ended[p] = true
	p.Terminate()
	Await(c.t, "the end of "+p.Name, func() bool { return !p.Alive() })
}

// LeadingJobManager waits for a leading Dispatcher and returns its process. Not for HA NONE.
func (c *Cluster) LeadingJobManager() *localcluster.Process {
	c.t.Helper()
	var p *localcluster.Process
	Await(c.t, "a leading JobManager", func() bool {
		info, _ := c.leaders.Dispatcher()
		p = c.JobManagerAt(info.Address)
		return p != nil && p.Alive()
	})
	return p
}

// StartJobManagers starts n more JobManagers and returns them.
func (c *Cluster) StartJobManagers(n int) (started []*localcluster.Process) {
	c.t.Helper()
	for range n {
		p, err := c.StartJobManager()
		if err != nil {
			c.t.Fatal(err)
		}
		started = append(started, p)
	}
	return started
}

// StartTaskManagers starts n more TaskManagers and returns them.
func (c *Cluster) StartTaskManagers(n int) (started []*localcluster.Process) {
	c.t.Helper()
	for range n {
		p, err := c.StartTaskManager()
		if err != nil {
			c.t.Fatal(err)
		}
		started = append(started, p)
	}
	return started
}

// AwaitServing waits until processes accept RPC connections, so that a standby could take over.
func (c *Cluster) AwaitServing(ps ...*localcluster.Process) {
	c.t.Helper()
	for _, p := range ps {
		Await(c.t, p.Name, func() bool { return c.Serving(p) })
	}
}

// AwaitLog waits until a log of the cluster has n lines with that text. It is for what processes do while
// nobody leads and REST tells nothing.
func (c *Cluster) AwaitLog(name, text string, n int) {
	c.t.Helper()
	Await(c.t, fmt.Sprintf("%q in %s", text, name), func() bool {
		log, err := os.ReadFile(filepath.Join(c.LogDir(), name))
		return err == nil && bytes.Count(log, []byte(text)) >= n
	})
}

// AwaitCleanedUp waits until a JobManager says that nothing of an ended job is left.
func (c *Cluster) AwaitCleanedUp(job id.Job) {
	c.t.Helper()
	Await(c.t, "the clean-up of job "+job.String(), func() bool {
		logs, _ := filepath.Glob(filepath.Join(c.LogDir(), "jobmanager-*.log"))
		return slices.ContainsFunc(logs, func(path string) bool {
			log, _ := os.ReadFile(path)
			return slices.ContainsFunc(strings.Split(string(log), "\n"), func(line string) bool {
				return strings.Contains(line, "job cleaned up") && strings.Contains(line, job.String())
			})
		})
	})
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// configurationLine is what only makes logs longer.
var configurationLine = regexp.MustCompile(`(?m)^.*configuration property loaded.*\n`)

// tailBytes of each log are shown when a test has failed.
const tailBytes = 6000

// tails returns the ends of all files in a folder.
func tails(dir string) string {
	var b strings.Builder
	files, err := os.ReadDir(dir)
	if err != nil {
		return err.Error()
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil || len(text) == 0 {
			continue
		}
		text = configurationLine.ReplaceAll(text, nil)
		if skip := len(text) - tailBytes; skip > 0 {
			_, rest, _ := strings.Cut(string(text[skip:]), "\n")
			text = []byte("...\n" + rest)
		}
		fmt.Fprintf(&b, "\n--- %s\n%s", f.Name(), text)
	}
	return b.String()
}

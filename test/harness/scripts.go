package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tamias-project/tamias/internal/localcluster"
)

// Installation is what a user has: the real scripts and programs, with a configuration, logs and pid files of
// its own. At the end of the test everything is stopped and looked at, as with Cluster.
type Installation struct {
	*client
	t   testing.TB
	dir string
}

// Install makes an installation with JobManagers in conf/masters and TaskManagers of two slots in
// conf/workers, on this machine. Nothing is started.
func Install(t testing.TB, ha string, jobManagers, taskManagers int) *Installation {
	t.Helper()
	i := &Installation{t: t, dir: NewDir(t)}
	ports, err := localcluster.FreePorts(jobManagers + 1)
	if err != nil {
		t.Fatal(err)
	}
	var masters strings.Builder
	for _, port := range ports[:jobManagers] {
		fmt.Fprintf(&masters, "localhost:%s\n", port)
	}
	i.write("conf/masters", masters.String())
	i.write("conf/workers", strings.Repeat("localhost\n", taskManagers))
	i.write("conf/config.yaml", fmt.Sprintf(`
jobmanager.rpc: {address: localhost, port: %s}
rest: {address: localhost, port: %s}
taskmanager.numberOfTaskSlots: 2
high-availability: {type: %s, storageDir: %s/ha, cluster-id: /scripts}
execution.checkpointing.dir: %s/checkpoints
io.tmp.dirs: %s/tmp
`, ports[jobManagers], ports[0], ha, i.dir, i.dir, i.dir))
	t.Cleanup(i.end)
	i.client = newClient(t, i.dir, filepath.Join(i.dir, "conf"), Environment(i.dir))
	return i
}

func (i *Installation) write(name, text string) {
	i.t.Helper()
	path := filepath.Join(i.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		i.t.Fatal(err)
	}
}

// Logs are the lines of all processes' logs, each with the name of its file.
func (i *Installation) Logs() (lines []string) {
	i.t.Helper()
	files, err := filepath.Glob(filepath.Join(i.logDir(), "*.log"))
	if err != nil || len(files) == 0 {
		i.t.Fatalf("no logs in %s: %v", i.logDir(), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			i.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			lines = append(lines, filepath.Base(file)+": "+strings.TrimSpace(line))
		}
	}
	return lines
}

// Output is the directory for the output of a job.
func (i *Installation) Output(name string) string { return filepath.Join(i.dir, "output", name) }

// Script runs one of the scripts to its end.
func (i *Installation) Script(name string, args ...string) Result {
	i.t.Helper()
	cmd := exec.Command(filepath.Join(Root(i.t), "scripts", name), args...)
	limit := strconv.Itoa(int(patience.Seconds()))
	cmd.Env = append(append(os.Environ(), Environment(i.dir)...), "TAMIAS_START_TIMEOUT="+limit, "TAMIAS_STOP_TIMEOUT="+limit,
		"TAMIAS_CONF_DIR="+filepath.Join(i.dir, "conf"), "TAMIAS_BIN_DIR="+Bin(i.t), "TAMIAS_LOG_DIR="+i.logDir(), "TAMIAS_PID_DIR="+filepath.Join(i.dir, "pids"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &stdout, &stderr, i.dir
	cmd.WaitDelay = patience // a daemon that held on to our pipe would keep Run waiting
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		i.t.Fatalf("%s: %v\n%s%s", name, err, &stdout, &stderr)
	}
	return Result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func (i *Installation) logDir() string { return filepath.Join(i.dir, "log") }

// PIDs are the processes of a daemon according to its pid file: standalonesession or taskexecutor.
func (i *Installation) PIDs(daemon string) []string {
	i.t.Helper()
	files, err := filepath.Glob(filepath.Join(i.dir, "pids", "*-"+daemon+".pid"))
	if err != nil || len(files) != 1 {
		i.t.Fatalf("pid files of %s: %q, %v", daemon, files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		i.t.Fatal(err)
	}
	return strings.Fields(string(text))
}

// KillLeader kills the JobManager that leads the Dispatcher, which it finds as an operator would: in the
// storage directory of HA local.
func (i *Installation) KillLeader() {
	i.t.Helper()
	text, err := os.ReadFile(filepath.Join(i.dir, "ha", "scripts", "ha", "leaderlatch", "dispatcher_lock", "holder"))
	if err != nil {
		i.t.Fatal(err)
	}
	var holder struct{ PID int }
	if err := json.Unmarshal(text, &holder); err != nil || holder.PID == 0 {
		i.t.Fatalf("holder of the lock: %s: %v", text, err)
	}
	if err := syscall.Kill(holder.PID, syscall.SIGKILL); err != nil {
		i.t.Fatal(err)
	}
}

// CheckNothingIsLeft is Cluster.CheckNothingIsLeft.
func (i *Installation) CheckNothingIsLeft() {
	i.t.Helper()
	for _, l := range append(leftovers(i.dir), filesBelow(filepath.Join(i.dir, "pids"), true)...) {
		i.t.Errorf("left behind: %s", l)
	}
}

func (i *Installation) end() {
	i.client.close()
	for _, daemon := range []string{"taskmanager.sh", "jobmanager.sh"} {
		if r := i.Script(daemon, "stop-all"); r.Code != 0 {
			i.t.Errorf("%s stop-all: %s", daemon, r)
		}
	}
	if !i.t.Failed() {
		i.CheckNothingIsLeft()
	}
	checkLogs(i.t, i.logDir())
	if i.t.Failed() {
		i.t.Log(tails(i.logDir()))
	}
}

package scripts_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestClusterOfOneJobManager(t *testing.T) {
	h := newHome(t, "rest.port: 4711")
	h.expect(0, `
Starting cluster.
Starting standalonesession daemon on host HOST.
Starting taskexecutor daemon on host HOST.`, "start-cluster.sh")
	jm, tm := h.pids("standalonesession"), h.pids("taskexecutor")
	if len(jm) != 1 || len(tm) != 1 || !running(jm[0]) || !running(tm[0]) {
		t.Fatalf("pids %v and %v, want one live process each", jm, tm)
	}
	await(t, "the log", func() bool { return strings.Contains(h.log("standalonesession", 0, ".log"), `"rest": "4711"`) })
	await(t, "the output", func() bool { return strings.Contains(h.log("taskexecutor", 0, ".out"), "output of the stand-in") })
	for _, want := range []string{"env.log.dir", filepath.Join(h.dir, "log")} {
		if !strings.Contains(h.log("standalonesession", 0, ".log"), want) {
			t.Errorf("log lacks %s", want)
		}
	}

	h.expect(0, `
[INFO] 1 instance(s) of taskexecutor are already running on HOST.
Starting taskexecutor daemon on host HOST.`, "taskmanager.sh", "start")
	if got := h.pids("taskexecutor"); len(got) != 2 || got[0] != tm[0] {
		t.Fatalf("pids %v, want %d and a new one", got, tm[0])
	}
	await(t, "the second log", func() bool { return h.log("taskexecutor", 1, ".log") != "" })

	newest := h.pids("taskexecutor")[1]
	h.expect(0, fmt.Sprintf("Stopping taskexecutor daemon (pid: %d) on host HOST.", newest), "taskmanager.sh", "stop")
	if running(newest) || !running(tm[0]) {
		t.Error("stop did not end the newest process, and only it")
	}
	h.expect(0, fmt.Sprintf(`
Stopping taskexecutor daemon (pid: %d) on host HOST.
Stopping standalonesession daemon (pid: %d) on host HOST.`, tm[0], jm[0]), "stop-cluster.sh")
	if running(tm[0]) || running(jm[0]) {
		t.Error("stop-cluster left a process")
	}
	await(t, "an orderly end", func() bool { return strings.Contains(h.log("standalonesession", 0, ".log"), "stopped") })
	if left, _ := filepath.Glob(filepath.Join(h.dir, "pids", "*")); len(left) != 0 {
		t.Errorf("left in the pid folder: %q", left)
	}
	h.expect(0, `
No taskexecutor daemon to stop on host HOST.
No standalonesession daemon to stop on host HOST.`, "stop-cluster.sh")
}

func TestHighlyAvailableCluster(t *testing.T) {
	h := newHome(t, "high-availability: {type: LOCAL, storageDir: /nowhere}\n")
	h.write("conf/masters", "# two on this machine\nlocalhost:18081 # the first\n\n /rack1/127.0.0.1\n", 0o644)
	h.write("conf/workers", "localhost\nlocalhost", 0o644)
	h.expect(0, `
Starting HA cluster with 2 masters.
Starting standalonesession daemon on host HOST.
[INFO] 1 instance(s) of standalonesession are already running on HOST.
Starting standalonesession daemon on host HOST.
Starting taskexecutor daemon on host HOST.
[INFO] 1 instance(s) of taskexecutor are already running on HOST.
Starting taskexecutor daemon on host HOST.`, "start-cluster.sh")
	await(t, "the first JobManager", func() bool { return strings.Contains(h.log("standalonesession", 0, ".log"), `"rest": "18081"`) })
	await(t, "the second JobManager", func() bool { return strings.Contains(h.log("standalonesession", 1, ".log"), `"rest": "0"`) })
	if log := h.log("standalonesession", 1, ".log"); !strings.Contains(log, `"key": "jobmanager.rpc.address", "value": "127.0.0.1"`) {
		t.Errorf("the second JobManager does not announce its name in conf/masters:\n%s", log)
	}

	// The first one dies; stopping the cluster still ends the second.
	jm, tm := h.pids("standalonesession"), h.pids("taskexecutor")
	if err := syscall.Kill(jm[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the death of the first JobManager", func() bool { return !running(jm[0]) })
	h.expect(0, fmt.Sprintf(`
Stopping taskexecutor daemon (pid: %d) on host HOST.
Stopping taskexecutor daemon (pid: %d) on host HOST.
Stopping standalonesession daemon (pid: %d) on host HOST.
No standalonesession daemon (pid: %d) is running anymore on HOST.`, tm[1], tm[0], jm[1], jm[0]), "stop-cluster.sh")
}

func TestStopAll(t *testing.T) {
	h := newHome(t, "")
	for range 3 {
		if out, code := h.run("jobmanager.sh", "start", "localhost", "0", "-D", "a.b=c"); code != 0 {
			t.Fatalf("start: exit code %d\n%s", code, out)
		}
	}
	pids := h.pids("standalonesession")
	if err := syscall.Kill(pids[1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "a death", func() bool { return !running(pids[1]) })
	h.expect(0, fmt.Sprintf(`
Stopping standalonesession daemon (pid: %d) on host HOST.
Skipping standalonesession daemon (pid: %d), because it is not running anymore on HOST.
Stopping standalonesession daemon (pid: %d) on host HOST.`, pids[0], pids[1], pids[2]), "jobmanager.sh", "stop-all")
	h.expect(0, "", "jobmanager.sh", "stop-all")
}

// TestPidOfAnotherProgram: after a reboot the pid in the file may be anybody's.
func TestPidOfAnotherProgram(t *testing.T) {
	h := newHome(t, "")
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait() //nolint:errcheck // killed
	defer other.Process.Kill()
	h.write("pids/tamias-tester-taskexecutor.pid", fmt.Sprintln(other.Process.Pid), 0o644)
	h.expect(0, fmt.Sprintf("No taskexecutor daemon (pid: %d) is running anymore on HOST.", other.Process.Pid), "taskmanager.sh", "stop")
	if !running(other.Process.Pid) {
		t.Error("stop ended another program")
	}
}

func TestWhoIgnoresSIGTERMIsKilled(t *testing.T) {
	h := newHome(t, "test.stubborn: true")
	h.env = append(h.env, "TAMIAS_STOP_TIMEOUT=1")
	if out, code := h.run("taskmanager.sh", "start"); code != 0 {
		t.Fatalf("start: exit code %d\n%s", code, out)
	}
	await(t, "the stand-in", func() bool { return strings.Contains(h.log("taskexecutor", 0, ".log"), "manager started") })
	pid := h.pids("taskexecutor")[0]
	h.expect(0, fmt.Sprintf(`
Stopping taskexecutor daemon (pid: %d) on host HOST.
Daemon taskexecutor didn't stop within 1 seconds. Killing it.`, pid), "taskmanager.sh", "stop")
	if running(pid) {
		t.Error("still there")
	}
}

func TestStartFailures(t *testing.T) {
	for _, tc := range []struct {
		name    string
		prepare func(h *home)
		script  string
		args    []string
		want    string // part of the output
	}{
		{"no masters", func(h *home) { h.remove("conf/masters") }, "start-cluster.sh", nil, "No masters file. Please specify masters in 'conf/masters'."},
		{"no workers", func(h *home) { h.remove("conf/workers") }, "start-cluster.sh", nil, "No workers file. Please specify workers in 'conf/workers'."},
		{"bad configuration", func(h *home) { h.write("conf/config.yaml", "rest:\n  port: x\n", 0o644) }, "start-cluster.sh", nil,
			"jobmanager: HOME/conf/config.yaml:2: rest.port: value \"x\""},
		{"bad property", func(*home) {}, "jobmanager.sh", []string{"start", "-D", "heartbeat.interval=1 h"}, "must be less than heartbeat.timeout"},
		{"no configuration", func(h *home) { h.remove("conf/config.yaml") }, "start-cluster.sh", nil, "HOME/conf/config.yaml does not exist"},
		{"not built", func(h *home) { h.remove("bin/jobmanager") }, "start-cluster.sh", nil, "[ERROR] HOME/bin/jobmanager is missing."},
		{"gone at once", func(h *home) {
			h.remove("bin/taskmanager")
			h.write("bin/taskmanager", "#!/bin/sh\necho no reason >&2\nexit 3\n", 0o755)
		}, "taskmanager.sh", []string{"start"}, "Error starting taskexecutor daemon.\nno reason"},
		{"gone soon, as when its port is taken", func(h *home) {
			h.remove("bin/taskmanager")
			h.write("bin/taskmanager", "#!/bin/sh\nsleep 0.2\necho INFO configuration property loaded >&2\necho no reason >&2\nexit 1\n", 0o755)
		}, "taskmanager.sh", []string{"start"}, "Error starting taskexecutor daemon.\nno reason"},
		{"usage of jobmanager.sh", func(*home) {}, "jobmanager.sh", []string{"stat"}, "Usage: jobmanager.sh ((start|start-foreground) [HOST [WEBUIPORT]] [-D key=value ...])|stop|stop-all"},
		{"usage of taskmanager.sh", func(*home) {}, "taskmanager.sh", nil, "Usage: taskmanager.sh ((start|start-foreground) [-D key=value ...])|stop|stop-all"},
		{"usage of tamias-daemon.sh", func(*home) {}, "tamias-daemon.sh", []string{"start", "x"}, "Unknown daemon 'x'. Usage: "},
		{"no peer id", func(*home) {}, "zookeeper.sh", []string{"start"}, "[ERROR] Missing peer id argument. Usage: zookeeper.sh"},
		{"no zoo.cfg", func(*home) {}, "zookeeper.sh", []string{"start", "1"}, "[ERROR] No ZooKeeper configuration file found in 'HOME/conf/zoo.cfg'."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHome(t, "high-availability: {type: local, storageDir: /nowhere}\n")
			tc.prepare(h)
			out, code := h.run(tc.script, tc.args...)
			if code != 1 || !strings.Contains(out, tc.want) {
				t.Errorf("exit code %d, output\n%s\nwant 1, %s", code, out, tc.want)
			}
			if left, _ := filepath.Glob(filepath.Join(h.dir, "pids", "*.pid")); len(left) != 0 {
				t.Errorf("started something: %q", left)
			}
		})
	}
}

func (h *home) remove(name string) {
	h.t.Helper()
	if err := os.Remove(filepath.Join(h.dir, name)); err != nil {
		h.t.Fatal(err)
	}
}

func TestOtherMachinesAreReachedBySSH(t *testing.T) {
	h := newHome(t, "high-availability: {type: zookeeper, storageDir: /nowhere, zookeeper.quorum: 'z:1'}\nenv.ssh.opts: -o A=b\n")
	h.write("conf/masters", "node 1:8081\nnode2:8082\n", 0o644) // blanks are dropped
	h.write("conf/workers", "node3\n", 0o644)
	h.write("path/ssh", "#!/bin/bash\nprintf '<%s>' \"$@\" >>"+h.dir+"/ssh.txt\necho >>"+h.dir+"/ssh.txt\n", 0o755)
	h.env[0] = "PATH=" + filepath.Join(h.dir, "path") + ":" + os.Getenv("PATH")
	h.expect(0, "Starting HA cluster with 2 masters.", "start-cluster.sh")
	h.expect(0, "", "stop-cluster.sh")
	run := func(host, rest string) string {
		return fmt.Sprintf("<-n><-o><A=b><%s><--><env TAMIAS_CONF_DIR=HOME/conf /bin/bash -l HOME/scripts/%s >\n", host, rest)
	}
	want := run("node1", "jobmanager.sh start node1 8081") + run("node2", "jobmanager.sh start node2 8082") +
		run("node3", "taskmanager.sh start -D taskmanager.host=node3") +
		run("node3", "taskmanager.sh stop") + run("node2", "jobmanager.sh stop") + run("node1", "jobmanager.sh stop")
	if got := strings.ReplaceAll(h.read("ssh.txt"), h.dir, "HOME"); got != want {
		t.Errorf("ssh was called with\n%s\nwant\n%s", got, want)
	}
}

func TestLogsOfEarlierRunsAreKept(t *testing.T) {
	h := newHome(t, "env.log.max: 2")
	for run := range 4 {
		if out, code := h.run("taskmanager.sh", "start", "-D", fmt.Sprintf("test.run=%d", run)); code != 0 {
			t.Fatalf("start: exit code %d\n%s", code, out)
		}
		await(t, "the stand-in", func() bool { return strings.Contains(h.log("taskexecutor", 0, ".log"), "manager started") })
		h.run("taskmanager.sh", "stop")
	}
	for suffix, want := range map[string]string{".log": "3", ".log.1": "2", ".log.2": "1"} {
		if log := h.log("taskexecutor", 0, suffix); !strings.Contains(log, `"key": "test.run", "value": "`+want+`"`) {
			t.Errorf("%s is not that of run %s:\n%s", suffix, want, log)
		}
	}
	if h.log("taskexecutor", 0, ".log.3") != "" {
		t.Error("more than env.log.max files are kept")
	}
}

func TestForeground(t *testing.T) {
	h := newHome(t, "")
	link := filepath.Join(h.dir, "elsewhere") // scripts are found through a link, too
	if err := os.Symlink(filepath.Join(h.dir, "scripts", "jobmanager.sh"), link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(link, "start-foreground", "localhost", "4712")
	cmd.Env = append(h.env, "STD_REDIRECT_TO_FILE=true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill() // after a failure above Wait
	await(t, "the log", func() bool { return strings.Contains(h.log("standalonesession", 0, ".log"), `"rest": "4712"`) })
	if pids := h.pids("standalonesession"); len(pids) != 1 || pids[0] != cmd.Process.Pid {
		t.Errorf("pid file has %v, want %d", pids, cmd.Process.Pid)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 143 {
		t.Errorf("exit code %d after SIGTERM, want 143", cmd.ProcessState.ExitCode())
	}
}

func TestFlinksVariables(t *testing.T) {
	h := newHome(t, "")
	h.write("elsewhere/flink-conf.yaml", "rest.port: 4713\n", 0o644)
	h.env = append(h.env, "FLINK_CONF_DIR="+filepath.Join(h.dir, "elsewhere"), "FLINK_LOG_DIR="+filepath.Join(h.dir, "logs"), "FLINK_IDENT_STRING=other")
	if out, code := h.run("jobmanager.sh", "start"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	log := fmt.Sprintf("logs/tamias-other-standalonesession-0-%s.log", hostname(t))
	await(t, "the log", func() bool { return strings.Contains(h.read(log), `"rest": "4713"`) })
	if out, code := h.run("jobmanager.sh", "stop"); code != 0 || !strings.HasPrefix(out, "Stopping") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

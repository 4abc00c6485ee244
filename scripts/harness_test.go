package scripts_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/internal/daemon"
	"github.com/tamias-project/tamias/pkg/config"
)

var errStartup = errors.New("start-up failed")

// TestMain is also the stand-ins: the scripts run this binary under the names of the real programs.
func TestMain(m *testing.M) {
	switch name := filepath.Base(os.Args[0]); name {
	case "jobmanager", "taskmanager":
		daemon.Program{Name: name, Run: standIn, ErrStartup: errStartup, Fatal: 2}.Main()
	case "java":
		standInJava()
	default:
		os.Exit(m.Run())
	}
}

// standIn runs until it is stopped; the setting test.stubborn makes it stay.
func standIn(ctx context.Context, cfg *config.Configuration, log *zap.Logger) error {
	fmt.Println("output of the stand-in")
	log.Info("job manager started", zap.String("rest", config.RestBindPort.In(cfg).String()))
	<-ctx.Done()
	if _, stubborn := cfg.Lookup("test.stubborn"); stubborn {
		select {}
	}
	return nil
}

// standInJava prints its arguments and waits for SIGTERM.
func standInJava() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	fmt.Println(os.Args[1:])
	<-stop
}

// A home is an installation of its own: scripts, stand-ins, conf, and folders for logs and pid files.
type home struct {
	t   *testing.T
	dir string
	env []string
}

func newHome(t *testing.T, conf string) *home {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes")
	}
	h := &home{t: t, dir: t.TempDir()}
	scripts, err := filepath.Glob("*.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range scripts {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		h.write("scripts/"+name, string(text), 0o755)
	}
	h.write("conf/config.yaml", conf, 0o644)
	h.write("conf/workers", "localhost\n", 0o644)
	h.write("conf/masters", "localhost:18081\n", 0o644)
	for _, name := range []string{"bin/jobmanager", "bin/taskmanager", "java/bin/java"} {
		h.link(name)
	}
	h.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + h.dir, "USER=tester", "GORACE=atexit_sleep_ms=0",
		"TAMIAS_START_TIMEOUT=60", // only a stand-in that is far too slow takes that long
		"TAMIAS_PID_DIR=" + filepath.Join(h.dir, "pids"), "JAVA_HOME=" + filepath.Join(h.dir, "java"), "TAMIAS_ZOOKEEPER_CLASSPATH=none",
	}
	t.Cleanup(h.killAll)
	return h
}

func (h *home) write(name, text string, mode fs.FileMode) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		h.t.Fatal(err)
	}
}

func (h *home) link(name string) {
	h.t.Helper()
	self, err := os.Executable()
	if err == nil {
		path := filepath.Join(h.dir, name)
		err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(self, path))
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *home) read(name string) string {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.t.Fatal(err)
	}
	return string(text)
}

func (h *home) command(script string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(h.dir, "scripts", script), args...)
	cmd.Env, cmd.Dir = h.env, h.dir
	return cmd
}

// run runs a script and returns its output, with the host's name and pids replaced, and its exit code.
func (h *home) run(script string, args ...string) (string, int) {
	h.t.Helper()
	var out bytes.Buffer
	cmd := h.command(script, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 30 * time.Second // a daemon that held on to our pipe would keep Wait waiting
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatalf("%s %q: %v\n%s", script, args, err, out.String())
	}
	return strings.ReplaceAll(strings.ReplaceAll(out.String(), hostname(h.t), "HOST"), h.dir, "HOME"), cmd.ProcessState.ExitCode()
}

// expect runs a script and compares its output and exit code.
func (h *home) expect(wantCode int, want string, script string, args ...string) {
	h.t.Helper()
	got, code := h.run(script, args...)
	if code != wantCode || strings.TrimSpace(got) != strings.TrimSpace(want) {
		h.t.Errorf("%s %q: exit code %d, output\n%s\nwant %d,\n%s", script, args, code, got, wantCode, want)
	}
}

func hostname(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("hostname").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// pids are the lines of a daemon's pid file.
func (h *home) pids(daemon string) []int {
	h.t.Helper()
	var pids []int
	for line := range strings.Lines(h.read("pids/tamias-tester-" + daemon + ".pid")) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			h.t.Fatalf("pid file of %s: %v", daemon, err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func (h *home) killAll() {
	for _, daemon := range []string{"standalonesession", "taskexecutor", "zookeeper"} {
		for _, pid := range h.pids(daemon) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // may be gone
		}
	}
}

// log is the newest log, or with ".out" the output, of instance n of a daemon.
func (h *home) log(daemon string, n int, suffix string) string {
	return h.read(fmt.Sprintf("log/tamias-tester-%s-%d-%s%s", daemon, n, hostname(h.t), suffix))
}

// running reports whether a process lives; a zombie does not.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// await waits until holds, and fails the test when that takes too long.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

package process_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/taskmanager"
	"github.com/tamias-project/tamias/pkg/taskmanager/process"
	"github.com/tamias-project/tamias/pkg/worker"
)

// The test binary is also the job's program and, for the test of its death, the TaskManager.
const envHost = "TAMIAS_TEST_HOST"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(worker.EnvMode) == worker.ModeWorker:
		jobMain()
	case os.Getenv(envHost) != "":
		hostMain()
	default:
		goleak.VerifyTestMain(m)
	}
}

// jobMain is a program that a user might have written: it prints before it serves.
func jobMain() {
	fmt.Println("started with", os.Args[1:], os.Getenv("GREETING"), os.Getenv(worker.EnvParallelism))
	if len(os.Args) > 1 && os.Args[1] == "exit" {
		fmt.Fprintln(os.Stderr, "cannot read my settings")
		os.Exit(3)
	}
	if len(os.Args) > 1 && os.Args[1] == "hang" {
		<-time.After(time.Hour)
	}
	p, err := worker.OpenPlugin()
	if err != nil {
		panic(err)
	}
	main := rpc.NewMainThread()
	go main.Run(context.Background())
	e := rpc.NewEndpoint(protocol.WorkerEndpoint, main)
	open := rpc.GuardFunc(func(id.FencingToken, any) error { return nil })
	rpc.Handle(e, protocol.StartWorker, open, func(r protocol.StartWorkerRequest) (protocol.PreparedJob, error) {
		if r.Graph.Name == "wrong" {
			return protocol.PreparedJob{}, protocol.ErrInvalidJob
		}
		return protocol.PreparedJob{DataAddress: "here"}, nil
	})
	rpc.Handle(e, protocol.WorkerDeploy, open, func(r protocol.DeployTasksRequest) (protocol.Empty, error) {
		a := r.Tasks[0].Attempt
		p.Log.Info("task opened", logging.Attempt(a), zap.String("tmp", os.TempDir()))
		fmt.Println("printed by", a)
		switch a.Subtask {
		case 1:
			go func() { panic("boom in user code") }()
		case 2:
			os.Exit(7)
		}
		return protocol.Empty{}, nil
	})
	// WorkerFinish starts a child of user code and prints its process ID.
	rpc.Handle(e, protocol.WorkerFinish, open, func(protocol.FinishTasksRequest) (protocol.Empty, error) {
		cmd := exec.Command("sleep", "1000")
		if err := cmd.Start(); err != nil {
			return protocol.Empty{}, err
		}
		p.Log.Info("child started", zap.Int("pid", cmd.Process.Pid))
		return protocol.Empty{}, nil
	})
	p.Serve(e)
}

// files is a Fetcher of what is there already.
type files struct{}

func (f files) Fetch(_ context.Context, _ id.Job, b jobgraph.Binary, blobServer string) (string, error) {
	if blobServer == "nowhere" {
		return "", errors.New("no such blob")
	}
	return os.Executable()
}

func (f files) Release(j id.Job) error { return nil }

// host is what a TaskManager has.
type host struct {
	*process.Launcher
	work, logs string
	lines      *observer.ObservedLogs
}

func newHost(t *testing.T) host { return newHostOf(t, files{}) }

func newHostOf(t *testing.T, fetcher process.Fetcher) host {
	core, lines := observer.New(zapcore.DebugLevel)
	h := host{work: t.TempDir(), logs: t.TempDir(), lines: lines}
	h.Launcher = process.New(process.Config{
		Fetcher: fetcher, WorkDir: h.work, LogDir: h.logs, LogPrefix: "tamias-test-taskexecutor-0-here", Log: zap.New(core),
	})
	return h
}

func spec(args ...string) taskmanager.LaunchSpec {
	return taskmanager.LaunchSpec{Graph: jobgraph.JobGraph{
		ID: id.NewJob(), Name: "job", Args: args, Env: map[string]string{"GREETING": "hello"}, DefaultParallelism: 3,
	}}
}

func (h host) launch(t *testing.T, s taskmanager.LaunchSpec) taskmanager.Process {
	t.Helper()
	p, err := h.Launch(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill(); <-p.Done() })
	if _, err := rpc.Invoke(t.Context(), p.Gateway(), protocol.StartWorker, protocol.StartWorkerRequest{Graph: s.Graph}); err != nil {
		t.Fatal(err)
	}
	return p
}

func deploy(t *testing.T, p taskmanager.Process, a id.ExecutionAttempt) error {
	t.Helper()
	_, err := rpc.Invoke(t.Context(), p.Gateway(), protocol.WorkerDeploy, protocol.DeployTasksRequest{Tasks: []protocol.TaskDeployment{{Attempt: a}}})
	return err
}

// await polls until ok, for at most a minute.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within a minute", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// alive reports whether a process runs: a zombie does not.
func alive(pid int) bool {
	s := processState(pid)
	return s != "" && s != "Z" && s != "X"
}

// processState is the letter that the kernel has for it, as T for stopped; empty when there is no such process.
func processState(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return rest[:min(1, len(rest))]
}

func (h host) line(message string) *observer.LoggedEntry {
	for _, e := range h.lines.All() {
		if e.Message == message {
			return &e
		}
	}
	return nil
}

func TestLogsAndOutput(t *testing.T) {
	h := newHost(t)
	s := spec("one", "two")
	p := h.launch(t, s)
	attempt := id.ExecutionAttempt{Subtask: 5, Attempt: 2}
	if err := deploy(t, p, attempt); err != nil {
		t.Fatal(err)
	}
	await(t, "the log line", func() bool { return h.line("task opened") != nil })
	fields := h.line("task opened").ContextMap()
	if fields["job-id"] != s.Graph.ID.String() || fields["execution-attempt-id"] != attempt.String() {
		t.Errorf("log line has fields %v, want job-id and execution-attempt-id", fields)
	}
	if tmp := fmt.Sprint(fields["tmp"]); !strings.HasPrefix(tmp, h.work) {
		t.Errorf("temporary files go to %s, want below %s", tmp, h.work)
	}
	out := filepath.Join(h.logs, fmt.Sprintf("tamias-test-taskexecutor-0-here-%s-0.out", s.Graph.ID))
	printed, err := os.ReadFile(out)
	if want := fmt.Sprintf("started with [one two] hello 3\nprinted by %s\n", attempt); err != nil || string(printed) != want {
		t.Errorf("%s holds %q, %v, want %q", out, printed, err, want)
	}
	p.Kill()
	<-p.Done()
	if f := p.Failure(); f == nil || !f.Process || !strings.Contains(f.Message, "signal: killed") {
		t.Errorf("Failure = %+v, want one of the process that names the signal", f)
	}
	if left, err := os.ReadDir(h.work); err != nil || len(left) != 0 {
		t.Errorf("%v, %v is left in the work directory", left, err)
	}
	for _, e := range h.lines.All() {
		if e.Level > zapcore.DebugLevel && e.Message != "task opened" {
			t.Errorf("unexpected log line: %s %s %v", e.Level, e.Message, e.ContextMap())
		}
	}
	h.launch(t, s)
	if _, err := os.Stat(strings.Replace(out, "-0.out", "-1.out", 1)); err != nil {
		t.Errorf("second process: %v", err)
	}
}

func TestFailures(t *testing.T) {
	for _, tc := range []struct {
		name           string
		subtask        int
		message, stack string
	}{
		{"panic on a goroutine of user code", 1, "exit status 2: panic: boom in user code", "process_test.go"},
		{"exit", 2, "exit status 7: printed by", "started with"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHost(t)
			p := h.launch(t, spec())
			deploy(t, p, id.ExecutionAttempt{Subtask: tc.subtask}) // its answer may come or not
			<-p.Done()
			f := p.Failure()
			if !strings.Contains(f.Message, tc.message) || !strings.Contains(f.Stack, tc.stack) || !f.Process {
				t.Errorf("Failure = %+v, want %q and a stack with %q", f, tc.message, tc.stack)
			}
			if err := deploy(t, p, id.ExecutionAttempt{}); !errors.Is(err, rpc.ErrUnreachable) {
				t.Errorf("a call after the end = %v, want %v", err, rpc.ErrUnreachable)
			}
		})
	}
}

func TestLaunchFailures(t *testing.T) {
	h := newHost(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	nowhere := spec()
	nowhere.BlobServer = "nowhere"
	for _, tc := range []struct {
		name string
		ctx  context.Context
		spec taskmanager.LaunchSpec
		want string
	}{
		{"a program that ends", t.Context(), spec("exit"), "exit status 3: cannot read my settings"},
		{"no binary", t.Context(), nowhere, "no such blob"},
		{"no time", ended, spec(), context.Canceled.Error()},
	} {
		_, err := h.Launch(tc.ctx, tc.spec)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: Launch = %v, want %q", tc.name, err, tc.want)
		}
	}
	if left, err := os.ReadDir(h.work); err != nil || len(left) != 0 {
		t.Errorf("%v, %v is left in the work directory", left, err)
	}
}

func TestKillEndsTheWholeGroup(t *testing.T) {
	h := newHost(t)
	p := h.launch(t, spec())
	if _, err := rpc.Invoke(t.Context(), p.Gateway(), protocol.WorkerFinish, protocol.FinishTasksRequest{}); err != nil {
		t.Fatal(err)
	}
	await(t, "the child", func() bool { return h.line("child started") != nil })
	child, err := strconv.Atoi(fmt.Sprint(h.line("child started").ContextMap()["pid"]))
	if err != nil || !alive(child) {
		t.Fatalf("child %d does not run, %v", child, err)
	}
	p.Kill()
	p.Kill()
	<-p.Done()
	await(t, "the end of the child", func() bool { return !alive(child) })
}

// hostMain is a TaskManager: it launches a job process, lets it start a child, prints the three process
// IDs and waits to be killed.
func hostMain() {
	core, lines := observer.New(zapcore.InfoLevel)
	l := process.New(process.Config{Fetcher: files{}, WorkDir: os.Getenv(envHost), Log: zap.New(core)})
	ctx := context.Background()
	p, err := l.Launch(ctx, spec())
	if err == nil {
		_, err = rpc.Invoke(ctx, p.Gateway(), protocol.WorkerFinish, protocol.FinishTasksRequest{})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for lines.FilterMessage("child started").Len() == 0 {
		<-time.After(time.Millisecond)
	}
	child := lines.FilterMessage("child started").All()[0].ContextMap()["pid"]
	fmt.Println(p.(*process.Process).PID(), child)
	<-p.Done()
}

func TestSIGKILLOfTheTaskManagerLeavesNothing(t *testing.T) {
	for _, tc := range []struct {
		name  string
		first func(t *testing.T, job int)
	}{
		{"running job", func(*testing.T, int) {}},
		{"stopped job", func(t *testing.T, job int) {
			syscall.Kill(job, syscall.SIGSTOP)
			await(t, "the job process to stop", func() bool { return processState(job) == "T" })
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), envHost+"="+t.TempDir())
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			defer cmd.Process.Kill()
			line, err := bufio.NewReader(out).ReadString('\n')
			var job, child int
			if _, scanErr := fmt.Sscan(line, &job, &child); scanErr != nil || !alive(job) || !alive(child) {
				t.Fatalf("host printed %q, %v", line, err)
			}
			tc.first(t, job)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			await(t, "the end of the job process", func() bool { return !alive(job) })
			await(t, "the end of its child", func() bool { return !alive(child) })
		})
	}
}

// A program hangs before it serves: it dies with its TaskManager all the same.
func TestHangingProgramDiesWithTheTaskManager(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	lifeline, taskManager, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	job := exec.Command(self, "hang")
	job.Env = append(os.Environ(), worker.EnvMode+"="+worker.ModeWorker, worker.Handshake.MagicCookieKey+"="+worker.Handshake.MagicCookieValue)
	job.ExtraFiles = []*os.File{lifeline, os.Stderr, os.Stderr}
	job.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := job.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := job.Start(); err != nil {
		t.Fatal(err)
	}
	defer job.Process.Kill()
	lifeline.Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the program printed %q, %v", line, err)
	}
	taskManager.Close()
	ended := make(chan error, 1)
	go func() { ended <- job.Wait() }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the program ended by itself")
		}
	case <-time.After(time.Minute):
		t.Error("the program outlives its TaskManager")
		job.Process.Kill()
		<-ended
	}
}

func BenchmarkLaunch(b *testing.B) {
	l := process.New(process.Config{Fetcher: files{}, WorkDir: b.TempDir(), Log: zap.NewNop()})
	for b.Loop() {
		p, err := l.Launch(b.Context(), spec())
		if err != nil {
			b.Fatal(err)
		}
		p.Kill()
		<-p.Done()
	}
}

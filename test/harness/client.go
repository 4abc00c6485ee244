package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/tamias-project/tamias/internal/localcluster"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// client uses a cluster as users do: with the tamias command and through REST.
type client struct {
	t       testing.TB
	dir     string // working directory of commands
	conf    string
	env     []string
	leaders *localcluster.Leaders
	began   []*Command
}

func newClient(t testing.TB, dir, conf string, env []string) *client {
	t.Helper()
	leaders, err := localcluster.FollowLeaders(context.Background(), conf)
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, dir: dir, conf: conf, env: env, leaders: leaders}
}

func (c *client) close() {
	for _, command := range c.began {
		command.end()
	}
	c.leaders.Close()
}

// Result is what a command did.
type Result struct {
	Code           int
	Stdout, Stderr string
}

func (r Result) String() string {
	return fmt.Sprintf("exit code %d\nstdout: %s\nstderr: %s", r.Code, r.Stdout, r.Stderr)
}

// Tamias runs the tamias command to its end. Options of the command that say where the cluster is are added.
func (c *client) Tamias(args ...string) Result {
	c.t.Helper()
	return c.Begin(args...).Wait()
}

// Begin runs the tamias command in the background, until Wait or the end of the test.
func (c *client) Begin(args ...string) *Command {
	c.t.Helper()
	command := c.start(append([]string{args[0], "--configDir", c.conf}, args[1:]...))
	c.began = append(c.began, command)
	return command
}

func (c *client) start(args []string) *Command {
	c.t.Helper()
	command := &Command{t: c.t, done: make(chan struct{})}
	command.cmd = exec.Command(filepath.Join(Bin(c.t), "tamias"), args...)
	command.cmd.Dir, command.cmd.Env = c.dir, append(os.Environ(), c.env...)
	command.cmd.Stdout, command.cmd.Stderr = &command.stdout, &command.stderr
	command.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The kernel sends Pdeathsig when the thread that forked ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(command.done)
		err := command.cmd.Start()
		started <- err
		if err == nil {
			command.err = command.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		c.t.Fatal(err)
	}
	return command
}

// Command is a tamias command that runs.
type Command struct {
	t              testing.TB
	cmd            *exec.Cmd
	done           chan struct{} // closed when it has ended
	err            error         // read after done, like the output
	stdout, stderr bytes.Buffer
}

// Wait waits for the end of the command.
func (c *Command) Wait() Result {
	c.t.Helper()
	Await(c.t, "the end of "+strings.Join(c.cmd.Args, " "), c.ended)
	var exit *exec.ExitError
	if c.err != nil && !errors.As(c.err, &exit) {
		c.t.Fatalf("%q: %v", c.cmd.Args, c.err)
	}
	return Result{c.cmd.ProcessState.ExitCode(), c.stdout.String(), c.stderr.String()}
}

func (c *Command) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *Command) end() {
	_ = c.cmd.Process.Kill() // may have ended
	<-c.done
	if c.t.Failed() {
		c.t.Logf("%q\n%s%s", c.cmd.Args, c.stdout.String(), c.stderr.String())
	}
}

// Job says how to run one.
type Job struct {
	ID id.Job
	// Parallelism is tamias run -p.
	Parallelism int
	// Program is the name of one in Bin; Args are its own.
	Program string
	Args    []string
	// Options are further options of tamias run.
	Options []string
}

func (c *client) runArgs(job *Job) []string {
	c.t.Helper()
	if job.ID.IsZero() {
		job.ID = id.NewJob()
	}
	args := []string{"run", "--job-id", job.ID.String(), "-p", fmt.Sprint(max(1, job.Parallelism))}
	args = append(args, job.Options...)
	return append(append(args, filepath.Join(Bin(c.t), job.Program)), job.Args...)
}

// Submit submits a job and does not wait for its end.
func (c *client) Submit(job Job) id.Job {
	c.t.Helper()
	job.Options = append([]string{"-d"}, job.Options...)
	if r := c.Tamias(c.runArgs(&job)...); r.Code != 0 {
		c.t.Fatalf("submit %s: %s", job.Program, r)
	}
	return job.ID
}

// BeginRun runs a job with a client that waits for its end.
func (c *client) BeginRun(job Job) (id.Job, *Command) {
	c.t.Helper()
	args := c.runArgs(&job)
	return job.ID, c.Begin(args...)
}

// Get reads a path of the REST endpoint, again and again until a leader answers.
func (c *client) Get(path string, into any) {
	c.t.Helper()
	var err error
	if !poll(func() bool { err = c.leaders.Get(c.t.Context(), path, into); return err == nil }) {
		c.t.Fatalf("GET %s: %v", path, err)
	}
}

// Details of a job, as soon as a leader tells them.
func (c *client) Details(job id.Job) (d protocol.JobDetails) {
	c.t.Helper()
	c.Get("/jobs/"+job.String()+"/details", &d)
	return d
}

// AwaitJob waits until something holds for a job, and ends the test when the job ends before.
func (c *client) AwaitJob(job id.Job, what string, holds func(protocol.JobDetails) bool) (d protocol.JobDetails) {
	c.t.Helper()
	if !poll(func() bool { d = c.Details(job); return holds(d) || d.Overview.State.Terminal() }) {
		c.t.Fatalf("waited in vain for %s\n%s", what, describe(d))
	}
	if !holds(d) {
		c.t.Fatalf("the job ended before %s\n%s", what, describe(d))
	}
	return d
}

// AwaitRunning waits until all tasks of a job run.
func (c *client) AwaitRunning(job id.Job) protocol.JobDetails {
	c.t.Helper()
	return c.AwaitJob(job, "all tasks running", AllRun)
}

// AwaitEnd waits for the end of a job and ends the test when it is not state.
func (c *client) AwaitEnd(job id.Job, state protocol.JobState) protocol.JobDetails {
	c.t.Helper()
	d := c.AwaitJob(job, "the end of the job", func(d protocol.JobDetails) bool { return d.Overview.State.Terminal() })
	if d.Overview.State != state {
		c.t.Fatalf("the job is %s, want %s\n%s", d.Overview.State, state, describe(d))
	}
	return d
}

// Cancel cancels a job and waits for its end.
func (c *client) Cancel(job id.Job) protocol.JobDetails {
	c.t.Helper()
	if r := c.Tamias("cancel", job.String()); r.Code != 0 {
		c.t.Fatalf("cancel: %s", r)
	}
	return c.AwaitEnd(job, protocol.JobCanceled)
}

// AllRun reports whether a job runs with all its tasks.
func AllRun(d protocol.JobDetails) bool {
	tasks := 0
	for _, v := range d.Graph.Vertices {
		tasks += v.Parallelism
	}
	return d.Overview.State == protocol.JobRunning && d.Overview.Tasks[protocol.Running] == tasks
}

// Attempts returns the highest attempt number of a job's tasks: 0 if none was restarted.
func Attempts(d protocol.JobDetails) (highest int) {
	for _, s := range d.Subtasks {
		highest = max(highest, s.Execution.Attempt.Attempt)
	}
	return highest
}

// describe says how a job does, for failures of tests.
func describe(d protocol.JobDetails) string {
	var b strings.Builder
	o := d.Overview
	fmt.Fprintf(&b, "job %s is %s: tasks %v, %d restarts, %d adoptions, epoch %d, checkpoints %d completed, %d failed %s\n",
		o.ID, o.State, o.Tasks, o.Restarts, o.Adoptions, d.JobMasterEpoch, d.Checkpoints.Completed, d.Checkpoints.Failed, d.Waiting)
	for _, f := range d.Failures {
		fmt.Fprintf(&b, "%s %s %s: %s\n%s\n", f.At.Format("15:04:05.000"), f.Task, f.TaskManager, f.Failure.Message, f.Failure.Stack)
	}
	return b.String()
}

// TaskManagers counts those that a job's tasks are at.
func TaskManagers(d protocol.JobDetails) int {
	at := map[id.TaskManager]bool{}
	for _, s := range d.Subtasks {
		at[s.TaskManager] = true
	}
	return len(at)
}

// Drained reports whether a task has seen the end of its input.
func Drained(d protocol.JobDetails) bool {
	return slices.ContainsFunc(d.Subtasks, func(s protocol.SubtaskDetails) bool { return s.Execution.Drained })
}

// Run runs a job with a client that waits for its end.
func (c *client) Run(job Job) Result {
	c.t.Helper()
	_, command := c.BeginRun(job)
	return command.Wait()
}

package process

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// pipeLinger is how long the pipes of a process that has ended are read on. Only a process of user code
// that has left the group could hold them open longer.
const pipeLinger = 500 * time.Millisecond

// groupRunner is a go-plugin runner whose process leads a process group, has its output in a file, and
// holds the read end of a pipe whose end it does not survive.
type groupRunner struct {
	path string
	args []string
	env  []string
	out  *os.File

	// Ends of pipes that stay here: go-plugin's handshake, log lines, and the lifeline that nothing is ever
	// written to.
	handshake, log, lifeline *os.File
	// given are the ends that the process gets.
	given []*os.File

	cmd *exec.Cmd
	// exited is closed when the process has ended and been reaped, and its group has been killed; state is
	// set by then.
	exited chan struct{}
	state  *os.ProcessState

	mu      sync.Mutex // guards started and killed
	started bool
	killed  bool
}

func newRunner(path string, args, env []string, out *os.File) *groupRunner {
	return &groupRunner{path: path, args: args, env: env, out: out, exited: make(chan struct{})}
}

// prepare makes the pipes and the command; extra is go-plugin's part of the environment. The file
// descriptors are those of package worker: 3 lifeline, 4 log, 5 handshake.
func (r *groupRunner) prepare(extra []string) error {
	lifeline, lifelineEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	log, logEnd, err := os.Pipe()
	if err != nil {
		lifeline.Close()
		lifelineEnd.Close()
		return err
	}
	handshake, handshakeEnd, err := os.Pipe()
	if err != nil {
		for _, f := range []*os.File{lifeline, lifelineEnd, log, logEnd} {
			f.Close()
		}
		return err
	}
	r.lifeline, r.log, r.handshake = lifelineEnd, log, handshake
	r.given = []*os.File{lifeline, logEnd, handshakeEnd}
	r.env = append(r.env, extra...)
	return nil
}

func (r *groupRunner) command() *exec.Cmd {
	cmd := exec.Command(r.path, r.args...)
	cmd.Env = r.env
	cmd.Stdout, cmd.Stderr = r.out, r.out
	cmd.ExtraFiles = r.given
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// busyPauses are those between the tries to execute a file that is busy, about two seconds in all.
var busyPauses = []time.Duration{5 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond, time.Second}

// Start implements runner.Runner. A binary that has just been written may be refused as busy although it was
// closed: another goroutine forked while it was open, and its child holds it until it has executed its own
// program. That takes a moment.
func (r *groupRunner) Start(ctx context.Context) error {
	err := r.start()
	for _, pause := range busyPauses {
		if !errors.Is(err, syscall.ETXTBSY) || ctx.Err() != nil {
			break
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		err = r.start()
	}
	r.closeGiven()
	if err != nil {
		r.lifeline.Close()
		r.log.Close()
		r.handshake.Close()
	}
	return err
}

// start tries once.
func (r *groupRunner) start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.killed {
		return errors.New("killed before the start")
	}
	r.cmd = r.command()
	if err := r.cmd.Start(); err != nil {
		return err
	}
	r.started = true
	go r.wait()
	return nil
}

func (r *groupRunner) closeGiven() {
	for _, f := range append(r.given, r.out) {
		f.Close()
	}
}

// wait reaps the process and ends what is left of its group. It ends with the process.
func (r *groupRunner) wait() {
	r.cmd.Wait() // its error says no more than the state
	r.mu.Lock()
	r.killed = true // from here on the process ID may belong to another process
	syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	r.state = r.cmd.ProcessState
	r.mu.Unlock()
	r.lifeline.Close()
	close(r.exited)
	time.AfterFunc(pipeLinger, func() { // readers have met the end by then, or never will
		r.log.Close()
		r.handshake.Close()
	})
}

// running reports whether there is a process to wait for.
func (r *groupRunner) running() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.started
}

// kill ends the whole group. It does not wait. Idempotent.
func (r *groupRunner) kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started && !r.killed {
		syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	}
	r.killed = true
}

// Wait implements runner.AttachedRunner.
func (r *groupRunner) Wait(ctx context.Context) error {
	select {
	case <-r.exited:
		if r.state.Success() {
			return nil
		}
		return errors.New(r.state.String())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Kill implements runner.AttachedRunner.
func (r *groupRunner) Kill(context.Context) error {
	r.kill()
	return nil
}

// Stdout implements runner.Runner: go-plugin reads its handshake from it.
func (r *groupRunner) Stdout() io.ReadCloser { return r.handshake }

// Stderr implements runner.Runner: go-plugin reads log lines from it.
func (r *groupRunner) Stderr() io.ReadCloser { return r.log }

// Name implements runner.Runner; go-plugin names the log of the process after it.
func (r *groupRunner) Name() string { return jobLogName }

// Diagnose implements runner.Runner. The output of the process says more: see Process.Failure.
func (r *groupRunner) Diagnose(context.Context) string { return "" }

// ID implements runner.AttachedRunner: the process ID, empty before the start.
func (r *groupRunner) ID() string {
	if r.cmd == nil || r.cmd.Process == nil {
		return ""
	}
	return strconv.Itoa(r.cmd.Process.Pid)
}

// PluginToHost implements runner.AddrTranslator: both sides see the same files.
func (r *groupRunner) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin implements runner.AddrTranslator.
func (r *groupRunner) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// end says how the process ended, in words.
func (r *groupRunner) end() string {
	if r.state == nil {
		return "it was not started"
	}
	return cmp.Or(r.state.String(), "unknown")
}

package localcluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Process is one child process.
type Process struct {
	// Name is for people: "jobmanager 0".
	Name string
	// Log is the file with its standard output and error.
	Log string
	// RPCAddress is host:port of a JobManager's RPC service.
	RPCAddress string
	// ResourceID is a TaskManager's name in the cluster.
	ResourceID string

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has been reaped
	err  error         // how it ended; read after done
}

// startProcess runs a program, with env on top of this process's environment, whose output goes to the end
// of log.
func startProcess(name, log string, env []string, program string, args ...string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &Process{Name: name, Log: log, cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends Pdeathsig when the thread that forked ends: this goroutine keeps it for the child's life.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// PID of the process, also after its end.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Alive reports whether the process has not ended.
func (p *Process) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Err says how the process ended: nil for exit code 0. Call it after Done.
func (p *Process) Err() error { return p.err }

// WaitContext waits for the end of the process and reports whether it came before the end of ctx.
func (p *Process) WaitContext(ctx context.Context) bool {
	select {
	case <-p.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// Kill sends SIGKILL. A process that has ended is left alone, like for all signals.
func (p *Process) Kill() { p.signal(syscall.SIGKILL) }

// Terminate sends SIGTERM.
func (p *Process) Terminate() { p.signal(syscall.SIGTERM) }

// Freeze sends SIGSTOP.
func (p *Process) Freeze() { p.signal(syscall.SIGSTOP) }

// Thaw sends SIGCONT.
func (p *Process) Thaw() { p.signal(syscall.SIGCONT) }

func (p *Process) signal(s syscall.Signal) {
	// os.Process refuses to signal a process that has been reaped, so no stranger with the same pid is hit.
	_ = p.cmd.Process.Signal(s)
}

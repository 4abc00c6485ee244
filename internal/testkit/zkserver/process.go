package zkserver

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// process is a child that dies with this process.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// startProcess runs a command with its output appended to the file log.
func startProcess(log, name string, args ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &process{cmd: exec.Command(name, args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = dieWithParent()
	started := make(chan error)
	go func() {
		// The kernel sends the parent-death signal when the thread that started the child ends, so this
		// goroutine keeps its thread until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.cmd.Wait()
			close(p.ended)
		}
	}()
	return p, <-started
}

// end sends sig, and SIGKILL if that did not help within ten seconds, and waits for the end.
func (p *process) end(sig syscall.Signal) {
	p.cmd.Process.Signal(sig)
	p.cmd.Process.Signal(syscall.SIGCONT) // a frozen process would not see SIGTERM
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		p.cmd.Process.Kill()
		<-p.ended
	}
}

package drill

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// liveProcess is a process on this machine that somebody else has started. It is recognised by its number and
// its start, so that a stranger who got its number is not hit.
type liveProcess struct {
	pid     int
	started string
	args    []string // its command line
	env     []string
	handle  *os.Process
}

var _ process = (*liveProcess)(nil)

// openProcess finds a live process. word is an argument of its command line: the name of its binary, without
// the directory, or any other one.
func openProcess(pid int, word string) (*liveProcess, error) {
	s, err := readStat(pid)
	if err != nil || !s.alive() {
		return nil, fmt.Errorf("process %d does not run on this machine", pid)
	}
	handle, err := os.FindProcess(pid)
	if err != nil {
		return nil, err
	}
	p := &liveProcess{pid: pid, started: s.started, handle: handle}
	if p.args, err = readStrings(pid, "cmdline"); err != nil {
		return nil, err
	}
	if p.env, err = readStrings(pid, "environ"); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(p.args, func(arg string) bool { return filepath.Base(arg) == word || arg == word }) {
		return nil, fmt.Errorf("process %d is no %s: %s", pid, word, strings.Join(p.args, " "))
	}
	if !p.Alive() { // the handle is of the process that was looked at
		return nil, fmt.Errorf("process %d has just ended", pid)
	}
	return p, nil
}

// readStrings reads a file of /proc/PID that holds strings with a zero after each.
func readStrings(pid int, name string) ([]string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		return nil, fmt.Errorf("process %d cannot be looked at: %w", pid, err)
	}
	var list []string
	for s := range bytes.SplitSeq(bytes.TrimRight(data, "\x00"), []byte{0}) {
		list = append(list, string(s))
	}
	return list, nil
}

// PID of the process, also after its end.
func (p *liveProcess) PID() int { return p.pid }

// Alive reports whether the process has not ended.
func (p *liveProcess) Alive() bool {
	s, err := readStat(p.pid)
	return err == nil && s.started == p.started && s.alive()
}

// Kill sends SIGKILL, Terminate SIGTERM, Freeze SIGSTOP, Thaw SIGCONT.
func (p *liveProcess) Kill()      { p.signal(syscall.SIGKILL) }
func (p *liveProcess) Terminate() { p.signal(syscall.SIGTERM) }
func (p *liveProcess) Freeze()    { p.signal(syscall.SIGSTOP) }
func (p *liveProcess) Thaw()      { p.signal(syscall.SIGCONT) }

func (p *liveProcess) signal(s syscall.Signal) {
	if p.Alive() {
		_ = p.handle.Signal(s)
	}
}

// WaitContext waits for the end of the process and reports whether it came before the end of ctx.
func (p *liveProcess) WaitContext(ctx context.Context) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for p.Alive() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// variable of the process's environment, "" if it is not set.
func (p *liveProcess) variable(name string) string {
	for _, v := range p.env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// option returns the value of --name VALUE or --name=VALUE.
func option(args []string, name string) string {
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, name+"="); ok {
			return value
		}
		if arg == name && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

// properties are the -D key=value arguments of a command line.
func properties(args []string) (list []string) {
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "-D" && i+1 < len(args):
			i++
			list = append(list, args[i])
		case strings.HasPrefix(args[i], "-D"):
			list = append(list, args[i][2:])
		}
	}
	return list
}

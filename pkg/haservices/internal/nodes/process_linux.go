package nodes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Self is this process.
var Self = sync.OnceValue(func() Process {
	p := Process{PID: os.Getpid(), Namespace: namespace()}
	p.StartTime, _ = startTime(p.PID)
	return p
})

// namespace says where a PID means something: this boot of this kernel, and the PID namespace.
func namespace() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	link, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	number := strings.Trim(strings.TrimPrefix(link, "pid:"), "[]")
	return strings.ReplaceAll(strings.TrimSpace(string(boot)), "-", "") + "." + number
}

// errEnded: there is no such process, or only its remains that nobody has reaped.
var errEnded = errors.New("process has ended")

// startTime reads when a process began, in clock ticks since the boot.
func startTime(pid int) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, errEnded
	}
	// The second field is the command in brackets, which may contain anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("stat of process %d: %d fields", pid, len(fields))
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, errEnded
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// open returns a handle that stays with the process even if its PID is given to another one.
func (p Process) open() (fd int, err error) {
	fd, err = unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return -1, errEnded
	}
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	// Only now it is certain that the process which is looked at is the one that fd stands for.
	if start, err := startTime(p.PID); err != nil || start != p.StartTime {
		unix.Close(fd)
		return -1, errEnded
	}
	return fd, nil
}

// Alive reports whether p runs. Of a process elsewhere nobody knows: true.
func (p Process) Alive() bool {
	if !p.Here() {
		return true
	}
	start, err := startTime(p.PID)
	return err == nil && start == p.StartTime || err != nil && !errors.Is(err, errEnded)
}

// AwaitEnd returns nil as soon as p has ended. It returns ctx's error if that comes first, and another one
// if p cannot be watched.
func (p Process) AwaitEnd(ctx context.Context) error {
	if !p.Here() {
		return errors.New("the process does not run here")
	}
	fd, err := p.open()
	if errors.Is(err, errEnded) {
		return nil
	}
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	// Closing ends the wait: the file is in the runtime's poller and holds no thread.
	defer context.AfterFunc(ctx, func() { f.Close() })()
	ended := false
	err = conn.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		ended = err == nil && n == 1
		return ended
	})
	switch {
	case ended:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("watch process %d: %w", p.PID, err)
}

// Kill ends p as nothing else can (SIGKILL), even if it is stopped. It does nothing when p has ended or
// its PID means another process by now, and refuses to end this process.
func (p Process) Kill() error {
	if !p.Here() || p.PID == os.Getpid() {
		return fmt.Errorf("process %d is not for this process to kill", p.PID)
	}
	fd, err := p.open()
	if errors.Is(err, errEnded) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	return nil
}

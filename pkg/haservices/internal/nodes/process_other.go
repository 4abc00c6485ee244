//go:build !linux

package nodes

import (
	"context"
	"errors"
	"os"
)

// Self is this process. Without /proc no process can be recognised again: Here is always false, so
// nobody is watched or killed, and the end of a leader shows when its lock is free.
func Self() Process { return Process{PID: os.Getpid()} }

// Alive reports whether p runs; here nobody knows: true.
func (p Process) Alive() bool { return true }

// AwaitEnd cannot watch processes here.
func (p Process) AwaitEnd(context.Context) error {
	return errors.New("processes cannot be watched on this operating system")
}

// Kill cannot recognise processes here, so it kills none.
func (p Process) Kill() error {
	return errors.New("processes cannot be recognised on this operating system")
}

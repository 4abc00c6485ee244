package nodes

import (
	"context"
	"errors"
	"os/exec"
	"syscall"
	"testing"
)

func TestProcess(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	child := Self()
	child.PID = cmd.Process.Pid
	var err error
	if child.StartTime, err = startTime(child.PID); err != nil {
		t.Fatal(err)
	}
	other := child
	other.StartTime++
	if !child.Alive() || other.Alive() {
		t.Errorf("Alive: the child %t, an earlier process with its PID %t; want true and false", child.Alive(), other.Alive())
	}
	if err := other.Kill(); err != nil || !child.Alive() {
		t.Errorf("Kill of an earlier process with that PID = %v, the child lives: %t", err, child.Alive())
	}
	if err := Self().Kill(); err == nil {
		t.Error("Kill of this process succeeded")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- child.AwaitEnd(ctx) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("AwaitEnd = %v, want the context's error", err)
	}
	go func() { ended <- child.AwaitEnd(t.Context()) }()
	cmd.Process.Signal(syscall.SIGSTOP)
	if err := child.Kill(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("AwaitEnd = %v", err)
	}
	// Nobody has reaped it yet: a zombie is not alive.
	if child.Alive() {
		t.Error("a killed process is alive")
	}
}

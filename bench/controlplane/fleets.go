package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// fleetProcess is a fleet as the testbed sees it.
type fleetProcess struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *json.Decoder
}

// grow starts fleets so that there are size TaskManagers, and waits until all are registered.
func (t *testbed) grow(ctx context.Context, size, slots, perPort int) error {
	for fleets := t.bench.fleets; fleets > 0; fleets-- {
		count := (size - t.size) / fleets
		if count == 0 {
			continue
		}
		if err := t.startFleet(ctx, fleetOrder{ConfigDir: t.cluster.ConfigDir(), DebugDir: t.dir, First: t.size, Count: count, PerPort: perPort, Slots: slots}); err != nil {
			return err
		}
		t.size += count
	}
	return t.awaitRegistered(ctx)
}

func (t *testbed) startFleet(ctx context.Context, o fleetOrder) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	f := &fleetProcess{cmd: exec.CommandContext(ctx, self, "fleet")} // killed when ctx ends, and whoever waits for its answer learns it
	f.cmd.Stderr = os.Stderr
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if f.in, err = f.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	f.answers = json.NewDecoder(out)
	if err := f.cmd.Start(); err != nil {
		return err
	}
	t.fleets = append(t.fleets, f)
	return json.NewEncoder(f.in).Encode(o)
}

// end ends a fleet: it goes when its input does, and in any case.
func (f *fleetProcess) end() {
	f.in.Close()
	kill := time.AfterFunc(5*time.Second, func() { f.cmd.Process.Kill() })
	defer kill.Stop()
	_ = f.cmd.Wait() // how it ended does not matter any more
}

// witnessed asks all fleets.
func (t *testbed) witnessed(q question) (all witnessed, err error) {
	for _, f := range t.fleets {
		if err := json.NewEncoder(f.in).Encode(q); err != nil {
			return all, fmt.Errorf("ask a fleet: %w", err)
		}
	}
	for _, f := range t.fleets {
		var a witnessed
		if err := f.answers.Decode(&a); err != nil {
			return all, fmt.Errorf("a fleet process has ended, see its message: %w", err)
		}
		all.Registered, all.Attached = append(all.Registered, a.Registered...), append(all.Attached, a.Attached...)
		all.Heartbeats, all.JobHeartbeats = all.Heartbeats+a.Heartbeats, all.JobHeartbeats+a.JobHeartbeats
		all.Started, all.Lost = all.Started+a.Started, all.Lost+a.Lost
		all.Violations = append(all.Violations, a.Violations...)
	}
	slices.SortFunc(all.Registered, time.Time.Compare)
	slices.SortFunc(all.Attached, time.Time.Compare)
	if len(all.Violations) > 0 {
		return all, fmt.Errorf("broken promises: %q", all.Violations)
	}
	return all, nil
}

// awaitRegistered waits until all TaskManagers are registered at the present ResourceManager, as they say and
// as it says.
func (t *testbed) awaitRegistered(ctx context.Context) error {
	err := t.await(ctx, "registrations", pollInterval, func() (bool, error) {
		w, err := t.witnessed(question{Epoch: t.epoch(haservices.ResourceManager)})
		return len(w.Registered) == t.size, err
	})
	if err != nil {
		return err
	}
	return t.await(ctx, "the list of TaskManagers", 200*time.Millisecond, func() (bool, error) {
		list, err := invoke(ctx, t, haservices.ResourceManager, protocol.ListTaskManagers, protocol.Empty{})
		return len(list.TaskManagers) == t.size, err
	})
}

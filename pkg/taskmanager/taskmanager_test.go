package taskmanager_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
	"github.com/tamias-project/tamias/pkg/taskmanager"
	"github.com/tamias-project/tamias/pkg/taskmanager/taskmanagertest"
)

var delays = taskmanagertest.Config{
	LaunchDelay: 30 * time.Millisecond, StartDelay: 20 * time.Millisecond, AckDelay: 5 * time.Millisecond, CancelDelay: 10 * time.Millisecond,
}

// running starts two TaskManagers with two slots each, one ResourceManager, and a job on all four slots.
func running(t *testing.T, faults rpctest.Faults) (*cluster, *master, []*taskmanager.TaskManager) {
	t.Helper()
	c := newCluster(t, faults, delays)
	c.resourceManager("jm-rm")
	tms := []*taskmanager.TaskManager{c.taskManager("tm-1", 2), c.taskManager("tm-2", 2)}
	m := c.master("jm-1", twoVertices(4))
	m.deploy(t.Context(), 0)
	c.await("all tasks running", func() bool { return c.tasks.Count(m.graph.ID, taskmanagertest.Running) == 8 })
	return c, m, tms
}

// untouched fails the test if any task was started anew or ended since the first deployment.
func untouched(t *testing.T, c *cluster, m *master) {
	t.Helper()
	if got := len(c.tasks.Live(m.graph.ID)); got != 8 {
		t.Errorf("%d tasks run, want 8", got)
	}
	for _, k := range []taskmanagertest.Kind{taskmanagertest.Cancelled, taskmanagertest.Failed, taskmanagertest.Lost, taskmanagertest.ProcessEnded} {
		if got := c.tasks.Count(m.graph.ID, k); got != 0 {
			t.Errorf("%d tasks were %s, want 0", got, k)
		}
	}
	if got := c.tasks.Restarts(m.graph.ID); got != 0 {
		t.Errorf("%d restarts, want 0", got)
	}
}

// adopted waits until both TaskManagers have reported all their running tasks to m.
func adopted(t *testing.T, c *cluster, m *master) {
	t.Helper()
	c.await("both task managers registered", func() bool { return len(m.reports()) >= 2 })
	for _, r := range m.reports()[:2] {
		if len(r.Report.Executions) != 4 || len(r.Report.Allocations) != 2 {
			t.Errorf("%s reports %d executions and %d allocations, want 4 and 2", r.TaskManager, len(r.Report.Executions), len(r.Report.Allocations))
		}
		for _, x := range r.Report.Executions {
			if x.State != protocol.Running || x.Attempt.Attempt != 0 || x.Allocation.IsZero() {
				t.Errorf("%s reports %s as %s in allocation %s, want attempt 0 RUNNING", r.TaskManager, x.Attempt, x.State, x.Allocation)
			}
		}
	}
}

func TestTasksSurviveTheDeathOfTheirMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, first, _ := running(t, rpctest.Faults{})
		c.kill("jm-1")
		pass(3 * time.Minute) // orphaned
		untouched(t, c, first)
		second := c.master("jm-2", first.graph)
		adopted(t, c, second)
		pass(time.Minute)
		untouched(t, c, first)
		if got := second.held(); got != 4 {
			t.Errorf("the second master holds %d slots, want 4", got)
		}
	})
}

func TestLateMessagesOfAnOldMasterAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, first, tms := running(t, rpctest.Faults{})
		c.freeze("jm-1")
		second := c.master("jm-2", first.graph)
		adopted(t, c, second)
		// The first master wakes up and still believes that it leads.
		c.thaw("jm-1")
		ctx, job := t.Context(), first.graph.ID
		g := first.gateway("tm-1")
		live := c.tasks.Live(job)
		before := tms[0].FencedMessages()
		errs := map[string]error{}
		_, errs["release job"] = rpc.Invoke(ctx, g, protocol.ReleaseJob, protocol.ReleaseJobRequest{Job: job})
		_, errs["cancel"] = rpc.Invoke(ctx, g, protocol.CancelTasks, protocol.CancelTasksRequest{Job: job, Attempts: live})
		_, errs["trigger"] = rpc.Invoke(ctx, g, protocol.TriggerCheckpoint, protocol.TriggerCheckpointRequest{Job: job, Checkpoint: 1})
		_, errs["complete"] = rpc.Invoke(ctx, g, protocol.CompleteCheckpoint, protocol.CompleteCheckpointRequest{Job: job, Checkpoint: 1})
		_, errs["abort"] = rpc.Invoke(ctx, g, protocol.AbortCheckpoint, protocol.AbortCheckpointRequest{Job: job, First: 1, Last: 9})
		_, errs["finish"] = rpc.Invoke(ctx, g, protocol.FinishTasks, protocol.FinishTasksRequest{Job: job, Attempts: live})
		_, errs["release slots"] = rpc.Invoke(ctx, g, protocol.ReleaseSlots, protocol.ReleaseSlotsRequest{Job: job})
		_, errs["heartbeat"] = rpc.Invoke(ctx, g, protocol.JobMasterHeartbeat, protocol.JobMasterHeartbeatRequest{Job: job})
		_, errs["prepare"] = rpc.Invoke(ctx, g, protocol.PrepareJob, protocol.PrepareJobRequest{Job: job, Graph: first.graph})
		_, errs["deploy"] = rpc.Invoke(ctx, g, protocol.DeployTasks, protocol.DeployTasksRequest{Job: job})
		for call, err := range errs {
			if !errors.Is(err, rpc.ErrFenced) {
				t.Errorf("%s of the old master = %v, want %v", call, err, rpc.ErrFenced)
			}
		}
		if got := tms[0].FencedMessages() - before; got < int64(len(errs)) {
			t.Errorf("%d messages were counted as fenced, want at least %d", got, len(errs))
		}
		pass(time.Minute)
		untouched(t, c, first)
	})
}

func TestResourceManagerChangeMovesNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{})
		before := c.taskManagers(m)
		c.resourceManager("jm-rm-2")
		for _, end := range []func(){
			func() { c.kill("jm-rm"); c.resourceManager("jm-rm") },
			func() { c.stop("jm-rm-2"); c.resourceManager("jm-rm-2") },
		} {
			end()
			c.await("task managers at the new leader", func() bool { return len(c.taskManagers(m).TaskManagers) == 2 })
			pass(30 * time.Second)
			after := c.taskManagers(m)
			for i, tm := range after.TaskManagers {
				if !slices.Equal(tm.Slots, before.TaskManagers[i].Slots) {
					t.Errorf("slots of %s are %v, were %v", tm.ID, tm.Slots, before.TaskManagers[i].Slots)
				}
			}
			if len(after.Missing) != 0 {
				t.Errorf("missing slots %v, want none", after.Missing)
			}
		}
		untouched(t, c, m)
	})
}

func TestOrphanTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, first, _ := running(t, rpctest.Faults{})
		c.kill("jm-1")
		pass(5*time.Minute - 2*heartbeatInterval)
		untouched(t, c, first)
		pass(3 * heartbeatInterval)
		if n := c.tasks.Processes(first.graph.ID); n != 0 {
			t.Errorf("%d processes after the orphan timeout, want 0", n)
		}
		second := c.master("jm-2", first.graph)
		// What became of the tasks is told, and slots are free: the second master gets new ones.
		c.await("reports", func() bool { return len(second.reports()) >= 2 })
		for _, r := range second.reports()[:2] {
			for _, x := range r.Report.Executions {
				if x.State != protocol.Failed || x.Failure == nil || !strings.Contains(x.Failure.Message, "orphan-timeout") {
					t.Errorf("%s is reported as %s %v, want FAILED by the orphan timeout", x.Attempt, x.State, x.Failure)
				}
			}
			if len(r.Report.Executions) != 4 || len(r.Report.Allocations) != 0 {
				t.Errorf("%s reports %d executions and %d allocations, want 4 and 0", r.TaskManager, len(r.Report.Executions), len(r.Report.Allocations))
			}
		}
		second.deploy(t.Context(), 1)
		c.await("tasks again", func() bool { return len(c.tasks.Live(first.graph.ID)) == 8 })
	})
}

func TestProcessDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{})
		live := c.tasks.Live(m.graph.ID)
		c.tasks.KillProcess(m.graph.ID, "tm-1")
		c.await("the master knows", func() bool {
			failed := 0
			for _, a := range live {
				if s := m.seen(a); s[len(s)-1] == protocol.Failed {
					failed++
				}
			}
			return failed == 4
		})
		m.mu.Lock()
		for _, x := range m.states {
			if x.State == protocol.Failed && (x.Failure == nil || !x.Failure.Process) {
				t.Errorf("%s failed with %+v, want a failure of the process", x.Attempt, x.Failure)
			}
		}
		m.mu.Unlock()
		if got := m.held(); got != 4 {
			t.Errorf("the master holds %d slots, want 4: slots outlive a process", got)
		}
		if got := len(c.tasks.Live(m.graph.ID)); got != 4 {
			t.Errorf("%d tasks run, want the 4 of the other process", got)
		}
		m.deploy(t.Context(), 1)
		c.await("8 new attempts", func() bool { return c.tasks.Count(m.graph.ID, taskmanagertest.Running) == 16 })
	})
}

func TestStatesArriveInOrderThroughLostAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		c, m, _ := running(t, rpctest.Faults{
			Delay:      rpctest.RandomDelay(3, 20*time.Millisecond),
			LoseAnswer: func(_, _, _ string) bool { return calls.Add(1)%3 == 0 },
		})
		live := c.tasks.Live(m.graph.ID)
		c.await("all states told", func() bool {
			for _, a := range live {
				if s := m.seen(a); len(s) == 0 || s[len(s)-1] != protocol.Running {
					return false
				}
			}
			return true
		})
		for _, a := range live {
			// What was told in a batch or a registration whose answer was lost comes again, so only the order in
			// which states came first counts, and the last one.
			var got []protocol.TaskState
			for _, x := range m.seen(a) {
				if !slices.Contains(got, x) {
					got = append(got, x)
				}
			}
			want := []protocol.TaskState{protocol.Deploying, protocol.Initializing, protocol.Running}
			if !slices.IsSortedFunc(got, func(a, b protocol.TaskState) int { return slices.Index(want, a) - slices.Index(want, b) }) {
				t.Errorf("%s went through %v, want the order of %v", a, got, want)
			}
		}
		if list := c.taskManagers(m); len(list.Missing) != 0 {
			t.Errorf("missing slots %v, want none", list.Missing)
		}
		if got := c.tasks.Restarts(m.graph.ID); got != 0 {
			t.Errorf("%d restarts, want 0", got)
		}
	})
}

func TestCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{})
		for _, tc := range []struct{ name, a, b string }{
			{"resource manager and task manager", "jm-rm:6123", "tm-1:6123"},
			{"master and task manager", "jm-1:6123", "tm-1:6123"},
			{"resource manager and master", "jm-rm:6123", "jm-1:6123"},
		} {
			c.net.Cut(tc.a, tc.b)
			pass(time.Minute)
			untouched(t, c, m)
			c.net.Heal(tc.a, tc.b)
			pass(10 * time.Second)
			untouched(t, c, m)
			list := c.taskManagers(m)
			if len(list.TaskManagers) != 2 || len(list.Missing) != 0 {
				t.Errorf("%s: after the cut %d task managers are known and %v is missing, want 2 and nothing", tc.name, len(list.TaskManagers), list.Missing)
			}
		}
		if got := m.held(); got != 4 {
			t.Errorf("the master holds %d slots, want 4", got)
		}
	})
}

func TestNoHABackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{})
		for _, tm := range []string{"tm-1", "tm-2"} {
			c.ha.Disconnect(tm)
		}
		pass(7 * time.Minute) // longer than the orphan timeout
		untouched(t, c, m)
		for _, tm := range []string{"tm-1", "tm-2"} {
			c.ha.Reconnect(tm)
		}
		pass(time.Minute)
		untouched(t, c, m)
		if got := len(m.reports()); got != 2 {
			t.Errorf("%d registrations, want the first two: the master never went away", got)
		}
	})
}

func TestCheckpointsAcrossAMasterChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, first, _ := running(t, rpctest.Faults{})
		trigger := func(m *master, checkpoint int64) {
			for _, tm := range []id.TaskManager{"tm-1", "tm-2"} {
				r := protocol.TriggerCheckpointRequest{Job: m.graph.ID, Checkpoint: checkpoint, Epoch: m.token.Epoch()}
				for _, a := range c.tasks.Live(m.graph.ID) {
					if a.Vertex == m.graph.Vertices[0].ID {
						r.Sources = append(r.Sources, a)
					}
				}
				if _, err := rpc.Invoke(t.Context(), m.gateway(tm), protocol.TriggerCheckpoint, r); err != nil {
					t.Fatal(err)
				}
			}
		}
		acks := func(m *master, checkpoint int64) int {
			m.mu.Lock()
			defer m.mu.Unlock()
			n := 0
			for _, a := range m.acks {
				if a.Checkpoint == checkpoint {
					n++
				}
			}
			return n
		}
		trigger(first, 1)
		c.await("acks", func() bool { return acks(first, 1) == 8 })
		// The master dies with checkpoint 2 in flight: the acknowledgements wait for its successor.
		trigger(first, 2)
		c.kill("jm-1")
		pass(time.Second)
		second := c.master("jm-2", first.graph)
		c.await("acks at the successor", func() bool { return acks(second, 2) == 8 })
		for _, tm := range []id.TaskManager{"tm-1", "tm-2"} {
			_, err := rpc.Invoke(t.Context(), second.gateway(tm), protocol.CompleteCheckpoint,
				protocol.CompleteCheckpointRequest{Job: first.graph.ID, Checkpoint: 1, Attempts: c.tasks.Live(first.graph.ID)})
			if err != nil {
				t.Fatal(err)
			}
		}
		c.await("completion is told", func() bool { return c.tasks.Count(first.graph.ID, taskmanagertest.Completed) == 8 })
		trigger(second, 3)
		c.await("acks of a new checkpoint", func() bool { return acks(second, 3) == 8 })
		untouched(t, c, first)
	})
}

func TestEndOfABoundedJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{})
		c.tasks.Drain(m.graph.ID)
		drained := func() int {
			m.mu.Lock()
			defer m.mu.Unlock()
			n := map[id.ExecutionAttempt]bool{}
			for _, x := range m.states {
				if x.Drained {
					n[x.Attempt] = true
				}
			}
			return len(n)
		}
		c.await("all drained", func() bool { return drained() == 8 })
		live := c.tasks.Live(m.graph.ID)
		for _, tm := range []id.TaskManager{"tm-1", "tm-2"} {
			if _, err := rpc.Invoke(t.Context(), m.gateway(tm), protocol.FinishTasks, protocol.FinishTasksRequest{Job: m.graph.ID, Attempts: live}); err != nil {
				t.Fatal(err)
			}
		}
		c.await("all finished", func() bool { return c.tasks.Count(m.graph.ID, taskmanagertest.Finished) == 8 })
		release(t, c, m)
	})
}

// release ends the job at both TaskManagers, twice, and checks that nothing is left.
func release(t *testing.T, c *cluster, m *master) {
	t.Helper()
	m.mu.Lock()
	m.declare = 0
	clear(m.slots)
	m.mu.Unlock()
	pass(heartbeatInterval)
	for range 2 {
		for _, tm := range []id.TaskManager{"tm-1", "tm-2"} {
			if _, err := rpc.Invoke(t.Context(), m.gateway(tm), protocol.ReleaseJob, protocol.ReleaseJobRequest{Job: m.graph.ID, Reason: "FINISHED"}); err != nil {
				t.Fatal(err)
			}
		}
		if n := c.tasks.Processes(m.graph.ID); n != 0 {
			t.Errorf("%d processes after ReleaseJob, want 0", n)
		}
	}
	c.await("free slots", func() bool {
		for _, tm := range c.taskManagers(m).TaskManagers {
			for _, s := range tm.Slots {
				if !s.Allocation.IsZero() {
					return false
				}
			}
		}
		return true
	})
}

func TestReleaseOfARunningJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{})
		release(t, c, m)
		// A late deployment of the same master finds nothing to deploy into.
		_, err := rpc.Invoke(t.Context(), m.gateway("tm-1"), protocol.DeployTasks, protocol.DeployTasksRequest{
			Job: m.graph.ID, Tasks: []protocol.TaskDeployment{{Attempt: id.ExecutionAttempt{Vertex: m.graph.Vertices[0].ID}}},
		})
		if !errors.Is(err, protocol.ErrUnknownJob) {
			t.Errorf("DeployTasks after ReleaseJob = %v, want %v", err, protocol.ErrUnknownJob)
		}
	})
}

func TestReleaseSlotsEndsTasksFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{})
		var allocations []id.Allocation
		m.mu.Lock()
		m.declare = 2
		for a, tm := range m.slots {
			if tm == "tm-1" {
				allocations = append(allocations, a)
				delete(m.slots, a)
			}
		}
		m.mu.Unlock()
		pass(heartbeatInterval)
		if _, err := rpc.Invoke(t.Context(), m.gateway("tm-1"), protocol.ReleaseSlots, protocol.ReleaseSlotsRequest{Job: m.graph.ID, Allocations: allocations}); err != nil {
			t.Fatal(err)
		}
		c.await("the job has left tm-1", func() bool { return c.tasks.Processes(m.graph.ID) == 1 })
		if got := c.tasks.Count(m.graph.ID, taskmanagertest.Cancelled); got != 4 {
			t.Errorf("%d tasks were cancelled, want 4", got)
		}
		if got := len(c.tasks.Live(m.graph.ID)); got != 4 {
			t.Errorf("%d tasks run, want 4", got)
		}
	})
}

func TestRepeatedDeploymentStartsNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{})
		m.deploy(t.Context(), 0)
		c.tasks.FailTask(m.graph.ID, c.tasks.Live(m.graph.ID)[0], "panic: boom")
		pass(time.Second)
		m.deploy(t.Context(), 0) // also not an attempt that has ended
		pass(time.Second)
		if got := c.tasks.Count(m.graph.ID, taskmanagertest.Started); got != 8 {
			t.Errorf("%d starts, want 8", got)
		}
	})
}

func TestSlotTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, rpctest.Faults{}, delays)
		c.resourceManager("jm-rm")
		c.taskManager("tm-1", 1)
		m := c.master("jm-1", twoVertices(1))
		c.net.Cut("jm-1:6123", "tm-1:6123") // the master gets a slot that cannot reach it
		leased := func() bool {
			list := c.taskManagers(m)
			return len(list.TaskManagers) == 1 && !list.TaskManagers[0].Slots[0].Allocation.IsZero()
		}
		c.await("a lease", leased)
		first := c.taskManagers(m).TaskManagers[0].Slots[0].Allocation
		c.await("another lease", func() bool {
			list := c.taskManagers(m).TaskManagers
			return !list[0].Slots[0].Allocation.IsZero() && list[0].Slots[0].Allocation != first
		})
		c.taskManager("tm-2", 1)
		c.await("a slot that can be reached", func() bool { return m.held() == 1 })
	})
}

// TestStubbornTasks: user code does not return when it is cancelled. Its process is killed, so that the region can
// start again.
func TestStubbornTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := delays
		cfg.CancelDelay = -1
		c := newCluster(t, rpctest.Faults{}, cfg)
		c.resourceManager("jm-rm")
		c.taskManager("tm-1", 2)
		m := c.master("jm-1", twoVertices(2))
		m.deploy(t.Context(), 0)
		c.await("all tasks running", func() bool { return c.tasks.Count(m.graph.ID, taskmanagertest.Running) == 4 })
		live := c.tasks.Live(m.graph.ID)
		if _, err := rpc.Invoke(t.Context(), m.gateway("tm-1"), protocol.CancelTasks, protocol.CancelTasksRequest{Job: m.graph.ID, Attempts: live[:1]}); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Minute)
		if n := c.tasks.Processes(m.graph.ID); n != 1 {
			t.Fatalf("%d processes before the timeout, want 1", n)
		}
		pass(2 * time.Minute)
		if n := c.tasks.Processes(m.graph.ID); n != 0 {
			t.Errorf("%d processes after the timeout, want 0", n)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if x := m.states[len(m.states)-1]; x.State != protocol.Failed || !x.Failure.Process || !strings.Contains(x.Failure.Message, "task.cancellation.timeout") {
			t.Errorf("the master was told %s %v, want FAILED with the setting", x.State, x.Failure)
		}
	})
}

// TestSlotsOfTasksDoNotTimeOut: the master takes a slot and deploys into it, and none of its answers to the offer
// ever gets through. A slot with tasks is nobody else's.
func TestSlotsOfTasksDoNotTimeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{LoseAnswer: func(_, _, method string) bool {
			return method == protocol.RegisterAtJobMaster.Method || method == protocol.OfferSlots.Method
		}})
		pass(time.Minute)
		untouched(t, c, m)
		for _, tm := range c.taskManagers(m).TaskManagers {
			for _, s := range tm.Slots {
				if s.Job != m.graph.ID {
					t.Errorf("slot %d of %s is not the job's any more, although its tasks run there", s.Index, tm.ID)
				}
			}
		}
	})
}

// TestAJobIDCanBeUsedAgain: when a job has been gone for long enough, its ID may come back with epochs that begin
// anew. Until then the masters of the past are refused.
func TestAJobIDCanBeUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{})
		release(t, c, m)
		late, err := m.node.rpc.Gateway(m.gateway("tm-1").Address().String(), id.NewFencingToken(m.token.Epoch()))
		if err != nil {
			t.Fatal(err)
		}
		cancel := func() error {
			_, err := rpc.Invoke(t.Context(), late, protocol.CancelTasks, protocol.CancelTasksRequest{Job: m.graph.ID})
			return err
		}
		c.stop("jm-1")
		pass(5 * time.Minute)
		if err := cancel(); !errors.Is(err, rpc.ErrFenced) {
			t.Errorf("another master of that epoch, five minutes later = %v, want %v", err, rpc.ErrFenced)
		}
		pass(6 * time.Minute)
		if err := cancel(); err != nil {
			t.Errorf("a master of that epoch, eleven minutes later = %v, want nil", err)
		}
	})
}

func TestRegistrationTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, rpctest.Faults{}, delays)
		c.taskManager("tm-1", 1)
		began := time.Now()
		err := <-c.nodes["tm-1"].result
		if err == nil || !strings.Contains(err.Error(), "taskmanager.registration.timeout") {
			t.Errorf("Run without a resource manager = %v, want an error that names the setting", err)
		}
		if took := time.Since(began); took < 5*time.Minute || took > 6*time.Minute {
			t.Errorf("Run ended after %s, want 5 minutes", took)
		}
	})
}

func TestTaskManagerDeathAndRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{})
		c.kill("tm-1")
		c.await("the loss is noticed", func() bool { return len(c.taskManagers(m).TaskManagers) == 1 })
		m.forget("tm-1")
		c.taskManager("tm-1", 2)
		c.await("new slots", func() bool { return m.held() == 4 })
		m.deploy(t.Context(), 1)
		c.await("restarted tasks", func() bool { return c.tasks.Count(m.graph.ID, taskmanagertest.Running) >= 12 })
	})
}

func TestFarewell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{})
		c.stop("tm-2")
		if got := len(c.taskManagers(m).TaskManagers); got != 1 {
			t.Errorf("%d task managers after a clean stop, want 1 at once", got)
		}
		if got := c.tasks.Processes(m.graph.ID); got != 1 {
			t.Errorf("%d processes, want 1", got)
		}
	})
}

func TestLaunchFailureIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := true
		cfg := delays
		cfg.FailLaunch = func(id.Job, id.TaskManager) error {
			if broken {
				return errors.New("no such blob")
			}
			return nil
		}
		c := newCluster(t, rpctest.Faults{}, cfg)
		c.resourceManager("jm-rm")
		c.taskManager("tm-1", 1)
		m := c.master("jm-1", twoVertices(1))
		c.await("a slot", func() bool { return m.held() == 1 })
		prepare := func() error {
			_, err := rpc.Invoke(context.Background(), m.gateway("tm-1"), protocol.PrepareJob, protocol.PrepareJobRequest{Job: m.graph.ID, Graph: m.graph})
			return err
		}
		if err := prepare(); err == nil || !strings.Contains(err.Error(), "no such blob") {
			t.Errorf("PrepareJob = %v, want the cause", err)
		}
		broken = false
		pass(time.Second)
		if err := prepare(); err != nil {
			t.Errorf("PrepareJob again = %v", err)
		}
	})
}

// TestReleaseLetsSinksDiscard: what ended attempts have prepared is discarded before their process ends.
func TestReleaseLetsSinksDiscard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{})
		job, live := m.graph.ID, c.tasks.Live(m.graph.ID)
		ctx := t.Context()
		if _, err := rpc.Invoke(ctx, m.gateway("tm-1"), protocol.CancelTasks, protocol.CancelTasksRequest{Job: job, Attempts: live}); err != nil {
			t.Fatal(err)
		}
		c.await("half of the tasks end", func() bool { return c.tasks.Count(job, taskmanagertest.Cancelled) == 4 })
		for _, tm := range []id.TaskManager{"tm-1", "tm-2"} {
			r := protocol.ReleaseJobRequest{Job: job, Reason: "test", Completed: 5}
			if tm == "tm-1" {
				r.Discard = live
			}
			if _, err := rpc.Invoke(ctx, m.gateway(tm), protocol.ReleaseJob, r); err != nil {
				t.Fatal(err)
			}
		}
		discarded := map[id.TaskManager]int{}
		for _, e := range c.tasks.Events(job) {
			if e.Kind == taskmanagertest.Discarded && e.Checkpoint == 5 {
				discarded[e.TaskManager]++
			}
		}
		if discarded["tm-1"] != len(live) || discarded["tm-2"] != 0 {
			t.Errorf("discarded at %v, want %d attempts at tm-1 alone", discarded, len(live))
		}
		if n := c.tasks.Processes(job); n != 0 {
			t.Errorf("%d processes after the release, want 0", n)
		}
	})
}

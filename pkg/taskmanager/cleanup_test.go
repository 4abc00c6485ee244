package taskmanager_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
	"github.com/tamias-project/tamias/pkg/taskmanager/taskmanagertest"
)

// TestSinksOfAKilledProcessAreCleanedUp: a job that ends after its process was killed gets another one, for a moment.
func TestSinksOfAKilledProcessAreCleanedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{})
		job := m.graph.ID
		before := c.tasks.Live(job)
		if !c.tasks.KillProcess(job, "tm-1") {
			t.Fatal("tm-1 has no process")
		}
		pass(time.Second) // until that is noticed
		dead := before[:1]
		r := protocol.ReleaseJobRequest{Job: job, Reason: "test", Discard: dead, Completed: 5, Sinks: []protocol.TaskDeployment{{Attempt: dead[0]}}}
		if _, err := rpc.Invoke(t.Context(), m.gateway("tm-2"), protocol.ReleaseJob, protocol.ReleaseJobRequest{Job: job}); err != nil {
			t.Fatal(err)
		}
		if _, err := rpc.Invoke(t.Context(), m.gateway("tm-1"), protocol.ReleaseJob, r); err != nil {
			t.Fatal(err)
		}
		asked := 0
		for _, e := range c.tasks.Events(job) {
			if e.Kind == taskmanagertest.Discarded && e.TaskManager == "tm-1" {
				asked++
			}
		}
		if asked != 1 {
			t.Errorf("a process of tm-1 was asked to discard %d times, want once", asked)
		}
		if n := c.tasks.Processes(job); n != 0 {
			t.Errorf("%d processes after the release, want 0", n)
		}
	})
}

// TestSinksOfALostTaskManagerAreCleanedUp: the TaskManager is gone with its processes. Another one, which has nothing
// of the job, starts a process for a moment.
func TestSinksOfALostTaskManagerAreCleanedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{})
		job := m.graph.ID
		next := c.tasks.Live(job)[0]
		next.Attempt++
		c.taskManager("tm-3", 1)
		pass(time.Second) // until it can be called
		gateway, err := m.node.rpc.Gateway(c.nodes["tm-3"].rpc.Address(protocol.TaskManagerEndpoint), m.token)
		if err != nil {
			t.Fatal(err)
		}
		_, err = rpc.Invoke(t.Context(), gateway, protocol.ReleaseJob, protocol.ReleaseJobRequest{
			Job: job, Reason: "test", Completed: 5, Sinks: []protocol.TaskDeployment{{Attempt: next}},
			Prepare: &protocol.PrepareJobRequest{Job: job, Graph: m.graph},
		})
		if err != nil {
			t.Fatal(err)
		}
		var where []string
		for _, e := range c.tasks.Events(job) {
			if e.Kind == taskmanagertest.CleanedUp && e.Attempt == next && e.Checkpoint == 5 {
				where = append(where, string(e.TaskManager))
			}
		}
		if len(where) != 1 || where[0] != "tm-3" {
			t.Errorf("cleaned up at %v, want once at tm-3", where)
		}
		if n := c.tasks.Processes(job); n != 2 {
			t.Errorf("%d processes after that, want those of tm-1 and tm-2", n)
		}
	})
}

package jobmaster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/resourcemanager"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/taskmanager"
	"github.com/tamias-project/tamias/pkg/taskmanager/taskmanagertest"
)

// realResourceManager runs a ResourceManager process that contends.
func (w *world) realResourceManager(name string) {
	services, service := w.services(name), rpc.NewService(w.network.Node(name+":1"))
	rm := resourcemanager.New(resourcemanager.Config{
		Election: services.LeaderElection(haservices.Component{Kind: haservices.ResourceManager}), RPC: service,
		HeartbeatInterval: heartbeatInterval, HeartbeatTimeout: heartbeatTimeout, Log: w.logger(name),
	})
	w.wg.Go(func() { service.Run(w.ctx) })
	w.wg.Go(func() { rm.Run(w.ctx) })
}

func (w *world) realTaskManager(tasks *taskmanagertest.Tasks, name id.TaskManager, slots int) {
	services, service := w.services(string(name)), rpc.NewService(w.network.Node(string(name)+":1"))
	tm := taskmanager.New(taskmanager.Config{
		ID: name, Slots: slots, Services: services, RPC: service, Launcher: tasks.Launcher(name), Log: w.logger(string(name)),
	})
	w.wg.Go(func() { service.Run(w.ctx) })
	w.wg.Go(func() { tm.Run(w.ctx) })
}

// TestWithRealPeers: the JobMaster against the real ResourceManager and TaskManager, with simulated
// tasks: leaders come and go, a TaskManager dies.
func TestWithRealPeers(t *testing.T) {
	runChaos(t, func(c *chaos) {
		c.rand = rand.New(rand.NewPCG(c.rand.Uint64(), 3))
		tasks := taskmanagertest.New(taskmanagertest.Config{
			LaunchDelay: 30 * time.Millisecond, StartDelay: 10 * time.Millisecond, AckDelay: 5 * time.Millisecond, CancelDelay: 5 * time.Millisecond,
		})
		c.realResourceManager("rm1")
		for range 2 {
			c.start()
		}
		for i := range 3 {
			c.realTaskManager(tasks, id.TaskManager(fmt.Sprintf("tm%d", i+1)), 1)
		}
		c.until("the job runs", 30*time.Second, c.runs)
		for range 5 {
			c.some(2 * time.Second)
			c.disturb()
		}
		c.until("the job runs again", time.Minute, c.runs)
		if n := tasks.Restarts(c.graph.ID); n != 0 {
			c.t.Errorf("%d restarts of tasks, want none", n)
		}
		for _, v := range tasks.Violations() {
			c.t.Error(v)
		}
		c.network.Kill("tm1:1")
		tasks.KillProcess(c.graph.ID, "tm1")
		c.until("the job runs without tm1", time.Minute, func() bool {
			if !c.runs() {
				return false
			}
			for _, s := range c.details(c.leader()).Subtasks {
				if s.TaskManager == "tm1" {
					return false
				}
			}
			return true
		})
		c.until("the job is cancelled", 30*time.Second, func() bool {
			ctx, cancel := context.WithTimeout(c.ctx, time.Second)
			defer cancel()
			c.leader().jm.Cancel(ctx)
			return len(c.ended()) > 0
		})
		c.until("nothing of it is left", 10*time.Second, func() bool {
			return len(tasks.Live(c.graph.ID)) == 0 && tasks.Processes(c.graph.ID) == 0
		})
	})
}

// TestAnotherTaskManagerCleansUp: a TaskManager dies with sinks of a job that ends because of that. One that has
// nothing of the job cleans up what they prepared, if need be one that comes later.
func TestAnotherTaskManagerCleansUp(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late=%t", late), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.graph.Restart = jobgraph.Restart{Kind: jobgraph.RestartNone}
				w.graph.Vertices[1].Commits = true
				tasks := taskmanagertest.New(taskmanagertest.Config{LaunchDelay: 30 * time.Millisecond})
				w.realResourceManager("rm1")
				w.realTaskManager(tasks, "tm1", 2)
				p := w.jobManager("jm1")
				w.until("the job runs", 30*time.Second, w.running(p))
				if !late {
					w.realTaskManager(tasks, "tm2", 1)
					w.pass(time.Second)
				}
				w.network.Kill("tm1:1")
				tasks.KillProcess(w.graph.ID, "tm1")
				w.until("the job ends", time.Minute, func() bool { return len(w.ended()) == 1 })
				if late {
					w.pass(time.Second)
					w.realTaskManager(tasks, "tm2", 1)
				}
				w.until("the sinks are cleaned up", 10*time.Second, func() bool {
					return tasks.Count(w.graph.ID, taskmanagertest.CleanedUp) == 2 && tasks.Processes(w.graph.ID) == 0
				})
			})
		})
	}
}

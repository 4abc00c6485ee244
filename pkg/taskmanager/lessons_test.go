package taskmanager_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
)

// The ResourceManager loses its leadership a thousand times, and answers each registration at once. A registration
// that succeeds before its time-out was armed must not be taken for one that never did.
func TestARegistrationThatIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{})
		for range 1000 {
			c.ha.ExpireSession("jm-rm")
			pass(20 * time.Millisecond)
		}
		pass(20 * time.Minute) // more than taskmanager.registration.timeout
		untouched(t, c, m)
		if list := c.taskManagers(m); len(list.TaskManagers) != 2 {
			t.Errorf("%d task managers are registered, want 2", len(list.TaskManagers))
		}
		for _, name := range []string{"tm-1", "tm-2"} {
			select {
			case err := <-c.nodes[name].result:
				t.Errorf("%s has ended: %v", name, err)
			default:
			}
		}
	})
}

// A connection breaks and nothing else happens: neither the leader nor its epoch has changed. The TaskManager
// connects again, and its tasks do not notice.
func TestABrokenConnectionToTheSameLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{})
		before := len(m.reports())
		for range 3 {
			c.net.Cut("jm-1:6123", "tm-1:6123")
			c.net.Cut("jm-rm:6123", "tm-1:6123")
			pass(2 * heartbeatTimeout)
			c.net.HealAll()
			pass(heartbeatTimeout)
		}
		if got := len(m.reports()); got <= before {
			t.Errorf("%d registrations after three cuts, were %d before", got, before)
		}
		if list := c.taskManagers(m); len(list.TaskManagers) != 2 || len(list.Missing) != 0 {
			t.Errorf("%d task managers are registered, missing %v; want 2 and nothing", len(list.TaskManagers), list.Missing)
		}
		untouched(t, c, m)
	})
}

// The leader of three hundred TaskManagers dies. They are with the next one within five seconds, and none of them
// asks often: a leader that is busy is not made busier.
func TestManyTaskManagersDoNotStormANewLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 300
		var mu sync.Mutex // guards calls
		calls := map[string]int{}
		c := newCluster(t, rpctest.Faults{
			Delay: rpctest.RandomDelay(1, 20*time.Millisecond),
			LoseAnswer: func(from, _, method string) bool {
				if method == protocol.RegisterTaskManager.Method && strings.HasPrefix(from, "tm-") {
					mu.Lock()
					defer mu.Unlock()
					calls[from]++
				}
				return false
			},
		}, delays)
		c.resourceManager("jm-rm")
		for i := range size {
			c.taskManager(fmt.Sprintf("tm-%d", i), 1)
		}
		m := c.master("jm-1", twoVertices(1))
		c.await("all are registered", func() bool { return len(c.taskManagers(m).TaskManagers) == size })
		c.resourceManager("jm-rm-2")
		mu.Lock()
		clear(calls)
		mu.Unlock()
		c.kill("jm-rm")
		died := time.Now()
		c.await("all are with the next leader", func() bool { return len(c.taskManagers(m).TaskManagers) == size })
		if took := time.Since(died); took > 5*time.Second {
			t.Errorf("all were with the next leader after %s, want 5 s", took)
		}
		mu.Lock()
		defer mu.Unlock()
		for name, n := range calls {
			if n > 2 {
				t.Errorf("%s registered %d times", name, n)
			}
		}
	})
}

// A TaskManager is stopped. Its job processes end with it, but no master is told that they were killed before the
// TaskManager says of itself that it stops: users would see a failure that was none.
func TestACleanStopIsNoFailureOfItsTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m, _ := running(t, rpctest.Faults{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var asking sync.WaitGroup
		asking.Go(func() {
			for n := 1; ; n++ {
				if n%50 == 0 {
					pass(time.Millisecond)
				}
				report, err := rpc.Invoke(ctx, m.gateway("tm-1"), protocol.JobMasterHeartbeat, protocol.JobMasterHeartbeatRequest{Job: m.graph.ID})
				if err != nil {
					return
				}
				for _, x := range report.Executions {
					if x.State == protocol.Failed {
						t.Errorf("a TaskManager that stops reports %s as failed: %s", x.Attempt, x.Failure.Message)
						return
					}
				}
			}
		})
		c.stop("tm-1")
		asking.Wait()
	})
}

package jobmaster

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
)

var (
	seeds   = flag.Int("seeds", 25, "number of random schedules")
	oneSeed = flag.Uint64("seed", 0, "run only the schedule of this seed")
)

// chaos is one random schedule: leaders are killed, frozen, cut off, robbed of their session, while messages
// are delayed and answers lost.
type chaos struct {
	*world
	rand      *rand.Rand
	processes []*process
	names     int
}

func runChaos(t *testing.T, test func(c *chaos)) {
	run := func(seed uint64) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inWorld(t, func(w *world) {
				c := &chaos{world: w, rand: rand.New(rand.NewPCG(seed, 1))}
				lost := rand.New(rand.NewPCG(seed, 2))
				w.network = rpctest.NewNetwork(rpctest.Faults{
					Delay: rpctest.RandomDelay(seed, 20*time.Millisecond),
					LoseAnswer: func(_, _, _ string) bool {
						w.mu.Lock()
						defer w.mu.Unlock()
						return lost.IntN(20) == 0
					},
				})
				w.graph.Checkpointing.Interval = time.Second
				w.graph.Restart.Attempts = 1000
				test(c)
			})
			if t.Failed() {
				t.Logf("replay: go test ./pkg/jobmaster -run '%s' -seed %d", t.Name(), seed)
			}
		})
	}
	if *oneSeed != 0 {
		run(*oneSeed)
		return
	}
	for seed := range uint64(*seeds) {
		run(seed + 1)
	}
}

func (c *chaos) start() {
	c.names++
	c.processes = append(c.processes, c.jobManager(fmt.Sprintf("jm%d", c.names)))
}

// some pauses for a random time.
func (c *chaos) some(most time.Duration) { c.pass(time.Duration(c.rand.Int64N(int64(most)))) }

func (c *chaos) leader() *process {
	for _, p := range c.processes {
		if p.jm.present().term != nil {
			return p
		}
	}
	return c.processes[c.rand.IntN(len(c.processes))]
}

// disturb does something to the leader that a control plane has to endure.
func (c *chaos) disturb() {
	p := c.leader()
	switch c.rand.IntN(5) {
	case 0:
		c.kill(p)
		for i := range c.processes {
			if c.processes[i] == p {
				c.processes = append(c.processes[:i], c.processes[i+1:]...)
				break
			}
		}
		c.start()
	case 1:
		c.cluster.Freeze(p.name)
		c.network.Freeze(p.name + ":1")
		c.some(10 * time.Second)
		c.network.Thaw(p.name + ":1")
		c.some(100 * time.Millisecond)
		c.cluster.Thaw(p.name)
	case 2:
		c.cluster.ExpireSession(p.name)
	case 3:
		tm := fmt.Sprintf("tm%d:1", 1+c.rand.IntN(2))
		c.network.Cut(p.name+":1", tm)
		c.some(heartbeatTimeout - 3*heartbeatInterval)
		c.network.HealAll()
	case 4:
		c.cluster.Disconnect(p.name)
		c.some(4 * time.Second)
		c.cluster.Reconnect(p.name)
	}
}

func (c *chaos) runs() bool {
	for _, p := range c.processes {
		if c.running(p)() {
			return true
		}
	}
	return false
}

// wantRisingCheckpoints: at each TaskManager, IDs of triggers and completions never fall.
func (c *chaos) wantRisingCheckpoints(tm *fakeTaskManager) {
	for _, word := range words("trigger", "complete") {
		last := 0
		for _, line := range tm.log(word) {
			n := 0
			fmt.Sscanf(line, word+" %d", &n)
			if n < last {
				c.t.Errorf("%s was told %q after %d", tm.id, line, last)
			}
			last = n
		}
	}
}

// TestControlPlaneFaultsDoNotTouchTasks: whatever happens to leaders, no task is restarted or cancelled,
// and checkpoints go on.
func TestControlPlaneFaultsDoNotTouchTasks(t *testing.T) {
	runChaos(t, func(c *chaos) {
		for range 3 {
			c.start()
		}
		tms := []*fakeTaskManager{c.taskManager("tm1", 1), c.taskManager("tm2", 1)}
		c.until("the job runs", 30*time.Second, c.runs)
		for range 8 {
			c.some(2 * time.Second)
			c.disturb()
		}
		c.until("the job runs again", time.Minute, c.runs)
		c.until("a checkpoint is completed", 15*time.Second, func() bool { return c.completed(c.leader())() })
		c.wantAttemptsOf(c.leader(), 0)
		for _, tm := range tms {
			if lines := tm.log("cancel", "release", "deploy"); len(lines) != 2 {
				c.t.Errorf("%s was told %v, want its two deployments only", tm.id, lines)
			}
			c.wantRisingCheckpoints(tm)
		}
	})
}

func (c *chaos) wantAttemptsOf(p *process, attempt int) {
	for _, s := range c.details(p).Subtasks {
		if s.Execution.Attempt.Attempt != attempt {
			c.t.Errorf("%s is an attempt that should not be: no task failed", showAttempt(s.Execution.Attempt))
		}
	}
}

// TestAllFaultsAreSurvived: with TaskManagers dying as well, the job always runs again, no attempt is
// ever deployed at two places, and in the end it can be cancelled.
func TestAllFaultsAreSurvived(t *testing.T) {
	runChaos(t, func(c *chaos) {
		for range 3 {
			c.start()
		}
		all := []*fakeTaskManager{c.taskManager("tm1", 1), c.taskManager("tm2", 1)}
		names := 2
		for range 8 {
			c.some(2 * time.Second)
			if c.rand.IntN(3) > 0 {
				c.disturb()
				continue
			}
			dead := len(all) - 1 - c.rand.IntN(2)
			c.network.Kill(string(all[dead].id) + ":1")
			names++
			all = append(all, c.taskManager(id.TaskManager(fmt.Sprintf("tm%d", names)), 1))
			all[dead], all[len(all)-3] = all[len(all)-3], all[dead] // the last two live
		}
		c.until("the job runs again", 2*time.Minute, c.runs)
		places := map[string]id.TaskManager{}
		for _, tm := range all {
			for _, line := range tm.log("deploy") {
				attempt := strings.Fields(line)[1]
				if other, twice := places[attempt]; twice {
					c.t.Errorf("%s was deployed at %s and at %s", attempt, other, tm.id)
				}
				places[attempt] = tm.id
			}
			c.wantRisingCheckpoints(tm)
		}
		c.until("the job is cancelled", 30*time.Second, func() bool {
			ctx, cancel := context.WithTimeout(c.ctx, time.Second) // a client tries again, with whoever leads then
			defer cancel()
			c.leader().jm.Cancel(ctx)
			return len(c.ended()) > 0
		})
		if d := c.ended()[0]; d.Overview.State != protocol.JobCanceled {
			c.t.Errorf("the job ended %s, want CANCELED", d.Overview.State)
		}
	})
}

// TestFinishSurvivesLeaders: a bounded job drains and commits while leaders come and go. It ends FINISHED,
// once, and nothing runs twice.
func TestFinishSurvivesLeaders(t *testing.T) {
	runChaos(t, func(c *chaos) {
		for range 3 {
			c.start()
		}
		tms := []*fakeTaskManager{c.taskManager("tm1", 1), c.taskManager("tm2", 1)}
		c.until("the job runs", 30*time.Second, c.runs)
		for _, tm := range tms {
			c.some(time.Second)
			tm.do(func() {
				for a := range tm.tasks {
					tm.set(a, func(x *protocol.Execution) { x.Drained = true })
				}
			})
		}
		for range 6 {
			if len(c.ended()) > 0 {
				break
			}
			c.disturb()
			c.some(200 * time.Millisecond)
		}
		c.until("the job ends", time.Minute, func() bool { return len(c.ended()) > 0 })
		d := c.ended()[0]
		if d.Overview.State != protocol.JobFinished {
			c.t.Errorf("the job ended %s, want FINISHED", d.Overview.State)
		}
		for _, a := range attemptsOf(d) {
			if strings.Contains(a, ".") {
				c.t.Errorf("%s is an attempt that should not be: no task failed", a)
			}
		}
	})
}

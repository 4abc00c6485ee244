package zookeeper

import (
	"errors"
	"testing"
	"time"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// TestJobMastersOfADeadProcess: who leads the Dispatcher after it knows already that it is gone.
func TestJobMastersOfADeadProcess(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	c.change = func(cfg *Config) { cfg.SessionTimeout = 60 * time.Second }
	a, b := c.process(), c.process()
	c.lead(a, dispatcher)
	var first []*Term
	for range 3 {
		first = append(first, c.lead(a, haservices.JobMaster(id.NewJob())))
	}
	next := c.contend(b, dispatcher)
	a.proxy.Hold()
	c.liveness.kill(a.me.Process)
	await(t, next, "the next Dispatcher")
	outside := c.outside()
	for _, old := range first {
		taken := c.lead(b, old.component)
		if how := taken.Succession(); how.Epoch != 2 || how.Reason != protocol.ProcessGone || how.Predecessor == nil || *how.Predecessor != a.me {
			t.Errorf("succession of %s: %+v, want that of a process that is gone", old.component, how)
		}
		if n := len(c.contenders(outside, old.component)); n != 1 {
			t.Errorf("%s has %d contenders, want one", old.component, n)
		}
		c.put(taken, "jobs/a", taken.Token().String())
	}
	a.proxy.Heal(t)
	w := haservices.Write{Operation: haservices.Put, Path: "jobs/a", Data: []byte("late")}
	if err := first[0].Write(c.context(), w); !errors.Is(err, haservices.ErrNotLeader) {
		t.Errorf("Write of the dead = %v, want ErrNotLeader", err)
	}
}

// TestJobMasterOfALivingProcess is not touched: its successor gets in line.
func TestJobMasterOfALivingProcess(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a, b := c.process(), c.process()
	job := haservices.JobMaster(id.NewJob())
	first := c.lead(a, job)
	next := c.contend(b, job)
	outside := c.outside()
	eventually(t, "the second one is in line", func() bool { return len(c.contenders(outside, job)) == 2 })
	leads(t, first)
	first.Resign(c.context())
	if how := await(t, next, "the second term").Succession(); how.Reason != protocol.Resigned {
		t.Errorf("succession %+v, want that of one that has resigned", how)
	}
}

// TestLostAnswerOfOvertaking: node and epoch are there, but nobody told us.
func TestLostAnswerOfOvertaking(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a := c.process()
	job := haservices.JobMaster(id.NewJob())
	c.lead(a, job).Resign(c.context()) // the parents exist from here on
	eaten := a.proxy.EatAnswer(zkserver.OpMulti)
	term := c.lead(a, job)
	await(t, eaten, "loss of the answer")
	if got := c.contenders(c.outside(), job); len(got) != 1 {
		t.Errorf("the latch has the nodes %v, want one", got)
	}
	c.put(term, "jobs/a", "1")
	leads(t, term)
}

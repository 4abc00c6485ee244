package resourcemanager_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
)

// A hundred slots are in use when the leader changes. TaskManagers come back one by one, and jobs that need more are
// heard at once: no slot moves to another job, no slot is asked for anew, and what was free before is given.
func TestAHundredUsedSlotsStayWhereTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, slots = 11, 10 // the last one is free
		c := newCluster(t, rpctest.Faults{})
		c.resourceManager("jm-1")
		g := c.leader("jm-1")
		var tms []*taskManager
		for i := range size {
			tms = append(tms, c.taskManager(fmt.Sprintf("tm-%02d", i), slots))
		}
		for _, tm := range tms[:size-1] {
			tm.register(t, g)
		}
		held := map[id.Job][]id.Allocation{}
		for range 4 {
			held[c.job(g, 25)] = nil
		}
		pass(time.Second)
		where := map[id.Allocation]protocol.RequestSlotRequest{}
		for _, tm := range tms {
			for _, r := range tm.requests() {
				where[r.Allocation] = r
				held[r.Job] = append(held[r.Job], r.Allocation)
			}
		}
		if len(where) != 100 {
			t.Fatalf("%d slots are in use, want 100", len(where))
		}
		c.resourceManager("jm-2")
		c.stop("jm-1")
		g = c.leader("jm-2")
		hungry := c.job(g, slots)
		for job, allocations := range held {
			c.declare(g, job, id.NewFencingToken(1), 25, allocations...)
		}
		for _, tm := range tms[:size-1] {
			tm.register(t, g)
			pass(time.Second)
		}
		tms[size-1].register(t, g)
		for epoch := range uint64(10) { // masters that are silent get nothing
			c.declare(g, hungry, id.NewFencingToken(2+epoch), slots)
			pass(time.Second)
		}
		for i, tm := range tms {
			for n, r := range tm.requests() {
				if before, known := where[r.Allocation]; n >= slots || known && before != r || !known && (r.Job != hungry || i < size-1) {
					t.Errorf("%s was asked for %+v", tm.ID, r)
				}
			}
		}
		if missing := c.list(g).Missing; len(missing) != 0 {
			t.Errorf("missing slots are %v, want none", missing)
		}
	})
}

package taskmanager

import (
	"errors"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

func TestSlotTable(t *testing.T) {
	table, now := newSlotTable(2), time.Unix(0, 0)
	a, b := id.NewJob(), id.NewJob()
	first, second := id.NewAllocation(), id.NewAllocation()
	for _, tc := range []struct {
		name    string
		request protocol.RequestSlotRequest
		want    error
		version int64
	}{
		{"free slot", protocol.RequestSlotRequest{Slot: 0, Job: a, Allocation: first}, nil, 2},
		{"again", protocol.RequestSlotRequest{Slot: 0, Job: a, Allocation: first}, nil, 2},
		{"taken slot", protocol.RequestSlotRequest{Slot: 0, Job: b, Allocation: second}, protocol.ErrSlotTaken, 2},
		{"same allocation, other slot", protocol.RequestSlotRequest{Slot: 1, Job: a, Allocation: first}, protocol.ErrSlotTaken, 2},
		{"same allocation, other job", protocol.RequestSlotRequest{Slot: 0, Job: b, Allocation: first}, protocol.ErrSlotTaken, 2},
		{"no such slot", protocol.RequestSlotRequest{Slot: 2, Job: a, Allocation: second}, protocol.ErrSlotTaken, 2},
		{"another free slot", protocol.RequestSlotRequest{Slot: 1, Job: b, Allocation: second}, nil, 3},
	} {
		if err := table.lease(tc.request, now); !errors.Is(err, tc.want) || table.version != tc.version {
			t.Errorf("%s: lease = %v, version %d, want %v, %d", tc.name, err, table.version, tc.want, tc.version)
		}
	}
	table.accept(a, []id.Allocation{first, second}) // the second is not a's
	if got := table.overdue(now.Add(time.Second), time.Second); len(got) != 1 || got[0].Allocation != second {
		t.Errorf("overdue slots are %v, want the one that nobody accepted", got)
	}
	if table.release(a, second) {
		t.Error("a job released another job's slot")
	}
	if n := table.releaseJob(a); n != 1 || table.version != 4 || table.holds(a, first) || !table.holds(b, second) {
		t.Errorf("releaseJob freed %d slots at version %d, want 1 at 4", n, table.version)
	}
}

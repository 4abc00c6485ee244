package jobmaster

import (
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/protocol"
)

// latestTerm is the last term of leadership that a process has recorded.
func latestTerm(t *testing.T, p *process) protocol.LeaderTerm {
	t.Helper()
	terms, _, _ := p.jm.cfg.Services.Terms(0)
	if len(terms) == 0 {
		t.Fatalf("process %s has no record of a term", p.name)
	}
	return terms[len(terms)-1]
}

// TestAdoptionIsRecorded: who took the job over, and how many tasks ran on.
func TestAdoptionIsRecorded(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second, _, _ := w.twoByTwo()
		if begun := latestTerm(t, first); begun.Reason != protocol.FirstLeader || begun.Tasks != 0 || begun.Adopted.IsZero() {
			t.Errorf("term of the first leader: %+v, want one that had nothing to adopt", begun)
		}
		w.kill(first)
		w.until("the standby has adopted the job", time.Second, w.running(second))
		got := latestTerm(t, second)
		if got.Component != "job_manager" || got.Job != w.graph.ID || got.Reason != protocol.ProcessGone || got.Predecessor == nil || got.Predecessor.Host != first.name {
			t.Errorf("term of the second leader: %+v, want one after process %s was killed", got, first.name)
		}
		if got.Tasks != 4 || got.AdoptedTasks != 4 || got.StoresRead.Before(got.Won) || got.Confirmed.Before(got.StoresRead) || got.Adopted.Before(got.Confirmed) {
			t.Errorf("steps of the second leader: %+v, want 4 of 4 tasks adopted in order", got)
		}
	})
}

// TestLostTasksAreRecorded: a TaskManager died together with the leader, so the whole region starts again.
func TestLostTasksAreRecorded(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second, _, _ := w.twoByTwo()
		w.network.Kill("tm2:1")
		w.kill(first)
		w.until("the dead one is noticed at once", time.Second, w.state(second, protocol.JobRunning))
		if got := latestTerm(t, second); got.Tasks != 4 || got.AdoptedTasks != 0 {
			t.Errorf("%d of %d tasks adopted, want none of 4", got.AdoptedTasks, got.Tasks)
		}
	})
}

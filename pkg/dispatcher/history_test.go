package dispatcher

import (
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

var noon = time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)

func termOf(component haservices.Kind, epoch uint64) protocol.LeaderTerm {
	at := noon.Add(time.Duration(epoch) * time.Minute)
	return protocol.LeaderTerm{
		Component: string(component), Epoch: epoch, Leader: protocol.LeaderProcess{Process: id.Instance{byte(epoch)}, PID: int(epoch)},
		Reason: protocol.Resigned, Detected: at, Won: at.Add(time.Second),
	}
}

func TestHistoryIsBounded(t *testing.T) {
	l := newLeadership(protocol.LeadershipHistory{})
	for i := range uint64(150) {
		l.merge(termOf(haservices.Dispatcher, i+1), true)
	}
	for range 500 {
		job := termOf(haservices.JobManager, 1)
		job.Job = id.NewJob()
		l.merge(job, true)
	}
	kept := map[string]int{}
	for _, term := range l.history.Terms {
		kept[term.Component]++
	}
	if kept["dispatcher"] != keptTerms || kept["job_manager"] != keptTerms {
		t.Errorf("kept %v, want %d of each", kept, keptTerms)
	}
	if newest := l.history.Terms[0]; newest.Epoch != 150 {
		t.Errorf("newest is %d, want 150", newest.Epoch)
	}
	if n := l.history.Totals.Changes["dispatcher"]; n != 150 {
		t.Errorf("%d changes, want all 150", n)
	}
}

// TestReasonThatNobodyKnows: without high availability the history itself tells a restart from the first start.
func TestReasonThatNobodyKnows(t *testing.T) {
	l := newLeadership(protocol.LeadershipHistory{})
	first, second := termOf(haservices.Dispatcher, 0), termOf(haservices.Dispatcher, 0)
	first.Reason, second.Reason = protocol.UnknownReason, protocol.UnknownReason
	second.Leader.Process, second.Won = id.Instance{9}, first.Won.Add(time.Hour)
	l.merge(first, true)
	l.merge(second, true)
	got := l.history.Terms
	if len(got) != 2 || got[1].Reason != protocol.FirstLeader || got[0].Reason != protocol.Restarted ||
		got[0].Predecessor == nil || got[0].Predecessor.Process != first.Leader.Process || !got[1].Ended.Equal(second.Detected) {
		t.Errorf("history = %+v", got)
	}
}

// TestEachStepCountsOnce: whatever is told how often, and from where.
func TestEachStepCountsOnce(t *testing.T) {
	l := newLeadership(protocol.LeadershipHistory{})
	seen := termOf(haservices.Dispatcher, 2)
	seen.Address, seen.Confirmed = "tamias://a:1/dispatcher", seen.Detected.Add(3*time.Second)
	l.merge(seen, false)
	own := termOf(haservices.Dispatcher, 2)
	l.merge(own, true) // its own process does not say yet that it is confirmed
	own.Confirmed = own.Detected.Add(2 * time.Second)
	l.merge(own, true)
	l.merge(seen, false)
	totals := l.history.Totals
	if totals.Changes["dispatcher"] != 1 || totals.Leaderless["dispatcher"] != 3*time.Second {
		t.Errorf("totals = %+v, want one change and 3 s", totals)
	}
	if got := l.history.Terms[0]; len(l.history.Terms) != 1 || !got.Confirmed.Equal(own.Confirmed) || got.Address != seen.Address {
		t.Errorf("history = %+v, want the leader's own time", l.history.Terms)
	}
	l.unsaved = false
	l.merge(seen, false)
	if l.unsaved {
		t.Error("nothing new makes the history unsaved")
	}

	job := termOf(haservices.JobManager, 3)
	job.Adopted, job.Tasks, job.AdoptedTasks = job.Won, 8, 6
	l.merge(job, true)
	job.Ended = job.Won.Add(time.Minute)
	l.merge(job, true)
	if totals := l.history.Totals; totals.Adoptions != 1 || totals.AdoptedTasks != 6 || totals.LostTasks != 2 {
		t.Errorf("totals = %+v, want one adoption of 6 tasks, 2 lost", totals)
	}
}

func TestAdoptionOfAllJobs(t *testing.T) {
	var a adoption
	one, other := id.NewJob(), id.NewJob()
	a.await(one)
	a.await(other)
	term := func(job id.Job, adopted time.Time) protocol.LeaderTerm {
		t := termOf(haservices.JobManager, 1)
		t.Job, t.Adopted, t.Tasks, t.AdoptedTasks = job, adopted, 4, 3
		return t
	}
	for i, tc := range []struct {
		term protocol.LeaderTerm
		want bool
	}{
		{term(one, time.Time{}), false},
		{term(id.NewJob(), noon), false},
		{termOf(haservices.Dispatcher, 1), false},
		{term(one, noon.Add(time.Second)), false},
		{term(one, noon.Add(time.Second)), false},
		{term(other, noon), true},
		{term(other, noon), false},
	} {
		if got := a.take(tc.term); got != tc.want {
			t.Errorf("term %d: take = %t, want %t", i, got, tc.want)
		}
	}
	if a.jobs != 2 || a.tasks != 8 || a.running != 6 || !a.at.Equal(noon.Add(time.Second)) {
		t.Errorf("adoption = %+v", a)
	}
}

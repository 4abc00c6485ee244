package jobmaster

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// storeResult stores that the job has ended, as a Dispatcher in another process.
func (w *world) storeResult(state protocol.JobState) {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.ctx)
	defer stop()
	services := w.services("other")
	election := services.LeaderElection(haservices.Component{Kind: haservices.Dispatcher})
	err := election.Run(ctx, leadFunc(func(ctx context.Context, token id.FencingToken) error {
		defer stop()
		return services.JobResults(election).PutDirty(ctx, token, haservices.JobResult{
			Details: protocol.JobDetails{Overview: protocol.JobOverview{ID: w.graph.ID, State: state}},
		})
	}))
	if err != nil {
		w.t.Fatal(err)
	}
}

// A process was frozen while another one led the job to its end and cleaned up. When it thaws, its JobMaster may
// learn of that before its Dispatcher does, and win the job once more: there is nobody left to contend with. It
// must not take the absence of a ledger for a job that has not begun.
func TestAJobWithAResultIsNotLed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.storeResult(protocol.JobFinished)
		tm := w.taskManager("tm1", 2)
		p := w.jobManager("jm1")
		w.until("Run returns", time.Minute, func() bool { return len(p.ended) == 1 })
		if err := <-p.ended; !errors.Is(err, errUntold) {
			t.Errorf("Run = %v, want %v", err, errUntold)
		}
		if results := w.ended(); len(results) != 1 || results[0].Overview.State != protocol.JobFinished {
			t.Errorf("concluded %+v, want what was stored, FINISHED", results)
		}
		w.wantLog(tm, words("deploy"))
	})
}

// The result is stored, and leadership of the job is lost in that moment, before any TaskManager is told. The job
// has ended: it is not led again, and whoever made the JobMaster has the TaskManagers told.
func TestLeadershipLostAtTheEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		w.concluding = sync.OnceFunc(func() {
			w.cluster.ExpireSession("jm1")
			<-time.After(10 * time.Millisecond) // it has learnt of that
		})
		p := w.jobManager("jm1")
		tm := w.taskManager("tm1", 2)
		w.until("the job runs", time.Second, w.running(p))
		if err := p.jm.Cancel(w.ctx); err != nil {
			t.Fatal(err)
		}
		w.until("Run returns", time.Minute, func() bool { return len(p.ended) == 1 })
		if err := <-p.ended; !errors.Is(err, errUntold) {
			t.Errorf("Run = %v, want %v", err, errUntold)
		}
		if n := len(w.ended()); n != 1 {
			t.Errorf("the job was concluded %d times, want once", n)
		}
		w.wantLog(tm, words("release"))
	})
}

// Between the end of a cancelled job and its result, which may take a while to store, it is cancelled again: that
// succeeds, as before and after. A ResourceManager that hears of the job only now leases nothing for it. And nobody is
// told that it has ended: who hears that may stop the cluster, and would find the job there when it starts again.
func TestWhileTheResultIsStored(t *testing.T) {
	inWorld(t, func(w *world) {
		concluding, stored := make(chan struct{}), make(chan struct{})
		w.concluding = func() { close(concluding); <-stored }
		p := w.jobManager("jm1")
		rm := w.resourceManager()
		w.taskManager("tm1", 1) // too few slots: nothing runs
		w.pass(time.Second)
		for range 2 {
			if err := p.jm.Cancel(w.ctx); err != nil {
				t.Errorf("Cancel = %v, want nil", err)
			}
			<-concluding
		}
		if d := w.details(p); d.Overview.State != protocol.JobCancelling || !d.Overview.End.IsZero() || d.Waiting == "" {
			t.Errorf("before its result is stored the job is %s, waits for %q, ended at %s", d.Overview.State, d.Waiting, d.Overview.End)
		}
		w.pass(2 * heartbeatInterval)
		if slots, held, _ := rm.declared(); slots != 0 || held != 0 {
			t.Errorf("a job that has ended declares %d slots, %d of them held", slots, held)
		}
		close(stored)
		w.until("Run returns", time.Second, func() bool { return len(p.ended) == 1 })
		if results := w.ended(); results[0].Overview.State != protocol.JobCanceled || results[0].Overview.End.IsZero() {
			t.Errorf("the result is %+v, want CANCELED", results[0].Overview)
		}
		if err := p.jm.Cancel(w.ctx); err != nil {
			t.Errorf("Cancel after the end = %v, want nil", err)
		}
	})
}

// Whoever waits for a JobMaster to lead is told when it never will, and a JobMaster that has failed does not claim to
// begin: its Dispatcher knows better.
func TestCallsAreAnsweredWhenRunReturns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.jobManager("jm1")
		w.pass(time.Second)
		standby := w.jobManager("jm2")
		answered := make(chan error, 1)
		go func() { answered <- standby.jm.Cancel(w.ctx) }()
		w.pass(time.Second)
		standby.stop()
		w.pass(time.Second)
		select {
		case err := <-answered:
			if !errors.Is(err, rpc.ErrStopped) {
				t.Errorf("Cancel = %v, want %v", err, rpc.ErrStopped)
			}
		default:
			t.Error("Cancel waits although Run has returned")
		}
		if d, err := standby.jm.Details(w.ctx); !errors.Is(err, rpc.ErrStopped) {
			t.Errorf("Details = %s, %v, want %v", d.Overview.State, err, rpc.ErrStopped)
		}
	})
}

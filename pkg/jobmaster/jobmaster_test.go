package jobmaster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

func TestRunsCheckpointsAndCancels(t *testing.T) {
	inWorld(t, func(w *world) {
		rm := w.resourceManager()
		first, second, tm1, tm2 := w.twoByTwo()
		w.until("a checkpoint is completed", 11*time.Second, w.completed(first))
		w.pass(10 * time.Second)
		if slots, held, _ := rm.declared(); slots != 2 || held != 2 {
			t.Errorf("declared %d slots, held %d, want 2 and 2", slots, held)
		}
		w.wantLog(tm1, words("trigger", "complete"), "trigger 1", "complete 1", "trigger 2", "complete 2")

		if err := first.jm.Cancel(w.ctx); err != nil {
			t.Fatal(err)
		}
		w.until("Run returns", time.Second, func() bool { return len(first.ended) == 1 })
		if err := <-first.ended; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		results := w.ended()
		if len(results) != 1 || results[0].Overview.State != protocol.JobCanceled || results[0].Overview.End.IsZero() {
			t.Fatalf("results = %+v, want one CANCELED", results)
		}
		w.wantLog(tm1, words("release"), "release job")
		w.wantLog(tm2, words("release"), "release job")
		if _, _, disconnected := rm.declared(); !disconnected {
			t.Error("the ResourceManager was not told that the job has ended")
		}
		if d := w.details(first); d.Overview.State != protocol.JobCanceled {
			t.Errorf("details after the end: %s, want CANCELED", d.Overview.State)
		}
		if err := first.jm.Cancel(w.ctx); err != nil {
			t.Errorf("Cancel after the end, which was that = %v, want nil", err)
		}
		w.kill(second) // it would lead now, if there were no Dispatcher to stop it
	})
}

func TestKilledLeaderIsANonEvent(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second, tm1, tm2 := w.twoByTwo()
		w.until("a checkpoint is completed", 11*time.Second, w.completed(first))
		w.kill(first)
		w.until("the standby has adopted the job", time.Second, w.running(second))
		w.wantAttempts(second, "a0", "a1", "b0", "b1")
		if d := w.details(second); d.Overview.Adoptions != 1 || d.Overview.Restarts != 0 {
			t.Errorf("adoptions %d, restarts %d, want 1 and 0", d.Overview.Adoptions, d.Overview.Restarts)
		}
		w.until("a checkpoint is completed at once", time.Second, w.completed(second))
		for _, tm := range []*fakeTaskManager{tm1, tm2} {
			w.wantLog(tm, words("cancel", "release", "abort"))
			w.wantLog(tm, words("trigger", "complete"), "trigger 1", "complete 1", "complete 1", "trigger 2", "complete 2")
		}
	})
}

func TestKilledBetweenLedgerAndDeployment(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.jobManager("jm1")
		w.pass(10 * time.Millisecond)
		second := w.jobManager("jm2")
		tm1, tm2 := w.taskManager("tm1", 1), newFakeTaskManager(w, "tm2", 1)
		letGo := tm2.holding("PrepareJob")
		w.start(tm2)
		w.pass(time.Second)
		w.kill(first)
		letGo()
		w.until("the standby runs the job", time.Second, w.running(second))
		w.wantAttempts(second, "a0.1", "a1.1", "b0.1", "b1.1")
		if d := w.details(second); d.Overview.Restarts != 0 || len(d.Failures) != 0 {
			t.Errorf("restarts %d, failures %v, want none: nothing failed", d.Overview.Restarts, d.Failures)
		}
		w.wantLog(tm1, words("deploy"), "deploy a0.1", "deploy b0.1")
	})
}

func TestKilledInTheMiddleOfAWave(t *testing.T) {
	inWorld(t, func(w *world) {
		w.graph.Restart = jobgraph.Restart{Kind: jobgraph.RestartNone} // nothing fails, so nothing is a restart
		first := w.jobManager("jm1")
		w.pass(10 * time.Millisecond)
		second := w.jobManager("jm2")
		tm1, tm2 := w.taskManager("tm1", 1), newFakeTaskManager(w, "tm2", 1)
		letGo := tm2.holding("DeployTasks")
		w.start(tm2)
		w.pass(time.Second)
		w.kill(first)
		w.until("the standby has found it out", time.Second, func() bool { return len(tm1.log("cancel")) > 0 })
		letGo() // the old leader's deployment arrives after all; its token is of the past, but it passed the guard before
		w.until("the standby runs the job", time.Second, w.running(second))
		w.wantAttempts(second, "a0.1", "a1.1", "b0.1", "b1.1")
		w.wantLog(tm1, words("deploy", "cancel"), "deploy a0", "deploy b0", "cancel a0", "cancel b0", "deploy a0.1", "deploy b0.1")
	})
}

func TestKilledDuringACheckpoint(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second, tm1, tm2 := w.twoByTwo()
		w.until("a checkpoint is completed", 11*time.Second, w.completed(first))
		tm2.do(func() { tm2.silent = true })
		w.until("the next one is triggered", 11*time.Second, func() bool { return len(tm1.log("trigger 2")) == 1 })
		w.kill(first)
		tm2.do(func() { tm2.silent = false })
		w.until("the standby has adopted the job", time.Second, w.running(second))
		w.wantAttempts(second, "a0", "a1", "b0", "b1")
		w.until("a checkpoint is completed", 11*time.Second, w.completed(second))
		w.wantLog(tm2, words("complete", "abort", "cancel"), "complete 1", "complete 1", "abort 2..2", "complete 3")
	})
}

func TestKilledWhileCancelling(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second, tm1, tm2 := w.twoByTwo()
		tm1.do(func() { tm1.stubborn = true })
		if err := first.jm.Cancel(w.ctx); err != nil {
			t.Fatal(err)
		}
		w.pass(100 * time.Millisecond)
		w.kill(first)
		w.until("the standby goes on cancelling", time.Second, w.state(second, protocol.JobCancelling))
		tm1.do(func() {
			tm1.stubborn = false
			tm1.cancelTasks(protocol.CancelTasksRequest{Attempts: []attemptID{parseAttempt("a0"), parseAttempt("b0")}})
		})
		w.until("the job ends", time.Second, func() bool { return len(w.ended()) == 1 })
		if got := w.ended()[0].Overview.State; got != protocol.JobCanceled {
			t.Errorf("the job ended %s, want CANCELED", got)
		}
		w.wantLog(tm2, words("deploy"), "deploy a1", "deploy b1")
	})
}

func TestCancelWaitsForALeader(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second, _, _ := w.twoByTwo()
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		if err := second.jm.Cancel(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Cancel at a standby = %v, want %v", err, context.DeadlineExceeded)
		}
		done := make(chan error, 1)
		go func() { done <- second.jm.Cancel(w.ctx) }()
		w.pass(time.Second)
		w.kill(first)
		if err := <-done; err != nil {
			t.Errorf("Cancel = %v, want nil once it leads", err)
		}
	})
}

func TestTaskManagerDies(t *testing.T) {
	inWorld(t, func(w *world) {
		first, _, tm1, _ := w.twoByTwo()
		w.until("a checkpoint is completed", 11*time.Second, w.completed(first))
		tm3 := w.taskManager("tm3", 1)
		w.pass(time.Second)
		w.wantLog(tm3, words("deploy")) // its slot was not wanted
		tm3.do(func() { tm3.allocations = append(tm3.allocations, [16]byte{3}) })
		w.network.Kill("tm2:1")
		w.pass(time.Second)
		if d := w.details(first); !strings.Contains(d.Waiting, "needs 2 slots, has 1") {
			t.Errorf("waiting for %q, want slots", d.Waiting)
		}
		signalRegistration(tm3)
		w.until("the region runs again", 2*time.Second, w.running(first))
		w.wantAttempts(first, "a0.1", "a1.1", "b0.1", "b1.1")
		w.wantLog(tm3, words("deploy"), "deploy a1.1 from 1", "deploy b1.1 from 1")
		w.wantLog(tm1, words("deploy", "cancel"), "deploy a0", "deploy b0", "cancel a0", "cancel b0", "deploy a0.1 from 1", "deploy b0.1 from 1")
		d := w.details(first)
		if len(d.Failures) != 1 || !strings.Contains(d.Failures[0].Failure.Message, "process has ended") {
			t.Errorf("failures are %v, want the end of the process", d.Failures)
		}
	})
}

// signalRegistration makes a TaskManager register again, as it would offer a new slot.
func signalRegistration(tm *fakeTaskManager) {
	tm.do(func() { tm.acks = append(tm.acks, protocol.AcknowledgeCheckpointRequest{}) }) // refused: of no job
	signal(tm.wake)
}

// A TaskManager that was silent, and whose tasks were started again elsewhere, learns from the answer to whatever it
// tells first that it has to register, and from that answer what to cancel.
func TestSilentTaskManagerReturns(t *testing.T) {
	for name, tell := range map[string]func(*fakeTaskManager){
		"with a state": func(tm *fakeTaskManager) { tm.set(parseAttempt("a1"), func(*protocol.Execution) {}) },
		"with an acknowledgement": func(tm *fakeTaskManager) {
			tm.acks = append(tm.acks, protocol.AcknowledgeCheckpointRequest{Job: tm.job, Attempt: parseAttempt("a1"), Checkpoint: 7})
			signal(tm.wake)
		},
	} {
		t.Run(name, func(t *testing.T) { silentTaskManagerReturns(t, tell) })
	}
}

func silentTaskManagerReturns(t *testing.T, tell func(*fakeTaskManager)) {
	inWorld(t, func(w *world) {
		first, _, _, tm2 := w.twoByTwo()
		w.until("a checkpoint is completed", 11*time.Second, w.completed(first))
		w.network.Cut("jm1:1", "tm2:1")
		w.pass(heartbeatTimeout - 2*time.Second)
		if !w.running(first)() {
			t.Fatal("tasks were given up before the heartbeat timeout")
		}
		w.until("it counts as lost", 4*time.Second, w.state(first, protocol.JobRunning))
		w.pass(4 * time.Second)
		w.taskManager("tm3", 1)
		w.until("the region runs elsewhere", 2*time.Second, w.running(first))
		w.network.HealAll()
		tm2.do(func() { tell(tm2) })
		w.until("its old tasks are cancelled", 3*time.Second, func() bool { return len(tm2.log("cancel")) == 2 })
		w.wantAttempts(first, "a0.1", "a1.1", "b0.1", "b1.1")
		if r := w.details(first).Checkpoints.LatestRestored; r == nil || r.ID != 1 || r.At.IsZero() {
			t.Errorf("restored %+v, want checkpoint 1", r)
		}
		if !w.running(first)() {
			t.Error("the return of the TaskManager disturbed the job")
		}
	})
}

func TestLostAnswersAreRepeated(t *testing.T) {
	inWorld(t, func(w *world) {
		w.loseAnswers = map[string]int{
			protocol.PrepareJob.Method: 2, protocol.DeployTasks.Method: 2, protocol.CancelTasks.Method: 2,
			protocol.RegisterAtJobMaster.Method: 2, protocol.TaskStateChanged.Method: 2, protocol.AcknowledgeCheckpoint.Method: 2,
			protocol.TriggerCheckpoint.Method: 2, protocol.CompleteCheckpoint.Method: 2, protocol.ReleaseJob.Method: 2,
		}
		w.concludeErr = 3
		first, _, tm1, _ := w.twoByTwo()
		w.until("a checkpoint is completed", 12*time.Second, w.completed(first))
		w.wantLog(tm1, words("deploy"), "deploy a0", "deploy b0")
		if err := first.jm.Cancel(w.ctx); err != nil {
			t.Fatal(err)
		}
		w.until("Run returns", 2*time.Second, func() bool { return len(first.ended) == 1 })
		if n := len(w.ended()); n != 1 {
			t.Errorf("%d results, want 1", n)
		}
	})
}

// TestFrozenLeaderDoesNoHarm: the leader sleeps through its session, a standby adopts, the leader wakes up
// and goes on where it was: with heartbeats and a checkpoint after a short sleep, with restarting the
// tasks of TaskManagers that it believes dead after a long one.
func TestFrozenLeaderDoesNoHarm(t *testing.T) {
	for _, tc := range []struct {
		name   string
		sleep  time.Duration
		refuse bool // its messages reach TaskManagers
	}{
		{"short", 100 * time.Millisecond, true},
		{"long", 20 * time.Second, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				first, second, tm1, tm2 := w.twoByTwo()
				w.until("a checkpoint is completed", 11*time.Second, w.completed(first))
				w.pass(8 * time.Second)
				w.cluster.Freeze("jm1")
				w.network.Freeze("jm1:1")
				w.until("the standby has adopted the job", 4*time.Second, w.running(second))
				w.pass(tc.sleep)
				w.network.Thaw("jm1:1")
				w.pass(1500 * time.Millisecond) // in which it still believes to lead
				w.cluster.Thaw("jm1")
				w.pass(5 * time.Second)
				w.wantAttempts(second, "a0", "a1", "b0", "b1")
				for _, tm := range []*fakeTaskManager{tm1, tm2} {
					w.wantLog(tm, words("cancel", "release"))
					fenced := 0
					tm.do(func() { fenced = tm.fenced })
					if tc.refuse && fenced == 0 {
						t.Errorf("%s refused nothing: the test did not test", tm.id)
					}
				}
				if !w.running(second)() || w.details(second).Overview.Restarts != 0 {
					t.Error("the job was disturbed")
				}
			})
		})
	}
}

func TestTwoKillsInARow(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second, tm1, tm2 := w.twoByTwo()
		third := w.jobManager("jm3")
		w.until("a checkpoint is completed", 11*time.Second, w.completed(first))
		w.network.Cut("jm2:1", "tm2:1") // so that the second adoption lasts
		w.kill(first)
		w.until("the second adopts", time.Second, w.state(second, protocol.JobReconciling))
		w.kill(second)
		w.until("the third has adopted the job", 2*time.Second, w.running(third))
		w.wantAttempts(third, "a0", "a1", "b0", "b1")
		w.wantLog(tm1, words("cancel", "release"))
		w.wantLog(tm2, words("cancel", "release"))
	})
}

func TestTaskManagerDiesTogetherWithTheLeader(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second, tm1, _ := w.twoByTwo()
		w.until("a checkpoint is completed", 11*time.Second, w.completed(first))
		w.network.Kill("tm2:1")
		w.kill(first)
		w.until("the dead one is noticed at once", time.Second, w.state(second, protocol.JobRunning))
		w.taskManager("tm4", 1)
		w.until("the region runs again", 2*time.Second, w.running(second))
		w.wantAttempts(second, "a0.1", "a1.1", "b0.1", "b1.1")
		w.wantLog(tm1, words("deploy"), "deploy a0", "deploy b0", "deploy a0.1 from 1", "deploy b0.1 from 1")
	})
}

func TestBoundedJobFinishes(t *testing.T) {
	for _, tc := range []struct {
		name     string
		interval time.Duration
		kill     bool
		want     []string
	}{
		{"with checkpoints", 10 * time.Second, false, []string{"trigger 1", "complete 1", "finish a0", "finish b0"}},
		{"without checkpoints", 0, false, []string{"finish a0", "finish b0"}},
		{"leader killed during the commit", 10 * time.Second, true, []string{"trigger 1", "complete 1", "finish a0", "finish b0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.graph.Checkpointing.Interval = tc.interval
				first, _, tm1, tm2 := w.twoByTwo()
				letGo := tm2.holding("FinishTasks")
				for _, tm := range []*fakeTaskManager{tm1, tm2} {
					tm.do(func() {
						for a := range tm.tasks {
							tm.set(a, func(x *protocol.Execution) { x.Drained = true })
						}
					})
				}
				w.until("the commit begins", time.Second, func() bool { return len(tm1.log("finish")) == 2 })
				w.pass(100 * time.Millisecond)
				if tc.kill {
					w.kill(first)
					w.pass(time.Second)
				}
				letGo()
				w.until("the job ends", time.Second, func() bool { return len(w.ended()) == 1 })
				d := w.ended()[0]
				if d.Overview.State != protocol.JobFinished || d.Overview.Restarts != 0 {
					t.Errorf("the job ended %s after %d restarts, want FINISHED after none", d.Overview.State, d.Overview.Restarts)
				}
				w.wantLog(tm1, words("trigger", "complete", "finish", "cancel"), tc.want...)
			})
		})
	}
}

func TestJobFailsWithTheCause(t *testing.T) {
	inWorld(t, func(w *world) {
		w.graph.Restart = jobgraph.Restart{Kind: jobgraph.RestartNone}
		_, _, tm1, tm2 := w.twoByTwo()
		tm2.do(func() {
			tm2.set(parseAttempt("b1"), func(x *protocol.Execution) {
				x.State, x.Failure = protocol.Failed, &protocol.Failure{Message: "panic: no such key", Stack: "goroutine 7"}
			})
		})
		w.until("the job ends", time.Second, func() bool { return len(w.ended()) == 1 })
		d := w.ended()[0]
		if d.Overview.State != protocol.JobFailed || len(d.Failures) != 1 {
			t.Fatalf("the job ended %s with failures %v, want FAILED with one", d.Overview.State, d.Failures)
		}
		if f := d.Failures[0]; f.Failure.Stack != "goroutine 7" || f.Task != "sink (2/2)" || f.TaskManager != "tm2" {
			t.Errorf("failure is %+v, want the panic of sink (2/2) at tm2", f)
		}
		w.wantLog(tm1, words("cancel", "release"), "cancel a0", "cancel b0", "release job")
	})
}

func TestNoSlots(t *testing.T) {
	inWorld(t, func(w *world) {
		w.graph.Restart = jobgraph.Restart{Kind: jobgraph.RestartNone}
		first := w.jobManager("jm1")
		w.taskManager("tm1", 1)
		w.pass(10 * time.Minute) // nobody could give slots
		if d := w.details(first); d.Overview.State != protocol.JobCreated {
			t.Fatalf("the job is %s without a ResourceManager, want CREATED", d.Overview.State)
		}
		w.resourceManager()
		w.pass(59 * time.Second)
		if n := len(w.ended()); n != 0 {
			t.Fatal("the job ended before the slot request timeout")
		}
		w.until("the job fails", 3*time.Second, func() bool { return len(w.ended()) == 1 })
		if d := w.ended()[0]; !strings.Contains(d.Failures[0].Failure.Message, "needs 2 slots, has 1") {
			t.Errorf("failure is %q", d.Failures[0].Failure.Message)
		}
	})
}

// TestStoreOutage: while the coordination service cannot be reached, checkpoints wait and the job goes on.
func TestStoreOutage(t *testing.T) {
	inWorld(t, func(w *world) {
		first, _, tm1, _ := w.twoByTwo()
		w.until("a checkpoint is completed", 11*time.Second, w.completed(first))
		w.pass(9 * time.Second)
		w.cluster.Disconnect("jm1")
		w.pass(1500 * time.Millisecond)
		w.cluster.Reconnect("jm1")
		w.until("the next checkpoint is completed", 3*time.Second, func() bool { return w.details(first).Checkpoints.Completed == 2 })
		w.wantLog(tm1, words("cancel", "release"))
		if d := w.details(first); d.JobMasterEpoch != 1 || d.Overview.Adoptions != 0 {
			t.Errorf("epoch %d, adoptions %d, want 1 and 0: leadership did not change", d.JobMasterEpoch, d.Overview.Adoptions)
		}
	})
}

func TestRelease(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second, tm1, tm2 := w.twoByTwo()
		w.kill(second)
		w.kill(first)
		third := w.jobMaster(w.ctx, "jm3")
		if err := third.Release(w.ctx); err != nil {
			t.Fatal(err)
		}
		w.wantLog(tm1, words("release"), "release job")
		w.wantLog(tm2, words("release"), "release job")
	})
}

// TestSlowDeletionsHoldNobodyUp: old checkpoints go when they go; the next ones complete meanwhile.
func TestSlowDeletionsHoldNobodyUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.slow = make(chan struct{})
		_, _, tm1, _ := w.twoByTwo()
		chk := "/chk/" + w.graph.ID.String() + "/chk-"
		w.pass(41 * time.Second)
		w.wantLog(tm1, words("complete", "abort", "cancel"), "complete 1", "complete 2", "complete 3", "complete 4")
		for _, n := range []int{1, 4} {
			if _, err := w.files.Stat(w.ctx, fmt.Sprintf("%s%d/_metadata", chk, n)); err != nil {
				t.Errorf("checkpoint %d while deletions wait: %v", n, err)
			}
		}
		close(w.slow)
		w.pass(time.Second)
		for n, want := range map[int]bool{1: false, 2: false, 3: false, 4: true} {
			if _, err := w.files.Stat(w.ctx, fmt.Sprintf("%s%d/_metadata", chk, n)); (err == nil) != want {
				t.Errorf("checkpoint %d after the deletions: %v", n, err)
			}
		}
	})
}

// TestDiscard: sinks delete what they prepared when the job ends for good: those that run before they end,
// those that had ended before the process is let go.
func TestDiscard(t *testing.T) {
	inWorld(t, func(w *world) {
		w.graph.Restart = jobgraph.Restart{Kind: jobgraph.RestartNone}
		w.graph.Vertices[1].Commits = true
		first, _, tm1, tm2 := w.twoByTwo()
		w.until("a checkpoint is completed", 11*time.Second, w.completed(first))
		tm2.do(func() {
			tm2.set(parseAttempt("b1"), func(x *protocol.Execution) {
				x.State, x.Failure = protocol.Failed, &protocol.Failure{Message: "boom"}
			})
		})
		w.until("the job ends", time.Second, func() bool { return len(w.ended()) == 1 })
		w.until("the task managers know", time.Second, func() bool { return len(tm2.log("release")) == 1 })
		w.wantLog(tm1, words("cancel", "discard", "release"), "cancel a0, discard above 1", "cancel b0, discard above 1", "discard a0 b0 above 1", "release job")
		w.wantLog(tm2, words("cancel", "discard", "release"), "cancel a1, discard above 1", "discard a1 b1 above 1", "release job")
	})
}

// TestDiscardAfterTheLeader: the leader dies before the TaskManagers have heard that the job was cancelled.
func TestDiscardAfterTheLeader(t *testing.T) {
	for _, retention := range []jobgraph.Retention{jobgraph.RetainNothing, jobgraph.DeleteOnCancellation, jobgraph.RetainOnCancellation} {
		t.Run(string(retention), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.graph.Vertices[1].Commits, w.graph.Checkpointing.Retention = true, retention
				first, second, tm1, _ := w.twoByTwo()
				w.kill(second)
				w.until("a checkpoint is completed", 11*time.Second, w.completed(first))
				tm1.do(func() { tm1.stubborn = true })
				if err := first.jm.Cancel(w.ctx); err != nil {
					t.Fatal(err)
				}
				w.kill(first)
				if err := w.jobMaster(w.ctx, "jm3").Release(w.ctx); err != nil {
					t.Fatal(err)
				}
				want := []string{"discard a0 b0 above 1", "release job"}
				if retention == jobgraph.RetainOnCancellation {
					want = want[1:]
				}
				w.wantLog(tm1, words("discard", "release"), want...)
			})
		})
	}
}

func TestDetailsWithoutLeadership(t *testing.T) {
	inWorld(t, func(w *world) {
		_, second, _, _ := w.twoByTwo()
		d := w.details(second)
		if d.Overview.State != protocol.JobInitializing || d.Graph.Name != "job" {
			t.Errorf("details at a standby: %s of %q, want INITIALIZING of the graph", d.Overview.State, d.Graph.Name)
		}
	})
}

// TestUnreadableCheckpoint: tasks that run are adopted all the same; only a restart needs the checkpoint.
func TestUnreadableCheckpoint(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second, tm1, _ := w.twoByTwo()
		w.until("a checkpoint is completed", 11*time.Second, w.completed(first))
		if err := w.files.Delete(w.ctx, "/chk/"+w.graph.ID.String()); err != nil {
			t.Fatal(err)
		}
		tm1.do(func() { tm1.silent = true })
		w.kill(first)
		w.until("the standby has adopted the job", time.Second, w.running(second))
		tm1.do(func() {
			tm1.set(parseAttempt("a0"), func(x *protocol.Execution) {
				x.State, x.Failure = protocol.Failed, &protocol.Failure{Message: "disk"}
			})
		})
		w.until("the job fails", 2*time.Second, func() bool { return len(w.ended()) == 1 })
		if d := w.ended()[0]; !strings.Contains(d.Failures[0].Failure.Message, "checkpoint") {
			t.Errorf("failure is %q, want that the checkpoint cannot be read", d.Failures[0].Failure.Message)
		}
	})
}

// TestPausedLeaderBlamesNobody: a tick that comes late was late for everyone's heartbeats too.
func TestPausedLeaderBlamesNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		first, _, tm1, _ := w.twoByTwo()
		term := first.jm.present().term
		pause := 10 * heartbeatTimeout
		rpc.Do(w.ctx, term.main, func() {
			for _, s := range term.sessions {
				s.heardAt = s.heardAt.Add(-pause)
			}
			term.tick(pause)
		})
		w.pass(time.Second)
		w.wantLog(tm1, words("cancel"))
		w.wantAttempts(first, "a0", "a1", "b0", "b1")
	})
}

// TestSilenceIsNoticedAmidChatter: whoever talks does not hide who is silent.
func TestSilenceIsNoticedAmidChatter(t *testing.T) {
	inWorld(t, func(w *world) {
		w.graph.Checkpointing.Interval = time.Hour // what is due next is far away
		first, _, tm1, _ := w.twoByTwo()
		w.network.Cut("jm1:1", "tm2:1")
		cut := time.Now()
		for len(w.details(first).Failures) == 0 {
			if time.Since(cut) > 2*heartbeatTimeout {
				t.Fatalf("tm2 is not lost after %s of silence", time.Since(cut))
			}
			tm1.do(func() { tm1.set(parseAttempt("a0"), func(*protocol.Execution) {}) })
			w.pass(100 * time.Millisecond)
		}
	})
}

package simulation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

var (
	seeds     = flag.Int("seeds", 1000, "number of schedules")
	firstSeed = flag.Int64("first", 0, "seed of the first schedule; the others follow")
	seed      = flag.Int64("seed", -1, "run this schedule only, and print what happened")
)

// What all schedules together went through.
var schedulesRun, drillsDone, terms, messagesRefused, writesRefused atomic.Int64

// binary is the program of every simulated job; nobody runs it.
var (
	binary    = []byte("a program")
	binaryKey = func() string { sum := sha256.Sum256(binary); return hex.EncodeToString(sum[:]) }()
)

func TestSchedules(t *testing.T) {
	first, last := *firstSeed, *firstSeed+int64(*seeds)
	if *seed >= 0 {
		first, last = *seed, *seed+1
	}
	var failed atomic.Bool
	failFast := flag.Lookup("test.failfast").Value.String() == "true"
	t.Cleanup(func() {
		t.Logf("%d schedules, %d terms, %d drills, %d messages and %d writes of leaders of the past refused",
			schedulesRun.Load(), terms.Load(), drillsDone.Load(), messagesRefused.Load(), writesRefused.Load())
	})
	for n := first; n < last; n++ {
		t.Run(fmt.Sprintf("seed=%d", n), func(t *testing.T) {
			t.Parallel()
			if failFast && failed.Load() {
				t.SkipNow()
			}
			t.Cleanup(func() { // a bubble that fails ends the test there and then
				if t.Failed() {
					failed.Store(true)
					t.Logf("replay: go test ./test/simulation -run TestSchedules -seed %d -v", n)
				}
			})
			schedulesRun.Add(1)
			synctest.Test(t, func(t *testing.T) { runSchedule(t, uint64(n)) })
		})
	}
}

// runSchedule is one simulated life of a cluster.
func runSchedule(t *testing.T, n uint64) {
	w := newWorld(t, n)
	s := newSchedule(w)
	s.dataPlaneFaults = n%4 == 3
	defer func() {
		w.close()
		if t.Failed() || *seed >= 0 {
			s.print()
		}
	}()
	w.chance.pause(true)
	for range 1 + w.rand.IntN(3) {
		s.submit()
	}
	if s.await("the first jobs run", s.allAsTheyShould); t.Failed() {
		return
	}
	for _, job := range s.jobs {
		job.settled = true
	}
	w.chance.pause(false)
	for range 5 + w.rand.IntN(15) {
		s.step()
	}
	if w.rand.IntN(12) == 0 {
		s.blackout()
	}
	s.heal()
	s.await("every job is as it should", s.allAsTheyShould)
	s.startAgain()
	s.await("nothing is left of jobs that ended", s.nothingLeft)
	s.check()
	s.count()
}

// startAgain ends all JobManagers and starts them again: jobs go on, and those that ended do not come back.
func (s *schedule) startAgain() {
	s.note("start all JobManagers again")
	for _, p := range s.world.jobManagers {
		p.kill()
	}
	for _, p := range s.world.jobManagers {
		p.start()
	}
	s.await("every job is as it should after a new start", s.allAsTheyShould)
}

// settleTimeout is the virtual time that a healed cluster may take: restart delays, adoption, slots.
const settleTimeout = 10 * time.Minute

// await waits until ok returns "", which is when nothing is amiss.
func (s *schedule) await(what string, ok func() string) {
	deadline := time.Now().Add(settleTimeout)
	for !s.world.t.Failed() {
		amiss := ok()
		if amiss == "" {
			return
		}
		if time.Now().After(deadline) {
			s.world.t.Errorf("after %s not so: %s: %s", settleTimeout, what, amiss)
			return
		}
		<-time.After(500 * time.Millisecond)
	}
}

// allAsTheyShould says what is amiss with the first job that is not in the state it should reach.
func (s *schedule) allAsTheyShould() string {
	for _, job := range s.jobs {
		if amiss := s.asItShould(job); amiss != "" {
			return fmt.Sprintf("job %s: %s", job.graph.ID, amiss)
		}
	}
	return s.slotsAsTheyShould()
}

// slotsAsTheyShould says what is amiss with the slots as the ResourceManager knows them.
func (s *schedule) slotsAsTheyShould() string {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	list, err := askLeader(ctx, s.world.client, haservices.ResourceManager, protocol.ListTaskManagers, protocol.Empty{})
	switch {
	case err != nil:
		return err.Error()
	case len(list.TaskManagers) != taskManagers || len(list.Missing) > 0:
		return fmt.Sprintf("%d TaskManagers are registered, slots are missing: %v", len(list.TaskManagers), list.Missing)
	}
	leased := map[id.Job]int{}
	for _, tm := range list.TaskManagers {
		for _, slot := range tm.Slots {
			if !slot.Allocation.IsZero() {
				leased[slot.Job]++
			}
		}
	}
	for _, job := range s.jobs {
		want := job.graph.Slots()
		if job.ends() {
			want = 0
		}
		if got := leased[job.graph.ID]; got != want {
			return fmt.Sprintf("job %s has %d slots, want %d", job.graph.ID, got, want)
		}
	}
	return ""
}

func (s *schedule) asItShould(job *submission) string {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if !job.acknowledged { // nobody promised to keep it: ask again until somebody does
		if err := s.send(ctx, job); err != nil {
			return err.Error()
		}
	}
	if job.cancelled && !job.cancelAnswered {
		if s.sendCancel(ctx, job); !job.cancelAnswered {
			return "cannot be cancelled"
		}
	}
	d, err := ask(ctx, s.world.client, protocol.DescribeJob, protocol.DescribeJobRequest{Job: job.graph.ID})
	if err != nil {
		return err.Error()
	}
	if job.ends() {
		return s.endedAsItShould(job, d)
	}
	live := len(s.world.tasks.Live(job.graph.ID))
	if d.Overview.State != protocol.JobRunning || live != job.tasks() || d.Overview.Tasks[protocol.Running] != job.tasks() {
		return fmt.Sprintf("is %s (%s), %d of %d tasks run, the master says %v", d.Overview.State, d.Waiting, live, job.tasks(), d.Overview.Tasks)
	}
	if !s.dataPlaneFaults && d.Overview.Restarts > 0 {
		s.world.t.Errorf("job %s counts %d restarts: %v", job.graph.ID, d.Overview.Restarts, d.Failures)
	}
	return ""
}

func (s *schedule) endedAsItShould(job *submission, d protocol.JobDetails) string {
	w, state := s.world, d.Overview.State
	if !state.Terminal() {
		if job.drained {
			w.tasks.Drain(job.graph.ID) // tasks that were started again after the first time
		}
		return fmt.Sprintf("is %s, and should end", state)
	}
	if finished := state == protocol.JobFinished; !finished && !job.cancelled || finished && !job.drained || state == protocol.JobFailed {
		w.t.Errorf("job %s ended as %s (drained %v, cancelled %v): %v", job.graph.ID, state, job.drained, job.cancelled, d.Failures)
	}
	if live, processes := len(w.tasks.Live(job.graph.ID)), w.tasks.Processes(job.graph.ID); live > 0 || processes > 0 {
		return fmt.Sprintf("is %s, and %d tasks in %d processes run", state, live, processes)
	}
	return ""
}

// nothingLeft says what is left of jobs that have ended.
func (s *schedule) nothingLeft() string {
	var ended []id.Job
	for _, job := range s.jobs {
		if job.ends() {
			ended = append(ended, job.graph.ID)
		}
	}
	if left := s.world.leftovers(ended, s.dataPlaneFaults); len(left) > 0 {
		return fmt.Sprint(left)
	}
	return ""
}

// count adds this schedule to what all went through.
func (s *schedule) count() {
	for _, r := range s.world.ha.Audit() {
		switch {
		case r.Operation == "lead":
			terms.Add(1)
		case errors.Is(r.Err, haservices.ErrNotLeader):
			writesRefused.Add(1)
		}
	}
	messagesRefused.Add(s.world.witness.messagesRefused())
}

// send uploads and submits a job, once.
func (s *schedule) send(ctx context.Context, job *submission) error {
	// The REST endpoint of any JobManager would take the binary; they share the store.
	if err := s.world.client.services.Blobs().Put(ctx, job.graph.ID, job.graph.Binary.Key, bytes.NewReader(binary)); err != nil {
		return err
	}
	_, err := ask(ctx, s.world.client, protocol.SubmitJob, protocol.SubmitJobRequest{Graph: job.graph})
	job.acknowledged = job.acknowledged || err == nil
	return err
}

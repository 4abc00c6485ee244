package simulation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/protocol"
)

var (
	seeds = flag.Int("seeds", 1000, "number of schedules, from seed 0 on")
	seed  = flag.Int64("seed", -1, "run this schedule only, and print what happened")
)

// binary is the program of every simulated job; nobody runs it.
var (
	binary    = []byte("a program")
	binaryKey = func() string { sum := sha256.Sum256(binary); return hex.EncodeToString(sum[:]) }()
)

func TestSchedules(t *testing.T) {
	first, last := int64(0), int64(*seeds)
	if *seed >= 0 {
		first, last = *seed, *seed+1
	}
	for n := first; n < last; n++ {
		t.Run(fmt.Sprintf("seed=%d", n), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { runSchedule(t, uint64(n)) })
			if t.Failed() {
				t.Logf("replay: go test ./test/simulation -run TestSchedules -seed %d -v", n)
			}
		})
	}
}

// runSchedule is one simulated life of a cluster.
func runSchedule(t *testing.T, n uint64) {
	w := newWorld(t, n)
	s := &schedule{world: w, taskManagerFaults: n%4 == 3}
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
	s.await("the first jobs run", s.allAsTheyShould)
	if t.Failed() {
		return
	}
	for _, job := range s.jobs {
		job.settled = true
	}
	w.chance.pause(false)
	for range 5 + w.rand.IntN(15) {
		s.step()
	}
	s.note("heal")
	w.heal()
	s.await("every job is as it should", s.allAsTheyShould)
	s.check()
}

// settleTimeout is the virtual time that a healed cluster may take: restart delays, adoption, slots.
const settleTimeout = 10 * time.Minute

// await waits until ok returns "", which is when nothing is amiss.
func (s *schedule) await(what string, ok func() string) {
	deadline := time.Now().Add(settleTimeout)
	for {
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
	d, err := ask(ctx, s.world.client, protocol.DescribeJob, protocol.DescribeJobRequest{Job: job.graph.ID})
	if err != nil {
		return err.Error()
	}
	state, live := d.Overview.State, len(s.world.tasks.Live(job.graph.ID))
	switch {
	case job.drained && !state.Terminal():
		s.world.tasks.Drain(job.graph.ID) // tasks that were started again after the first time
		return fmt.Sprintf("is %s, its input has ended", state)
	case job.cancelled && !state.Terminal():
		return fmt.Sprintf("is %s, it was cancelled", state)
	case job.drained || job.cancelled:
		if live > 0 || s.world.tasks.Processes(job.graph.ID) > 0 {
			return fmt.Sprintf("is %s, and %d tasks in %d processes run", state, live, s.world.tasks.Processes(job.graph.ID))
		}
	case state != protocol.JobRunning || live != job.tasks() || d.Overview.Tasks[protocol.Running] != job.tasks():
		return fmt.Sprintf("is %s (%s), %d of %d tasks run, the master says %v", state, d.Waiting, live, job.tasks(), d.Overview.Tasks)
	}
	return ""
}

// check verifies what must hold whatever happened.
func (s *schedule) check() {
	w := s.world
	if err := checkFences(w); err != nil {
		w.t.Error(err)
	}
	for _, v := range w.tasks.Violations() {
		w.t.Error(v)
	}
	for _, job := range s.jobs {
		for _, err := range s.checkJob(job) {
			w.t.Errorf("job %s: %v", job.graph.ID, err)
		}
	}
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

package dispatcher

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// crash kills a process between two of its effects on the world: from the nth write to the coordination
// service or to storage on, nothing that it does happens any more.
type crash struct {
	armed  atomic.Bool
	count  atomic.Int32
	at     int32
	effect embedded.Outcome // of the nth write, when it goes to the coordination service
}

var errDead = errors.New("process is dead")

// next counts a write: -1 before the crash, 0 at it, 1 after it.
func (c *crash) next(write bool) int {
	if !c.armed.Load() {
		return -1
	}
	n := c.count.Load()
	if write {
		n = c.count.Add(1)
	}
	switch {
	case n > c.at || !write && n == c.at:
		return 1
	case n == c.at:
		return 0
	}
	return -1
}

func (c *crash) outcome(call embedded.Call) embedded.Outcome {
	if call.Process != "a" {
		return embedded.Answered
	}
	write := slices.Contains([]string{"create", "set", "put", "delete"}, call.Operation)
	switch c.next(write) {
	case 0:
		return c.effect
	case 1:
		return embedded.Refuse
	}
	return embedded.Answered
}

func (c *crash) hook(op filesystem.Operation) error {
	switch c.next(op.Name == "Create" || op.Name == "Delete") {
	case 0:
		if c.effect == embedded.LoseAnswer {
			return filesystem.Applied(errDead)
		}
		return errDead
	case 1:
		return errDead
	}
	return nil
}

// reached reports whether the process lived to see the crash.
func (c *crash) reached() bool { return c.count.Load() >= c.at }

// crashDuring kills the leader at its nth write after begin, for n = 1, 2, ... until there are no more,
// lets a second process take over, and checks the world.
func crashDuring(t *testing.T, begin func(w *world, g jobgraph.JobGraph), check func(t *testing.T, w *world, g jobgraph.JobGraph)) {
	for _, effect := range []embedded.Outcome{embedded.LoseRequest, embedded.LoseAnswer} {
		for n := int32(1); ; n++ {
			c := &crash{at: n, effect: effect}
			t.Run(fmt.Sprintf("write %d, effect %d", n, effect), func(t *testing.T) {
				inBubble(t, embedded.Config{Faults: embedded.Faults{Outcome: c.outcome}}, func(t *testing.T, w *world) {
					w.files.Hook(c.hook)
					a := w.start("a")
					g := graphOf("numbers")
					w.upload(&g)
					settle(time.Second)
					c.armed.Store(true)
					begin(w, g)
					settle(10 * time.Second)
					c.armed.Store(false)
					a.kill()
					w.checkPointers()
					w.start("b")
					settle(time.Minute)
					check(t, w, g)
				})
			})
			if !c.reached() {
				if n < 4 {
					t.Errorf("only %d writes seen: the crash points are not where they should be", n-1)
				}
				break
			}
			if n > 50 {
				t.Fatal("the leader does not come to an end of its writes")
			}
		}
	}
}

// checkPointers checks that each stored job graph can be read and its binary is there: pointers go
// before what they point to.
func (w *world) checkPointers() {
	w.t.Helper()
	services := haservices.New(haservices.Config{Driver: w.view, FileSystem: w.files, StorageDir: "/ha", ClusterID: "test"})
	store := services.JobGraphs(services.LeaderElection(haservices.Component{Kind: haservices.Dispatcher}))
	stored, err := store.List(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, job := range stored {
		s, err := store.Get(w.t.Context(), job)
		if err != nil {
			w.t.Errorf("job graph without its file: %v", err)
			continue
		}
		content, err := services.Blobs().Open(w.t.Context(), job, s.Graph.Binary.Key)
		if err != nil {
			w.t.Errorf("job graph without its binary: %v", err)
			continue
		}
		content.Close()
	}
}

func TestCrashWhileAJobEnds(t *testing.T) {
	crashDuring(t, func(w *world, g jobgraph.JobGraph) {
		go invokeQuietly(w, g) // its answer may never come
		w.jobs.finish(g.ID, protocol.JobFinished)
	}, func(t *testing.T, w *world, g jobgraph.JobGraph) {
		// A client without an answer tries again; with one it would do no harm.
		w.upload(&g)
		if err := w.submit(g); err != nil {
			t.Errorf("SubmitJob again = %v", err)
		}
		settle(time.Minute)
		if got := w.list(); len(got) != 1 || got[g.ID].State != protocol.JobFinished {
			t.Errorf("jobs = %v, want one that is FINISHED", got)
		}
		if left := w.leftovers(); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// invokeQuietly submits once.
func invokeQuietly(w *world, g jobgraph.JobGraph) {
	gateway, err := w.leader(w.t.Context())
	if err != nil {
		return
	}
	submitOnce(w, gateway, g)
}

func TestCleanUpFailsTwice(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		failed := map[string]int{}
		w.files.Hook(func(op filesystem.Operation) error {
			if op.Name != "Delete" {
				return nil
			}
			if failed[op.Path]++; failed[op.Path] <= 2 { // hooks are called one at a time
				return errors.New("storage hiccup")
			}
			return nil
		})
		w.start("a")
		g := w.submitted("numbers")
		w.jobs.finish(g.ID, protocol.JobFinished)
		settle(time.Hour)
		if left := w.leftovers(); len(left) != 0 || len(failed) == 0 {
			t.Errorf("left behind %v after failures of %d deletions", left, len(failed))
		}
		other := graphOf("the next one")
		w.upload(&other)
		if err := w.submit(other); err != nil {
			t.Errorf("SubmitJob after the clean-up = %v", err)
		}
	})
}

// A job that ended under a leader which died at once is released by the next one.
func TestDirtyResultIsReleased(t *testing.T) {
	c := &crash{at: 1, effect: embedded.LoseRequest}
	inBubble(t, embedded.Config{Faults: embedded.Faults{Outcome: c.outcome}}, func(t *testing.T, w *world) {
		a := w.start("a")
		g := w.submitted("numbers")
		c.at = 2 // the result is written, nothing is removed
		c.armed.Store(true)
		w.jobs.finish(g.ID, protocol.JobFinished)
		settle(time.Second)
		a.kill()
		w.start("b")
		settle(time.Second)
		var released int
		w.jobs.with(g.ID, func(f *fakeJob) { released = f.released })
		if released != 1 || w.jobs.runs(g.ID) != 1 {
			t.Errorf("released %d times, ran %d times; want once each", released, w.jobs.runs(g.ID))
		}
		if left := w.leftovers(); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// Leadership flaps between three processes, some of which die, while clients submit, cancel and finish
// jobs. No acknowledged job is lost, and none comes back.
func TestFlappingLeadership(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, embedded.Config{Notice: 30 * time.Millisecond}, func(t *testing.T, w *world) { flap(t, w, seed) })
		})
	}
}

func flap(t *testing.T, w *world, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	names := []string{"a", "b", "c"}
	processes := map[string]*process{}
	for _, name := range names {
		processes[name] = w.start(name)
	}
	var mu sync.Mutex // guards acknowledged
	acknowledged := map[id.Job]protocol.JobState{}
	var clients sync.WaitGroup
	for i := range 12 {
		pause := time.Duration(random.Int64N(int64(40 * time.Second)))
		state := []protocol.JobState{protocol.JobFinished, protocol.JobCanceled, ""}[i%3]
		clients.Go(func() {
			sleep(t.Context(), pause)
			g := graphOf(fmt.Sprint("job ", i))
			w.upload(&g)
			if err := w.submit(g); err != nil {
				t.Errorf("SubmitJob = %v", err)
				return
			}
			mu.Lock()
			acknowledged[g.ID] = state
			mu.Unlock()
			sleep(t.Context(), pause/2)
			switch state {
			case protocol.JobFinished:
				w.jobs.finish(g.ID, state)
			case protocol.JobCanceled:
				if _, err := invoke(w, protocol.CancelJob, protocol.CancelJobRequest{Job: g.ID}); err != nil {
					t.Errorf("CancelJob = %v", err)
				}
			}
		})
	}
	for began := time.Now(); time.Since(began) < time.Minute; {
		sleep(t.Context(), 50*time.Millisecond)
		name := names[random.IntN(len(names))]
		if random.IntN(20) == 0 {
			processes[name].kill()
			processes[name] = w.start(name)
			continue
		}
		w.cluster.ExpireSession(name)
	}
	clients.Wait()
	settle(time.Minute)
	list := w.list()
	for job, state := range acknowledged {
		if state == "" {
			state = protocol.JobRunning
		}
		if list[job].State != state {
			t.Errorf("job %s is %q, want %s", job, list[job].State, state)
		}
	}
	if len(list) != len(acknowledged) {
		t.Errorf("%d jobs listed, %d acknowledged", len(list), len(acknowledged))
	}
	for _, file := range w.leftovers() {
		for job, state := range acknowledged {
			if state != "" && strings.Contains(file, job.String()) {
				t.Errorf("%s of an ended job was left behind", file)
			}
		}
	}
	synctest.Wait()
}

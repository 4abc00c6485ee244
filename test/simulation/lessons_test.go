package simulation

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/taskmanager/taskmanagertest"
)

// These tests are named after what went wrong in systems like this one. Each is one schedule, without
// chance.

// inCluster runs a test in a cluster that is up, with a job of two stages on four slots; interval is that of
// its checkpoints, 0 for none. In the end the invariants of all schedules are checked.
func inCluster(t *testing.T, interval time.Duration, test func(s *schedule, job *submission)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		s := newSchedule(w)
		defer func() {
			w.close()
			if t.Failed() {
				s.print()
			}
		}()
		w.chance.pause(true)
		job := &submission{graph: w.twoStages(4, interval), settled: true}
		s.jobs = append(s.jobs, job)
		s.await("the job runs", s.allAsTheyShould)
		test(s, job)
		s.heal()
		s.await("every job is as it should", s.allAsTheyShould)
		s.check()
	})
}

func (w *world) twoStages(parallelism int, interval time.Duration) jobgraph.JobGraph {
	source, sink := id.Vertex{1}, id.Vertex{2}
	return jobgraph.JobGraph{
		ID: id.Job(w.bytes()), Name: "job", MaxParallelism: 128, DefaultParallelism: parallelism,
		Binary: jobgraph.Binary{Key: binaryKey, Size: int64(len(binary))},
		Vertices: []jobgraph.Vertex{
			{ID: source, Name: "source", Parallelism: parallelism, Source: true, Operators: []jobgraph.Operator{{UID: "a", Name: "source"}}},
			{ID: sink, Name: "sink", Parallelism: parallelism, Operators: []jobgraph.Operator{{UID: "b", Name: "sink"}}},
		},
		Edges:         []jobgraph.Edge{{From: source, To: sink, Partition: jobgraph.Hash}},
		Checkpointing: jobgraph.Checkpointing{Interval: interval, Timeout: time.Minute, Retained: 2, TolerableFailures: 10},
		Restart:       jobgraph.Restart{Kind: jobgraph.RestartFixedDelay, Attempts: 10, Delay: time.Second},
	}
}

// another waits until another process than p leads and the job is as it should be.
func (s *schedule) another(p *process) {
	s.await("another JobManager leads", func() string {
		if l := s.leader(); l == nil || l == p {
			return "nobody"
		}
		return s.allAsTheyShould()
	})
}

// stored are the checkpoints of a job in the order in which they were stored, and when.
func (s *schedule) stored(job id.Job) (ids []int64, at []time.Time) {
	for _, r := range s.world.ha.Audit() {
		dir, n, ok := checkpointPath(r.Path)
		if ok && r.Operation == "create" && r.Err == nil && strings.Contains(dir, job.String()) {
			ids, at = append(ids, n), append(at, r.At)
		}
	}
	return ids, at
}

// The leader freezes past its session; a standby adopts; the old one wakes up and goes on where it was:
// with heartbeats, triggers, slot requests. No task notices, and each message is refused and counted.
func TestLateMessagesOfAThawedLeaderAreRefused(t *testing.T) {
	inCluster(t, time.Second, func(s *schedule, job *submission) {
		old := s.leader()
		old.freeze()
		s.another(old)
		<-time.After(10 * time.Second)
		before := s.world.witness.messagesRefused()
		old.thaw(7 * time.Second) // longer than a heartbeat interval
		<-time.After(10 * time.Second)
		if n := s.world.witness.messagesRefused() - before; n == 0 {
			s.world.t.Error("no message was refused: the test did not test")
		}
	})
}

// Only one process is left to lead: each time it loses its session it leads again, at the same address,
// under a new epoch. Who followed it has to connect again, and no task notices.
func TestTheSameProcessLeadsAgain(t *testing.T) {
	inCluster(t, time.Second, func(s *schedule, job *submission) {
		leader := s.leader()
		for _, p := range s.world.jobManagers {
			if p != leader {
				p.kill()
			}
		}
		for range 5 {
			s.world.ha.ExpireSession(leader.name)
			<-time.After(4 * time.Second) // it takes a while to notice
			s.await("the job is adopted", func() string { return s.asItShould(job) })
		}
	})
}

// In a quiet cluster nobody writes: a leader that reacts to its own writes would never stop.
func TestASteadyLeaderWritesNothing(t *testing.T) {
	inCluster(t, 0, func(s *schedule, job *submission) {
		<-time.After(time.Minute)
		before := len(s.world.ha.Audit())
		<-time.After(10 * time.Minute)
		if audit := s.world.ha.Audit(); len(audit) > before {
			s.world.t.Errorf("%d writes in ten quiet minutes, the first is %+v", len(audit)-before, audit[before])
		}
	})
}

// The coordination service is away for a second. The next checkpoint comes in its time, and over twenty
// changes of leaders checkpoint IDs only rise.
func TestCheckpointsGoOnAfterABlip(t *testing.T) {
	const interval = 3 * time.Second
	inCluster(t, interval, func(s *schedule, job *submission) {
		<-time.After(10 * time.Second)
		leader := s.leader()
		s.world.ha.Disconnect(leader.name)
		<-time.After(time.Second)
		s.world.ha.Reconnect(leader.name)
		blip := time.Now()
		<-time.After(interval + 2*time.Second)
		if _, at := s.stored(job.graph.ID); !at[len(at)-1].After(blip) {
			s.world.t.Errorf("no checkpoint within %s after the blip", interval+2*time.Second)
		}
		for range 20 {
			p := s.leader()
			p.kill()
			s.another(p)
			p.start()
			<-time.After(time.Second)
		}
		ids, _ := s.stored(job.graph.ID)
		if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) || len(ids) < 20 {
			s.world.t.Errorf("checkpoints were stored as %v, want more than 20 that rise", ids)
		}
	})
}

// A job retains a hundred checkpoints. A new leader reads one of them, and not on the thread that answers
// calls, so however slow the store is it is there at once.
func TestANewLeaderReadsOneCheckpoint(t *testing.T) {
	inCluster(t, time.Second, func(s *schedule, _ *submission) {
		job := &submission{graph: s.world.twoStages(1, time.Second)}
		job.graph.Checkpointing.Retained = 100
		s.jobs = append(s.jobs, job)
		s.await("the job runs", s.allAsTheyShould)
		<-time.After(2 * time.Minute)
		old := s.leader()
		old.kill()
		s.another(old)
		b := s.leader().present().backend
		b.mu.Lock()
		defer b.mu.Unlock()
		read := 0
		for path := range b.read {
			if _, _, ok := checkpointPath(path); ok && strings.Contains(path, job.graph.ID.String()) {
				read++
			}
		}
		if read == 0 || read > 5 {
			s.world.t.Errorf("%d of 100 checkpoints were read, want the newest, and those dropped since", read)
		}
	})
}

// A leader is lost in six ways. Nothing that was stored for the job goes with it: only a stored end of
// the job may delete.
func TestNoWayOfLosingTheLeaderDeletesAnything(t *testing.T) {
	for _, tc := range []struct {
		name string
		lose func(s *schedule, p *process)
	}{
		{"killed", func(s *schedule, p *process) { p.kill() }},
		{"stopped in an orderly way", func(s *schedule, p *process) { p.present().stop(); <-p.present().ended; p.present().die() }},
		{"frozen", func(s *schedule, p *process) { p.freeze() }},
		{"session expired", func(s *schedule, p *process) { s.world.ha.ExpireSession(p.name) }},
		{"cut off from the HA services", func(s *schedule, p *process) { s.world.ha.Disconnect(p.name) }},
		{"all killed", func(s *schedule, _ *process) {
			for _, p := range s.world.jobManagers {
				p.kill()
			}
			for _, p := range s.world.jobManagers {
				p.start()
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inCluster(t, 0, func(s *schedule, job *submission) {
				files, nodes := s.world.contents(), s.world.ha.Nodes()
				p := s.leader()
				tc.lose(s, p)
				<-time.After(2 * sessionTimeout)
				s.await("the job is as it should", s.allAsTheyShould)
				now := s.world.contents()
				for f, content := range files {
					if now[f] != content && !strings.Contains(f, "/leadership/") {
						t.Errorf("file %s holds %q, held %q", f, now[f], content)
					}
				}
				after := s.world.ha.Nodes()
				for path := range nodes {
					if _, there := after[path]; !there {
						t.Errorf("node %s is gone", path)
					}
				}
				if path := "jobgraphs/" + job.graph.ID.String(); after[path] != nodes[path] {
					t.Errorf("%s is %q, was %q", path, after[path], nodes[path])
				}
			})
		})
	}
}

// contents are all files, and what they hold.
func (w *world) contents() map[string]string {
	all := map[string]string{}
	for _, f := range w.files.Files() {
		content, err := w.readFile(f)
		if err != nil {
			w.t.Error(err)
		}
		all[f] = string(content)
	}
	return all
}

// A hundred short jobs run and end. What is left of them is their results.
func TestShortJobsLeaveNothing(t *testing.T) {
	inCluster(t, 0, func(s *schedule, _ *submission) {
		for i := range 100 {
			job := &submission{graph: s.world.twoStages(1, time.Duration(i%2)*time.Second)}
			s.jobs = append(s.jobs, job)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			if err := s.send(ctx, job); err != nil {
				s.world.t.Error(err)
			}
			cancel()
			if i%7 == 0 {
				job.cancelled = true
			} else {
				job.drained = true
			}
			if i%10 == 9 {
				s.await("the jobs have ended", s.allAsTheyShould)
			}
		}
		s.await("nothing is left", s.nothingLeft)
		if n := len(s.world.ha.Nodes()); n > 100+10 {
			s.world.t.Errorf("%d nodes are left of 100 jobs: %v", n, s.world.ha.Nodes())
		}
	})
}

// All JobManagers are away for nearly the orphan timeout, which is longer than every other one: slots,
// tasks and their processes stay.
func TestTasksOutliveALongTimeWithoutJobManagers(t *testing.T) {
	inCluster(t, time.Second, func(s *schedule, job *submission) {
		for _, p := range s.world.jobManagers {
			p.kill()
		}
		<-time.After(orphanTimeout - 2*heartbeatInterval)
	})
}

// The end of a TaskManager is noticed by its refused connections, not by silence.
func TestADeadTaskManagerIsNoticedAtOnce(t *testing.T) {
	inCluster(t, time.Second, func(s *schedule, job *submission) {
		s.dataPlaneFaults = true
		<-time.After(5 * time.Second)
		for _, p := range s.world.taskManagers {
			if s.world.tasks.KillProcess(job.graph.ID, id.TaskManager(p.name)) {
				p.kill()
				break
			}
		}
		killed := time.Now()
		s.await("all tasks run again", func() string {
			if n := len(s.world.tasks.Live(job.graph.ID)); n < job.tasks() {
				return "not all tasks run"
			}
			return ""
		})
		// The restart delay is a second; spare slots are there.
		if took := time.Since(killed); took > 2*heartbeatInterval {
			s.world.t.Errorf("all tasks run again after %s, want less than two heartbeat intervals", took)
		}
		if n := s.world.tasks.Count(job.graph.ID, taskmanagertest.Started); n != 2*job.tasks() {
			s.world.t.Errorf("%d tasks were started, want each twice: they are one region", n)
		}
	})
}

// A TaskManager offers a slot, the answer is lost, and the ledger names the slot when the leader dies.
// Nobody leads for longer than the slot timeout, so the TaskManager frees the slot and forgets the job.
// The next leader must not wait for it as if it had lost tasks: nothing was ever deployed, nothing failed.
func TestASlotThatTimedOutIsNotWaitedFor(t *testing.T) {
	inCluster(t, 0, func(s *schedule, _ *submission) {
		w := s.world
		killed := make(chan struct{})
		ledger := &trap{at: written, what: "put jobs/*/executions", left: 1, spring: func(*life) bool {
			for _, p := range w.jobManagers {
				p.present().crash()
			}
			close(killed)
			return true
		}}
		w.traps.put(&trap{at: answered, what: "RegisterAtJobMaster", left: 2, spring: func(*life) bool {
			w.traps.put(ledger)
			return true
		}})
		job := &submission{graph: w.twoStages(2, 0)}
		job.graph.Restart = jobgraph.Restart{Kind: jobgraph.RestartNone}
		s.jobs = append(s.jobs, job)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.send(ctx, job); err != nil {
			w.t.Fatal(err)
		}
		<-killed
		<-time.After(15 * time.Second)
		for _, p := range w.jobManagers {
			p.start()
		}
		began := time.Now()
		s.await("the job runs", s.allAsTheyShould)
		if took := time.Since(began); took > adoptionTimeout/2 {
			w.t.Errorf("the job runs after %s: somebody was waited for", took)
		}
	})
}

// cutOff cuts processes off from all TaskManagers.
func (s *schedule) cutOff(list ...*process) {
	for _, p := range list {
		s.note("cut %s off from all TaskManagers", p.name)
		for _, tm := range s.world.taskManagers {
			s.world.network.Cut(p.name, tm.name)
		}
	}
}

// terms counts how often a component was led.
func (s *schedule) terms(of haservices.Kind) (n int) {
	for _, r := range s.world.ha.Audit() {
		if r.Operation == "lead" && r.Component.Kind == of {
			n++
		}
	}
	return n
}

// The leader is cut off from all TaskManagers, but neither from the HA services nor from the other JobManagers. It
// blames itself: another process leads, and adopts what runs.
func TestALeaderThatHearsNobodyHandsOver(t *testing.T) {
	inCluster(t, time.Second, func(s *schedule, job *submission) {
		old := s.leader()
		s.cutOff(old)
		<-time.After(heartbeatTimeout - 2*heartbeatInterval)
		if l := s.leader(); l != old {
			s.world.t.Errorf("%v leads before the heartbeat timeout", l)
		}
		<-time.After(4 * heartbeatInterval)
		s.another(old)
	})
}

// There is nobody to hand over to: the same process leads again, and adopts what it can reach again by then.
func TestTheOnlyLeaderHandsOverToItself(t *testing.T) {
	inCluster(t, time.Second, func(s *schedule, job *submission) {
		leader := s.leader()
		for _, p := range s.world.jobManagers {
			if p != leader {
				p.kill()
			}
		}
		s.cutOff(leader)
		<-time.After(heartbeatTimeout + adoptionTimeout/2)
		s.world.network.HealAll()
	})
}

// Nobody reaches the TaskManagers. Who has never heard one in its term keeps leadership, so it does not go round, and
// the job is restarted when there is something to restart it on.
func TestHandingOverEnds(t *testing.T) {
	inCluster(t, time.Second, func(s *schedule, job *submission) {
		s.dataPlaneFaults = true
		s.cutOff(s.world.jobManagers...)
		<-time.After(orphanTimeout - time.Minute)
		for _, of := range []haservices.Kind{haservices.Dispatcher, haservices.ResourceManager} {
			if n := s.terms(of); n != 2 {
				s.world.t.Errorf("%d terms of the %s, want the first, and one more", n, of)
			}
		}
	})
}

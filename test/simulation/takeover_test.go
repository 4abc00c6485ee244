package simulation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/taskmanager/taskmanagertest"
)

// These lessons are about a leader that goes in the middle of something.

// catch does something to the process that reaches a moment for the nth time. The channel is closed afterwards.
func (s *schedule) catch(at moment, what string, nth int, do func(p *process)) <-chan struct{} {
	done := make(chan struct{})
	s.world.traps.put(&trap{at: at, what: what, left: nth, spring: func(l *life) bool {
		defer close(done)
		do(l.process)
		return false
	}})
	return done
}

func crash(p *process) { p.present().crash() }

// users are the TaskManagers that tasks of a job have been started at.
func (s *schedule) users(job id.Job) (list []*process) {
	at := map[string]bool{}
	for _, e := range s.world.tasks.Events(job) {
		if e.Kind == taskmanagertest.Started {
			at[string(e.TaskManager)] = true
		}
	}
	for _, p := range s.world.taskManagers {
		if at[p.name] {
			list = append(list, p)
		}
	}
	return list
}

func (s *schedule) describe(job *submission) protocol.JobDetails {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d, err := ask(ctx, s.world.client, protocol.DescribeJob, protocol.DescribeJobRequest{Job: job.graph.ID})
	if err != nil {
		s.world.t.Error(err)
	}
	return d
}

// apart cuts a TaskManager off from every JobManager.
func (s *schedule) apart(p *process) {
	for _, jm := range s.world.jobManagers {
		s.world.network.Cut(p.name, jm.name)
	}
}

// A new leader has heard of some TaskManagers and not of others, and beats its heart three times. It knows
// nothing of what is missing, so nobody may free or cancel anything.
func TestNothingIsFreedBeforeEverybodyHasReported(t *testing.T) {
	inCluster(t, 0, func(s *schedule, job *submission) {
		live := s.world.tasks.Live(job.graph.ID)
		s.apart(s.users(job.graph.ID)[0])
		s.leader().kill()
		<-time.After(3*heartbeatInterval + time.Second)
		if d := s.describe(job); d.Overview.State != protocol.JobReconciling {
			t.Errorf("the job is %s, want RECONCILING: the test did not test", d.Overview.State)
		}
		if now := s.world.tasks.Live(job.graph.ID); !slices.Equal(now, live) {
			t.Errorf("%v run, want %v", now, live)
		}
		s.world.network.HealAll()
		s.await("the job is adopted", s.allAsTheyShould)
	})
}

// A leader pauses between the decision to write and the write; another one is elected. The write comes too late
// and changes nothing.
func TestAWritePausedOverAnElectionIsRefused(t *testing.T) {
	inCluster(t, time.Second, func(s *schedule, job *submission) {
		<-time.After(3 * time.Second)
		old, component := s.leader(), haservices.JobMaster(job.graph.ID)
		<-s.catch(writing, "create jobs/*/checkpoints/*", 1, func(p *process) {
			epoch := s.world.ha.Epoch(component)
			s.world.ha.ExpireSession(p.name)
			for s.world.ha.Epoch(component) == epoch {
				<-time.After(5 * time.Millisecond)
			}
		})
		s.another(old)
		for _, r := range s.world.ha.Audit() {
			if _, _, ok := checkpointPath(r.Path); ok && r.Operation == "create" && r.Process == old.name && errors.Is(r.Err, haservices.ErrNotLeader) {
				if data, found := s.world.ha.Peek(r.Path); found {
					t.Errorf("%s holds %s", r.Path, data)
				}
				return
			}
		}
		t.Error("no write was refused: the test did not test")
	})
}

// A leader dies when some tasks have acknowledged a checkpoint. The next leader gets what was on its way, knows
// nothing of that checkpoint, and deletes nothing (the witness sees each deletion): what is stored can be restored.
func TestAnAcknowledgementThatNobodyExpectsDeletesNothing(t *testing.T) {
	inCluster(t, time.Second, func(s *schedule, job *submission) {
		<-time.After(3 * time.Second)
		for range 5 {
			old := s.leader()
			<-s.catch(arrived, "AcknowledgeCheckpoint", 3, crash)
			s.another(old)
			old.start()
		}
		s.dataPlaneFaults = true
		s.world.tasks.KillProcess(job.graph.ID, id.TaskManager(s.users(job.graph.ID)[0].name))
		<-time.After(5 * time.Second)
		s.await("the job runs again", s.allAsTheyShould)
		if d := s.describe(job); d.Checkpoints.LatestRestored == nil {
			t.Error("nothing was restored: the test did not test")
		}
	})
}

// A leader dies when a checkpoint is stored and nobody has been told. Its sinks are told by the next leader, each
// of them, or they would never commit.
func TestACheckpointThatNobodyWasToldOfIsToldByTheNextLeader(t *testing.T) {
	inCluster(t, 0, func(s *schedule, _ *submission) {
		job := &submission{graph: s.world.twoStages(2, 2*time.Second), settled: true}
		job.graph.Vertices[1].Commits = true
		s.jobs = append(s.jobs, job)
		s.await("the job runs", s.allAsTheyShould)
		old := s.leader()
		<-s.catch(written, "create jobs/*/checkpoints/*", 1, crash)
		stored, _ := s.stored(job.graph.ID)
		untold := stored[len(stored)-1]
		s.another(old)
		told := 0
		for _, e := range s.world.tasks.Events(job.graph.ID) {
			if e.Kind == taskmanagertest.Completed && e.Checkpoint == untold {
				told++
			}
		}
		if told != job.tasks() {
			t.Errorf("%d tasks were told that checkpoint %d is complete, want %d", told, untold, job.tasks())
		}
	})
}

// A leader dies around the answer to a submission. Answered means stored; not answered means that the client asks
// again, and gets one job.
func TestASubmissionIsStoredBeforeItIsAnswered(t *testing.T) {
	for _, tc := range []struct {
		name string
		at   moment
		what string
	}{
		{"just before it is stored", writing, "create jobgraphs/*"},
		{"when it is stored", written, "create jobgraphs/*"},
		{"just after the answer", handled, "SubmitJob"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inCluster(t, 0, func(s *schedule, _ *submission) {
				died := s.catch(tc.at, tc.what, 1, crash)
				job := &submission{graph: s.world.twoStages(2, time.Second)}
				s.jobs = append(s.jobs, job)
				s.await("the job runs", s.allAsTheyShould)
				<-died
				if n := s.world.tasks.Count(job.graph.ID, taskmanagertest.Started); n != job.tasks() {
					t.Errorf("%d tasks were started, want each of %d once", n, job.tasks())
				}
			})
		})
	}
}

// A job is being cancelled when its leader dies, and the next one dies when it is about to adopt what is left.
// The job ends CANCELED all the same.
func TestACancellationOutlivesItsLeaders(t *testing.T) {
	for _, tc := range []struct {
		name string
		at   moment
		what string
	}{
		{"the wish is about to be stored", writing, "put jobs/*/intent"},
		{"the wish is stored", written, "put jobs/*/intent"},
		{"some tasks have been told", sending, "CancelTasks"},
		{"the result is stored", written, "create job-results/*"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inCluster(t, time.Second, func(s *schedule, job *submission) {
				died := s.catch(tc.at, tc.what, 1, func(p *process) {
					s.catch(written, "publish */job_manager_lock", 1, crash)
					crash(p)
				})
				job.cancelled = true
				s.await("the job ends", s.allAsTheyShould)
				<-died
				s.await("nothing is left", s.nothingLeft)
			})
		})
	}
}

// The second leader dies in the middle of the adoption, when it has heard of the first TaskManager and not of the
// others. The third finds everything as it was.
func TestASecondDeathDuringTheAdoption(t *testing.T) {
	inCluster(t, time.Second, func(s *schedule, job *submission) {
		<-time.After(3 * time.Second)
		first := s.leader()
		second := s.catch(handled, "RegisterAtJobMaster", 1, crash)
		first.kill()
		<-second
		s.another(first)
		if d := s.describe(job); d.Overview.Restarts != 0 {
			t.Errorf("%d restarts", d.Overview.Restarts)
		}
	})
}

// A process loses its leadership and gets it again. Its second master finds the ResourceManager, as the first did:
// it gets slots for what a TaskManager took along.
func TestAMasterThatLeadsAgainGetsSlots(t *testing.T) {
	inCluster(t, time.Second, func(s *schedule, job *submission) {
		leader := s.leader()
		for _, p := range s.world.jobManagers {
			if p != leader {
				p.kill()
			}
		}
		s.world.ha.ExpireSession(leader.name)
		<-time.After(4 * time.Second)
		s.await("the job is adopted", func() string { return s.asItShould(job) })
		s.dataPlaneFaults = true
		s.users(job.graph.ID)[0].kill()
		<-time.After(time.Second)
		s.await("the job runs on spare slots", func() string { return s.asItShould(job) })
	})
}

// A TaskManager is cut off until its slots have been given away. When it comes back its old tasks are cancelled and
// its slots are free; those that run instead do not notice.
func TestATaskManagerThatReturnsFindsItsSlotsGivenAway(t *testing.T) {
	inCluster(t, time.Second, func(s *schedule, job *submission) {
		<-time.After(3 * time.Second)
		s.dataPlaneFaults = true
		away := s.users(job.graph.ID)[0]
		s.isolated[id.TaskManager(away.name)] = true
		s.apart(away)
		s.await("the job runs elsewhere", func() string {
			if d := s.describe(job); d.Overview.Restarts == 0 || d.Overview.Tasks[protocol.Running] < job.tasks() {
				return "not yet"
			}
			return ""
		})
		if n := len(s.world.tasks.Live(job.graph.ID)); n <= job.tasks() {
			t.Errorf("%d tasks run, want those of the TaskManager that is away, too: the test did not test", n)
		}
		started := s.world.tasks.Count(job.graph.ID, taskmanagertest.Started)
		s.world.network.HealAll()
		s.await("the old tasks are gone", s.allAsTheyShould)
		if n := s.world.tasks.Count(job.graph.ID, taskmanagertest.Started); n != started {
			t.Errorf("%d tasks were started after the return", n-started)
		}
	})
}

// All JobManagers are away for longer than the orphan timeout: then, and not before, the tasks end. The next leader
// starts them again from the latest checkpoint.
func TestOrphansExpire(t *testing.T) {
	inCluster(t, time.Second, func(s *schedule, job *submission) {
		<-time.After(10 * time.Second)
		s.dataPlaneFaults = true
		for _, p := range s.world.jobManagers {
			p.kill()
		}
		<-time.After(orphanTimeout - 2*heartbeatInterval)
		if n := len(s.world.tasks.Live(job.graph.ID)); n != job.tasks() {
			t.Errorf("%d tasks run shortly before the orphan timeout, want %d", n, job.tasks())
		}
		<-time.After(4 * heartbeatInterval)
		if n := s.world.tasks.Processes(job.graph.ID); n != 0 {
			t.Errorf("%d processes run after the orphan timeout", n)
		}
		for _, p := range s.world.jobManagers {
			p.start()
		}
		s.await("the job runs again", s.allAsTheyShould)
		if d := s.describe(job); d.Checkpoints.LatestRestored == nil || d.Overview.Restarts == 0 {
			t.Errorf("%d restarts, restored %v; want a restart from a checkpoint", d.Overview.Restarts, d.Checkpoints.LatestRestored)
		}
	})
}

// The store that a new leader of a job reads is slow. Nobody else waits for that: questions to the Dispatcher are
// answered meanwhile.
func TestASlowStoreKeepsNobodyWaiting(t *testing.T) {
	inCluster(t, time.Second, func(s *schedule, job *submission) {
		<-time.After(3 * time.Second)
		s.world.slow.Store(func(path string) time.Duration {
			if strings.HasPrefix(path, "jobs/") {
				return 5 * time.Second
			}
			return 0
		})
		defer s.world.slow.Store(func(string) time.Duration { return 0 })
		old := s.leader()
		old.kill()
		s.await("another Dispatcher is known", func() string {
			if l := s.world.client.leader(haservices.Dispatcher); l.IsEmpty() || strings.Contains(l.Address, old.name) {
				return "not yet"
			}
			return ""
		})
		for range 10 {
			asked := time.Now()
			if d := s.describe(job); d.Overview.State == protocol.JobRunning {
				t.Error("the job runs already: the test did not test")
			}
			if took := time.Since(asked); took > 100*time.Millisecond {
				t.Errorf("an answer took %s", took)
			}
		}
	})
}

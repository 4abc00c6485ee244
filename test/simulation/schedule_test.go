package simulation

import (
	"context"
	"fmt"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// schedule is a world and what is done to it.
type schedule struct {
	world *world
	jobs  []*submission
	// taskManagerFaults: TaskManagers and job processes die too, so tasks may restart.
	taskManagerFaults bool
	// passing faults, which end by themselves.
	passing []passing
	trace   []string
}

// passing is a fault that ends at a given time.
type passing struct {
	until time.Time
	end   func()
}

// Faults that a cluster has to bear without restarting a task last shorter than the timeouts that tell
// a lost TaskManager from a slow one: heartbeat.timeout (60 s here) for links between processes, and
// jobmaster.adoption-timeout (30 s) for a TaskManager that cannot hear of a new leader.
const (
	longestCut  = 25 * time.Second
	longestDeaf = 12 * time.Second
)

func (s *schedule) note(format string, args ...any) {
	s.trace = append(s.trace, time.Now().Format("15:04:05.000")+" "+fmt.Sprintf(format, args...))
}

// print shows the schedule, and the log when one seed is replayed.
func (s *schedule) print() {
	for _, line := range s.trace {
		s.world.t.Log(line)
	}
	if *seed < 0 {
		return
	}
	for _, e := range s.world.logs.All() {
		s.world.t.Logf("%s %-5s %s %v", e.Time.Format("15:04:05.000"), e.Level, e.Message, e.ContextMap())
	}
	for _, e := range s.world.tasks.Events(id.Job{}) {
		s.world.t.Log(e)
	}
}

// step does one thing and waits a moment.
func (s *schedule) step() {
	s.endPassing()
	faults := []func(){
		s.killJobManager, s.killJobManager, s.startJobManager, s.startJobManager,
		s.freezeJobManager, s.expireJobManager, s.expireTaskManager,
		s.disconnectJobManager, s.disconnectTaskManager, s.cut, s.cut,
		s.submit, s.drain, s.cancel,
	}
	if s.taskManagerFaults {
		faults = append(faults, s.killTaskManager, s.killTaskManager, s.killProcess)
	}
	faults[s.world.rand.IntN(len(faults))]()
	// Often at once, so that faults fall into the middle of a take-over.
	pauses := []time.Duration{0, 5 * time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second, 8 * time.Second}
	<-time.After(pauses[s.world.rand.IntN(len(pauses))])
}

func (s *schedule) endPassing() {
	var rest []passing
	for _, p := range s.passing {
		if time.Now().Before(p.until) {
			rest = append(rest, p)
		} else {
			p.end()
		}
	}
	s.passing = rest
}

func (s *schedule) pass(most time.Duration, end func()) {
	s.passing = append(s.passing, passing{time.Now().Add(time.Duration(s.world.rand.Int64N(int64(most - 8*time.Second)))), end})
}

func (s *schedule) any(of []*process) *process { return of[s.world.rand.IntN(len(of))] }

func (s *schedule) killJobManager() {
	p := s.any(s.world.jobManagers)
	s.note("kill %s", p.name)
	s.world.kill(p)
}

func (s *schedule) startJobManager() {
	for _, p := range s.world.jobManagers {
		if !p.alive() {
			s.note("start %s", p.name)
			s.world.start(p)
			return
		}
	}
}

func (s *schedule) freezeJobManager() {
	p := s.any(s.world.jobManagers)
	s.note("freeze %s", p.name)
	s.world.freeze(p)
	s.pass(longestCut, func() { s.note("thaw %s", p.name); s.world.thaw(p) })
}

func (s *schedule) expireJobManager() {
	p := s.any(s.world.jobManagers)
	s.note("expire the session of %s", p.name)
	s.world.ha.ExpireSession(p.name)
}

func (s *schedule) expireTaskManager() {
	p := s.any(s.world.taskManagers)
	s.note("expire the session of %s", p.name)
	s.world.ha.ExpireSession(p.name)
}

func (s *schedule) disconnectJobManager() { s.disconnect(s.any(s.world.jobManagers), longestCut) }

func (s *schedule) disconnectTaskManager() { s.disconnect(s.any(s.world.taskManagers), longestDeaf) }

func (s *schedule) disconnect(p *process, most time.Duration) {
	s.note("cut %s off from the HA services", p.name)
	s.world.ha.Disconnect(p.name)
	s.pass(most, func() { s.note("connect %s with the HA services", p.name); s.world.ha.Reconnect(p.name) })
}

func (s *schedule) cut() {
	a, b := s.any(s.world.jobManagers), s.any(s.world.all())
	if a == b {
		return
	}
	s.note("cut %s from %s", a.name, b.name)
	s.world.network.Cut(a.name, b.name)
	s.pass(longestCut, func() { s.note("heal %s and %s", a.name, b.name); s.world.network.Heal(a.name, b.name) })
}

func (s *schedule) killTaskManager() {
	p := s.any(s.world.taskManagers)
	if p.alive() {
		s.note("kill %s", p.name)
		s.world.kill(p)
		s.pass(longestCut, func() {
			if !p.alive() {
				s.note("start %s", p.name)
				s.world.start(p)
			}
		})
	}
}

func (s *schedule) killProcess() {
	if job := s.running(); job != nil {
		p := s.any(s.world.taskManagers)
		if s.world.tasks.KillProcess(job.graph.ID, id.TaskManager(p.name)) {
			s.note("kill the process of job %s at %s", job.graph.ID, p.name)
		}
	}
}

// submit sends a job in the background of the faults; when nobody acknowledges it in time it is sent
// again after the healing.
func (s *schedule) submit() {
	free := slots * taskManagers
	for _, job := range s.jobs {
		if !job.drained && !job.cancelled {
			free -= job.graph.Slots()
		}
	}
	job := &submission{graph: s.world.graph()}
	if job.graph.Slots() > free-slots { // one TaskManager may be missing
		return
	}
	s.note("submit job %s: %d vertices, parallelism %d, checkpoints every %s",
		job.graph.ID, len(job.graph.Vertices), job.graph.DefaultParallelism, job.graph.Checkpointing.Interval)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.send(ctx, job); err != nil {
		s.note("submit: %v", err)
	}
	s.jobs = append(s.jobs, job)
}

// running is a job that nobody has ended, or nil.
func (s *schedule) running() *submission {
	for _, i := range s.world.rand.Perm(len(s.jobs)) {
		if job := s.jobs[i]; job.acknowledged && !job.drained && !job.cancelled {
			return job
		}
	}
	return nil
}

func (s *schedule) drain() {
	if job := s.running(); job != nil && s.world.rand.IntN(2) == 0 {
		s.note("end the input of job %s", job.graph.ID)
		job.drained = true
		s.world.tasks.Drain(job.graph.ID)
	}
}

func (s *schedule) cancel() {
	job := s.running()
	if job == nil || s.world.rand.IntN(2) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := ask(ctx, s.world.client, protocol.CancelJob, protocol.CancelJobRequest{Job: job.graph.ID})
	s.note("cancel job %s: %v", job.graph.ID, err)
	if err != nil {
		// Whether it was cancelled nobody knows: only asking on settles it.
		ctx, stop := context.WithTimeout(context.Background(), settleTimeout)
		defer stop()
		s.note("heal, to cancel")
		s.world.heal()
		s.passing = nil
		if _, err = ask(ctx, s.world.client, protocol.CancelJob, protocol.CancelJobRequest{Job: job.graph.ID}); err != nil {
			s.world.t.Errorf("cancel job %s: %v", job.graph.ID, err)
		}
		s.world.chance.pause(false)
	}
	job.cancelled = true
}

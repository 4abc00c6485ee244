package simulation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// schedule is a world and what is done to it.
type schedule struct {
	world *world
	jobs  []*submission
	// dataPlaneFaults: TaskManagers and job processes die too, so tasks may restart.
	dataPlaneFaults bool
	// isolated are the TaskManagers that were cut off for longer than anybody waits for them: their tasks may
	// go on beside those that replaced them.
	isolated map[id.TaskManager]bool
	// passing faults, which end by themselves.
	passing []*passing
	// troubleSince is when the present trouble began, calmFrom when it will be over.
	troubleSince, calmFrom time.Time

	traceMu sync.Mutex // guards trace
	trace   []string
}

func newSchedule(w *world) *schedule {
	return &schedule{world: w, isolated: map[id.TaskManager]bool{}}
}

// passing is a fault that ends at a given time, or when the world is healed.
type passing struct {
	timer *time.Timer
	end   func()
}

// Faults that a cluster has to bear without restarting a task last shorter than the timeouts that tell
// a lost TaskManager from a slow one: heartbeat.timeout (60 s here) for links between processes, and
// jobmaster.adoption-timeout (30 s) for a TaskManager that cannot get to a new leader. Faults that follow
// each other closely, or overlap, count as one: together they last no longer than longestTrouble, and after
// that there is calm in which everybody has tried once more. (A frozen process's clock goes on here, so for
// its timeouts a freeze is like a cut.)
const (
	longestCut     = 20 * time.Second
	longestDeaf    = 15 * time.Second
	longestTrouble = 20 * time.Second
	calm           = 9 * time.Second
)

func (s *schedule) note(format string, args ...any) {
	s.traceMu.Lock()
	defer s.traceMu.Unlock()
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
	faults := []func(){
		s.killJobManager, s.killJobManager, s.startJobManager, s.startJobManager,
		s.freezeJobManager, s.freezeTaskManager, s.expireJobManager, s.expireTaskManager,
		s.disconnectJobManager, s.disconnectTaskManager, s.cut, s.cut,
		s.submit, s.submitAgain, s.drain, s.cancel,
	}
	for range len(faults) / 2 {
		faults = append(faults, s.drill)
	}
	if s.dataPlaneFaults {
		faults = append(faults, s.killTaskManager, s.killTaskManager, s.killProcess, s.killProcess, s.cutPower, s.isolateTaskManager)
	}
	faults[s.world.rand.IntN(len(faults))]()
	// Often at once, so that faults fall into the middle of a take-over.
	pauses := []time.Duration{0, 5 * time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second, 8 * time.Second}
	<-time.After(pauses[s.world.rand.IntN(len(pauses))])
}

// pass lets a fault end after a random time.
func (s *schedule) pass(most time.Duration, end func()) {
	now := time.Now()
	if now.Sub(s.calmFrom) >= calm {
		s.troubleSince = now
	}
	left := max(longestTrouble-now.Sub(s.troubleSince), 10*time.Millisecond)
	lasts := min(time.Duration(s.world.rand.Int64N(int64(most))), left)
	if over := now.Add(lasts); over.After(s.calmFrom) {
		s.calmFrom = over
	}
	p := &passing{end: sync.OnceFunc(end)}
	p.timer = time.AfterFunc(lasts, p.end)
	s.passing = append(s.passing, p)
}

// heal ends every fault.
func (s *schedule) heal() {
	s.note("heal")
	for _, p := range s.passing {
		p.timer.Stop()
		p.end()
	}
	s.passing = nil
	s.world.heal()
}

func (s *schedule) any(of []*process) *process { return of[s.world.rand.IntN(len(of))] }

// leader is the JobManager whose Dispatcher leads, and so runs the jobs, or nil.
func (s *schedule) leader() *process {
	for _, p := range s.world.jobManagers {
		if p.alive() && p.present().backend.leads() {
			return p
		}
	}
	return nil
}

// victim is a JobManager, mostly the leader.
func (s *schedule) victim() *process {
	p := s.any(s.world.jobManagers)
	if s.world.rand.IntN(3) > 0 {
		if leader := s.leader(); leader != nil {
			return leader
		}
	}
	return p
}

func (s *schedule) killJobManager() {
	p := s.victim()
	s.note("kill %s", p.name)
	p.kill()
}

func (s *schedule) startJobManager() {
	for _, p := range s.world.jobManagers {
		if !p.alive() {
			s.note("start %s", p.name)
			p.start()
			return
		}
	}
}

func (s *schedule) freezeJobManager() { s.freeze(s.victim(), longestCut) }

func (s *schedule) freezeTaskManager() { s.freeze(s.any(s.world.taskManagers), longestDeaf) }

func (s *schedule) freeze(p *process, most time.Duration) {
	s.note("freeze %s", p.name)
	p.freeze()
	s.thawLater(p, most)
}

func (s *schedule) thawLater(p *process, most time.Duration) {
	unaware := time.Duration(s.world.rand.IntN(2)) * time.Duration(s.world.rand.Int64N(int64(2*time.Second)))
	s.pass(most, func() { s.note("thaw %s", p.name); p.thaw(unaware) })
}

func (s *schedule) expireJobManager() {
	p := s.victim()
	s.note("expire the session of %s", p.name)
	s.world.ha.ExpireSession(p.name)
}

func (s *schedule) expireTaskManager() {
	p := s.any(s.world.taskManagers)
	s.note("expire the session of %s", p.name)
	s.world.ha.ExpireSession(p.name)
}

func (s *schedule) disconnectJobManager() { s.disconnect(s.victim(), longestCut) }

func (s *schedule) disconnectTaskManager() { s.disconnect(s.any(s.world.taskManagers), longestDeaf) }

func (s *schedule) disconnect(p *process, most time.Duration) {
	s.note("cut %s off from the HA services", p.name)
	s.world.ha.Disconnect(p.name)
	s.reconnectLater(p, most)
}

func (s *schedule) reconnectLater(p *process, most time.Duration) {
	s.pass(most, func() { s.note("connect %s with the HA services", p.name); s.world.ha.Reconnect(p.name) })
}

func (s *schedule) cut() {
	a, b := s.victim(), s.any(s.world.all())
	if a == b {
		return
	}
	s.note("cut %s from %s", a.name, b.name)
	s.world.network.Cut(a.name, b.name)
	s.pass(longestCut, func() { s.note("heal %s and %s", a.name, b.name); s.world.network.Heal(a.name, b.name) })
}

func (s *schedule) killTaskManager() {
	p := s.any(s.world.taskManagers)
	if !p.alive() {
		return
	}
	s.note("kill %s", p.name)
	p.kill()
	if s.world.rand.IntN(2) == 0 {
		s.note("start %s", p.name)
		p.start()
	}
}

func (s *schedule) killProcess() {
	if job := s.running(); job != nil {
		s.killProcessOf(job)
	}
}

func (s *schedule) killProcessOf(job *submission) {
	// At one of the TaskManagers that have one.
	for _, i := range s.world.rand.Perm(len(s.world.taskManagers)) {
		p := s.world.taskManagers[i]
		if s.world.tasks.KillProcess(job.graph.ID, id.TaskManager(p.name)) {
			s.note("kill the process of job %s at %s", job.graph.ID, p.name)
			return
		}
	}
}

// cutPower ends everything at one instant; what was not synced is lost. Then all start again.
func (s *schedule) cutPower() {
	s.note("power cut")
	for _, p := range s.world.all() {
		p.present().crash()
	}
	for _, p := range s.world.all() {
		<-p.present().ended
	}
	s.world.files.Crash()
	<-time.After(time.Duration(s.world.rand.Int64N(int64(time.Minute))))
	s.note("power is back")
	for _, i := range s.world.rand.Perm(len(s.world.all())) {
		s.world.all()[i].start()
	}
}

// isolateTaskManager cuts a TaskManager off from every JobManager, for so long that its slots are given away,
// or even until its tasks expire as orphans. It does not know, and comes back with what it had.
func (s *schedule) isolateTaskManager() {
	p := s.any(s.world.taskManagers)
	most := []time.Duration{heartbeatTimeout, orphanTimeout}[s.world.rand.IntN(2)]
	lasts := heartbeatTimeout + time.Duration(s.world.rand.Int64N(int64(most)))
	s.note("isolate %s for %s", p.name, lasts)
	s.isolated[id.TaskManager(p.name)] = true
	for _, jm := range s.world.jobManagers {
		s.world.network.Cut(p.name, jm.name)
	}
	<-time.After(lasts)
	s.note("heal %s", p.name)
	for _, jm := range s.world.jobManagers {
		s.world.network.Heal(p.name, jm.name)
	}
}

// blackout ends all JobManagers of a healthy cluster for a time that is shorter than the orphan timeout, or,
// where tasks may restart, perhaps longer.
func (s *schedule) blackout() {
	s.heal()
	s.await("every job is as it should before the blackout", s.allAsTheyShould)
	for _, p := range s.world.jobManagers {
		p.kill()
	}
	most := orphanTimeout - 10*time.Second
	if s.dataPlaneFaults {
		most *= 2
	}
	dark := time.Duration(s.world.rand.Int64N(int64(most)))
	s.note("no JobManager for %s", dark)
	<-time.After(dark)
	s.note("start all JobManagers")
	for _, p := range s.world.jobManagers {
		p.start()
	}
	s.world.chance.pause(false)
}

// submit sends a job in the background of the faults; when nobody acknowledges it in time it is sent
// again after the healing.
func (s *schedule) submit() {
	free := slots * taskManagers
	for _, job := range s.jobs {
		if !job.ends() {
			free -= job.graph.Slots()
		}
	}
	job := &submission{graph: s.world.graph()}
	if job.graph.Slots() > free-slots { // one TaskManager may be missing
		return
	}
	s.note("submit job %s: %d vertices, parallelism %d, checkpoints every %s",
		job.graph.ID, len(job.graph.Vertices), job.graph.DefaultParallelism, job.graph.Checkpointing.Interval)
	s.jobs = append(s.jobs, job)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.send(ctx, job); err != nil {
		s.note("submit: %v", err)
	}
}

// submitAgain sends a job that is known, or has ended, once more: it changes nothing.
func (s *schedule) submitAgain() {
	var known []*submission
	for _, job := range s.jobs {
		if job.acknowledged {
			known = append(known, job)
		}
	}
	if len(known) == 0 {
		return
	}
	job := known[s.world.rand.IntN(len(known))]
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := ask(ctx, s.world.client, protocol.SubmitJob, protocol.SubmitJobRequest{Graph: job.graph})
	s.note("submit job %s again: %v", job.graph.ID, err)
}

// running is a job that nobody has ended, or nil.
func (s *schedule) running() *submission {
	for _, i := range s.world.rand.Perm(len(s.jobs)) {
		if job := s.jobs[i]; job.acknowledged && !job.ends() {
			return job
		}
	}
	return nil
}

func (s *schedule) drain() {
	if job := s.running(); job != nil {
		s.drainJob(job)
	}
}

func (s *schedule) drainJob(job *submission) {
	s.note("end the input of job %s", job.graph.ID)
	job.drained = true
	s.world.tasks.Drain(job.graph.ID)
}

func (s *schedule) cancel() {
	job := s.running()
	if job == nil {
		return
	}
	s.note("cancel job %s", job.graph.ID)
	// An answer that is lost does not say whether it is cancelled: so whatever comes, it is asked for until
	// it is.
	job.cancelled = true
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s.sendCancel(ctx, job)
}

func (s *schedule) sendCancel(ctx context.Context, job *submission) {
	_, err := ask(ctx, s.world.client, protocol.CancelJob, protocol.CancelJobRequest{Job: job.graph.ID})
	if err != nil {
		s.note("cancel: %v", err)
	}
	job.cancelAnswered = err == nil || errors.Is(err, protocol.ErrJobEnded)
}

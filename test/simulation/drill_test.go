package simulation

import "time"

// drill is a fault at a precise moment of something that the cluster does.
type drill struct {
	name string
	at   moment
	what string
	// often is how many times the moment may pass before the fault: one to that many, at random.
	often int
	// begin makes the cluster do it; nil when it does so by itself.
	begin func(s *schedule)
}

// drills lists the moments at which a fault hurts most.
var drills = []drill{
	{"a job is stored, and nobody knows", written, "create jobgraphs/*", 1, (*schedule).submit},
	{"a job is about to be stored", writing, "create jobgraphs/*", 1, (*schedule).submit},
	{"a submission is answered", handled, "SubmitJob", 1, (*schedule).submit},
	{"a leader of the job comes up", written, "publish */job_manager_lock", 1, (*schedule).submit},
	{"slots are leased", handled, "RequestSlot", 3, (*schedule).submit},
	{"slots are offered", handled, "OfferSlots", 3, (*schedule).submit},
	{"the ledger is written, and nothing is deployed", written, "put jobs/*/executions", 1, (*schedule).submit},
	{"the ledger is about to be written", writing, "put jobs/*/executions", 1, (*schedule).submit},
	{"job processes are prepared", answered, "PrepareJob", 3, (*schedule).submit},
	{"a wave is being deployed", sending, "DeployTasks", 3, (*schedule).submit},
	{"a wave is being deployed", handled, "DeployTasks", 3, (*schedule).submit},
	{"tasks report that they run", arrived, "TaskStateChanged", 5, (*schedule).submit},

	{"a checkpoint gets its number", written, "* jobs/*/checkpoint_id_counter", 2, nil},
	{"a checkpoint is triggered", sending, "TriggerCheckpoint", 3, nil},
	{"a checkpoint is triggered", handled, "TriggerCheckpoint", 3, nil},
	{"a checkpoint is acknowledged", arrived, "AcknowledgeCheckpoint", 6, nil},
	{"a checkpoint is about to be stored", writing, "create jobs/*/checkpoints/*", 2, nil},
	{"a checkpoint is stored, and no task knows", written, "create jobs/*/checkpoints/*", 2, nil},
	{"tasks are told of a complete checkpoint", sending, "CompleteCheckpoint", 3, nil},
	{"an old checkpoint is dropped", written, "delete jobs/*/checkpoints/*", 1, nil},

	{"a job is about to be cancelled", writing, "put jobs/*/intent", 1, (*schedule).cancel},
	{"the wish to cancel is stored", written, "put jobs/*/intent", 1, (*schedule).cancel},
	{"tasks are cancelled", sending, "CancelTasks", 3, (*schedule).cancel},
	{"the end of a task is told", sending, "TaskStateChanged", 3, (*schedule).cancel},
	{"the result of a cancelled job is stored", written, "create job-results/*", 1, (*schedule).cancel},
	{"TaskManagers let go of a cancelled job", sending, "ReleaseJob", 3, (*schedule).cancel},
	{"the graph of an ended job is removed", written, "delete jobgraphs/*", 1, (*schedule).cancel},
	{"the nodes of an ended job are removed", written, "delete jobs/*", 1, (*schedule).cancel},
	{"the latch of an ended job is removed", written, "delete leaderlatch/*", 1, (*schedule).cancel},
	{"a result is clean", written, "set job-results/*", 1, (*schedule).cancel},

	{"the final commit is about to begin", writing, "put jobs/*/intent", 1, (*schedule).drain},
	{"the final commit begins", written, "put jobs/*/intent", 1, (*schedule).drain},
	{"tasks commit", sending, "FinishTasks", 3, (*schedule).drain},
	{"tasks have committed", handled, "FinishTasks", 3, (*schedule).drain},
	{"the end of a task is told", sending, "TaskStateChanged", 6, (*schedule).drain},
	{"the result of a finished job is stored", written, "create job-results/*", 1, (*schedule).drain},
	{"TaskManagers let go of a finished job", sending, "ReleaseJob", 3, (*schedule).drain},
	{"the resource manager hears of the end", sending, "DisconnectJobMaster", 1, (*schedule).drain},

	{"a new dispatcher reads what it finds", writing, "publish dispatcher_lock", 1, (*schedule).killJobManager},
	{"a new resource manager leads", written, "publish resource_manager_lock", 1, (*schedule).killJobManager},
	{"a new job master is published", written, "publish */job_manager_lock", 2, (*schedule).killJobManager},
	{"a job is being adopted", arrived, "RegisterAtJobMaster", 4, (*schedule).killJobManager},
	{"a job is being adopted", handled, "RegisterAtJobMaster", 4, (*schedule).killJobManager},
	{"a job was adopted", writing, "put jobs/*/executions", 2, (*schedule).killJobManager},
	{"a job was adopted", written, "put jobs/*/executions", 2, (*schedule).killJobManager},
	{"adopted tasks hear of checkpoints", sending, "CompleteCheckpoint", 3, (*schedule).killJobManager},
	{"adopted tasks hear of checkpoints", sending, "AbortCheckpoint", 2, (*schedule).killJobManager},
	{"TaskManagers register with a new leader", handled, "RegisterTaskManager", 3, (*schedule).killJobManager},
	{"job masters register with a new leader", handled, "RegisterJobMaster", 2, (*schedule).killJobManager},
}

// restartDrills are those that take tasks that restart.
var restartDrills = []drill{
	{"what is left of a region is cancelled", sending, "CancelTasks", 2, (*schedule).killProcess},
	{"a region restarts", writing, "put jobs/*/executions", 1, (*schedule).killProcess},
	{"a region restarts", written, "put jobs/*/executions", 1, (*schedule).killProcess},
	{"a region is being deployed", handled, "DeployTasks", 2, (*schedule).killProcess},
	{"a TaskManager is missing", written, "put jobs/*/executions", 1, (*schedule).killTaskManager},
	{"a failure is told", arrived, "TaskStateChanged", 1, (*schedule).killProcess},
	{"the final commit is taken back", written, "delete jobs/*/intent", 1, (*schedule).killWhileFinishing},
	{"a checkpoint is being stored", writing, "create jobs/*/checkpoints/*", 1, (*schedule).killProcess},
}

// drill sets a trap for a JobManager, makes the cluster run into it, and goes on when it did, or did not.
func (s *schedule) drill() {
	list := drills
	if s.dataPlaneFaults {
		list = append(list[:len(list):len(list)], restartDrills...)
	}
	d := list[s.world.rand.IntN(len(list))]
	fault := s.fault()
	caught := make(chan *process, 1) // room for the one
	t := &trap{at: d.at, what: d.what, left: 1 + s.world.rand.IntN(d.often)}
	t.spring = func(l *life) bool {
		p := l.process
		if p.isTaskManager() { // it got a message: the sender is meant
			p = s.leader()
		}
		if p != nil {
			s.note("%s (%s %s): %s %s", d.name, d.at, d.what, fault.name, p.name)
			fault.begin(p)
			caught <- p
		}
		return fault.loses
	}
	s.note("drill: %s", d.name)
	s.world.traps.put(t)
	if d.begin != nil {
		d.begin(s)
	}
	wait := time.NewTimer(6 * time.Second)
	defer wait.Stop()
	select {
	case p := <-caught:
		drillsDone.Add(1)
		if fault.end != nil {
			fault.end(p)
		}
	case <-wait.C:
		s.world.traps.clear()
	}
}

// fault is what a trap does to the process that it catches; it may not wait.
type fault struct {
	name  string
	begin func(p *process)
	end   func(p *process) // plans the end, on the schedule's goroutine; may be nil
	// loses the message, or the answer to the write, at which the trap is set.
	loses bool
}

func (s *schedule) fault() fault {
	w := s.world
	expire := func(p *process) { w.ha.ExpireSession(p.name) }
	kill := fault{name: "kill", begin: func(p *process) { p.present().crash() }}
	faults := []fault{
		kill, kill, kill,
		{name: "freeze", begin: (*process).freeze, end: func(p *process) { s.thawLater(p, longestCut) }},
		{name: "expire the session of", begin: expire},
		{name: "lose it, and expire the session of", begin: expire, loses: true},
		{name: "lose it, and leave alone", begin: func(*process) {}, loses: true},
		{name: "cut off from the HA services", begin: func(p *process) { w.ha.Disconnect(p.name) },
			end: func(p *process) { s.reconnectLater(p, longestCut) }},
	}
	return faults[w.rand.IntN(len(faults))]
}

// killWhileFinishing ends the input of a job, and kills one of its processes when it is about to commit.
func (s *schedule) killWhileFinishing() {
	job := s.running()
	if job == nil {
		return
	}
	s.drainJob(job)
	<-time.After(time.Duration(s.world.rand.Int64N(int64(200 * time.Millisecond))))
	s.killProcessOf(job)
}

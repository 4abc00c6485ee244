package main

// adoption: a new leader disturbs nothing.
var adoption = []mutant{
	{
		name: "ledger written late", breaks: "the ledger names what runs before it runs",
		file: "pkg/jobmaster/perform.go",
		old:  `func(now time.Time) []action { return t.schedule.ledgerWritten(now, a.ledger.Wave) })`,
		new: `func(now time.Time) []action { return nil })
		return t.schedule.ledgerWritten(time.Now(), a.ledger.Wave)`,
		tests: []test{simulation(20)},
	},
	{
		name: "intent stored late", breaks: "what the job is about to do is stored before it is done",
		file:  "pkg/jobmaster/goal.go",
		old:   `s.goal.stored && !s.goal.told &&`,
		new:   `!s.goal.told &&`,
		tests: []test{simulation(200), unit("jobmaster", "TestSchedule")},
	},
	{
		name: "rejects slots while reconciling", breaks: "a new leader frees no slot that it does not know",
		file:  "pkg/jobmaster/adoption.go",
		old:   `if s.slots.find(a) == nil && s.adopting == nil && !s.slots.wants() {`,
		new:   `if s.slots.find(a) == nil && (s.adopting != nil || !s.slots.wants()) {`,
		tests: []test{simulation(20), unit("jobmaster", "TestSchedule")},
	},
	{
		name: "rejects surplus slots while reconciling", breaks: "a new leader frees no slot that it does not know",
		file:  "pkg/jobmaster/adoption.go",
		old:   `if s.slots.find(a) == nil && s.adopting == nil && !s.slots.wants() {`,
		new:   `if s.slots.find(a) == nil && !s.slots.wants() {`,
		tests: []test{unit("jobmaster", "TestSchedule")},
	},
	{
		name: "cancels what it does not know while reconciling", breaks: "a new leader cancels no task that it does not know",
		file:  "pkg/jobmaster/adoption.go",
		old:   "s.adopting.stale[m] = stale\n\t} else {\n\t\ta.cancel = stale\n\t}",
		new:   "}\n\ta.cancel = stale",
		tests: []test{unit("jobmaster", "TestSchedule")},
	},
	{
		name: "heartbeats free what is not listed while reconciling", breaks: "no destructive reconciliation until adoption is over",
		file:  "pkg/jobmaster/report.go",
		old:   "if s.adopting != nil {\n\t\treturn s.advance(now)\n\t}\n\tlisted",
		new:   "if s.adopting != nil {\n\t\tfor _, e := range s.executions {\n\t\t\tif e.state == protocol.Reconciling {\n\t\t\t\te.state = protocol.Canceled\n\t\t\t}\n\t\t}\n\t}\n\tlisted",
		tests: []test{simulation(300), unit("jobmaster", "TestSchedule")},
	},
	{
		name: "waits for who has nothing", breaks: "who freed its slots before the deployment is not to blame",
		file:  "pkg/jobmaster/session.go",
		old:   "if errors.Is(err, protocol.ErrUnknownJob) {\n\t\t\t\tt.post",
		new:   "if errors.Is(err, protocol.ErrInvalidJob) {\n\t\t\t\tt.post",
		tests: []test{lesson("TestASlotThatTimedOutIsNotWaitedFor")},
	},
	{
		name: "no adoption time", breaks: "TaskManagers have time to report to a new leader",
		file:  "pkg/jobmaster/adoption.go",
		old:   `began: now, deadline: now.Add(s.cfg.adoptionTimeout), stale: map[member][]attemptID{},`,
		new:   `began: now, deadline: now, stale: map[member][]attemptID{},`,
		tests: []test{simulation(10), unit("jobmaster", "TestKilledLeaderIsANonEvent"), lesson("TestNothingIsFreedBeforeEverybodyHasReported")},
	},
	{
		name: "tasks fail with their master", breaks: "tasks run on without a master",
		file:  "pkg/taskmanager/session.go",
		old:   `j.attachment.lost(token)`,
		new:   `j.expire()`,
		tests: []test{simulation(10), unit("taskmanager", "TestTasksSurviveTheDeathOfTheirMaster")},
	},
	{
		name: "slot timeout for orphans", breaks: "slots of an orphaned job stay",
		file:  "pkg/taskmanager/job.go",
		old:   `timeout := max(tm.cfg.OrphanTimeout, 0)`,
		new:   `timeout := tm.cfg.SlotTimeout`,
		tests: []test{simulation(100), unit("taskmanager", "TestTasksSurviveTheDeathOfTheirMaster")},
	},
	{
		name: "accepted slots time out", breaks: "only a JobMaster, or the job's expiry, frees a slot that was taken",
		file:  "pkg/taskmanager/slots.go",
		old:   `if !s.Allocation.IsZero() && !s.accepted && now.Sub(s.leased) >= timeout {`,
		new:   `if !s.Allocation.IsZero() && now.Sub(s.leased) >= timeout {`,
		tests: []test{simulation(10), unit("taskmanager", "TestTasksSurviveTheDeathOfTheirMaster")},
	},
	{
		name: "orphan timeout halved", breaks: "all JobManagers may be away for the orphan timeout",
		file:  "pkg/taskmanager/job.go",
		old:   `timeout := max(tm.cfg.OrphanTimeout, 0)`,
		new:   `timeout := max(tm.cfg.OrphanTimeout/2, 0)`,
		tests: []test{simulation(200), unit("taskmanager", "TestOrphanTimeout"), lesson("TestOrphansExpire")},
	},
	{
		name: "completion not told again", breaks: "a new leader tells again which checkpoint is complete",
		file:  "pkg/jobmaster/perform.go",
		old:   `t.tellComplete(done, a.attempts)`,
		new:   `_ = a.attempts`,
		tests: []test{simulation(200), unit("jobmaster", "TestKilledLeaderIsANonEvent"), lesson("TestACheckpointThatNobodyWasToldOfIsToldByTheNextLeader")},
	},
	{
		name: "checkpoints in progress not given up", breaks: "tasks are told which checkpoints never will be complete",
		file:  "pkg/jobmaster/perform.go",
		old:   `if t.lastID > done {`,
		new:   `if t.lastID < 0 {`,
		tests: []test{unit("jobmaster", "TestKilledDuringACheckpoint")},
	},
	{
		name: "acknowledgement deletes unknown state", breaks: "no state of an unknown checkpoint is deleted",
		file: "pkg/jobmaster/calls.go",
		old:  `t.perform(t.coordinate(t.coordinator.Acknowledge(now, r)))`,
		new: `if done := t.coordinator.Latest(); done != nil && done.ID < r.Checkpoint && r.Checkpoint <= t.lastID {
		next := *done // of which the sweep takes all before it, also the unknown one
		next.ID = r.Checkpoint + 1
		next.Path = fmt.Sprintf("%s%d", done.Path[:len(done.Path)-len(fmt.Sprint(done.ID))], next.ID)
		t.group.Go(func() error { _ = t.jm.checkpoints.Subsume(t.ctx, t.token, &next, 1000); return nil })
	}
	t.perform(t.coordinate(t.coordinator.Acknowledge(now, r)))`,
		tests: []test{simulation(200), lesson("TestAnAcknowledgementThatNobodyExpectsDeletesNothing")},
	},
	{
		name: "a leader that is cut off blames others", breaks: "tasks run on when the leader is cut off from all TaskManagers",
		file:  "pkg/rpc/followers.go",
		old:   `return now.Sub(f.heard) >= timeout/2`,
		new:   `return false`,
		tests: []test{lesson("TestALeaderThatHearsNobodyHandsOver")},
	},
	{
		name: "slots of tasks time out", breaks: "a slot with tasks is nobody else's",
		file:  "pkg/taskmanager/job.go",
		old:   `j.tm.slots.accept(j.id, []id.Allocation{task.Allocation})`,
		new:   `_ = task`,
		tests: []test{unit("taskmanager", "TestSlotsOfTasksDoNotTimeOut")},
	},
	{
		name: "resource manager forgets held slots", breaks: "a new ResourceManager gives nothing that is held",
		file:  "pkg/resourcemanager/core.go",
		old:   `given[j.id] = len(j.held)`,
		new:   `given[j.id] = 0`,
		tests: []test{unit("resourcemanager", "TestTranscripts")},
	},
	{
		name: "resource manager leases reported slots", breaks: "a slot is free only if its TaskManager says so",
		file:  "pkg/resourcemanager/core.go",
		old:   `if s.Allocation.IsZero() && !asked && !tm.doubted[i] {`,
		new:   `if _ = s; !asked && !tm.doubted[i] {`,
		tests: []test{unit("resourcemanager", "TestTranscripts")},
	},
	{
		name: "late slot report counts", breaks: "reports overtaken by newer ones are dropped",
		file:  "pkg/resourcemanager/core.go",
		old:   "if r.Version < tm.version {\n\t\treturn nil\n\t}",
		new:   "",
		tests: []test{unit("resourcemanager", "TestTranscripts")},
	},
	{
		name: "answers strangers", breaks: "who is not registered is sent to register, whatever it tells",
		file:  "pkg/jobmaster/calls.go",
		old:   `if _, ok := t.schedule.members[m]; !ok {`,
		new:   `if _, ok := t.schedule.members[m]; !ok && m == (member{}) {`,
		tests: []test{unit("jobmaster", "TestSilentTaskManagerReturns")},
	},
	{
		name: "what finished before is waited for", breaks: "a job ends although its leader changed in the middle of its end",
		file:  "pkg/jobmaster/schedule.go",
		old:   `drained = drained && (e.drained || e.state == protocol.Finished)`,
		new:   `drained = drained && e.drained`,
		tests: []test{unit("jobmaster", "TestSchedule")},
	},
}

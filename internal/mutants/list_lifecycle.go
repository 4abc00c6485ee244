package main

// lifecycle: jobs begin and end once, checkpoints are what they say.
var lifecycle = []mutant{
	{
		name: "submission answered early", breaks: "a submission that was answered is stored",
		file:  "pkg/dispatcher/submit.go",
		old:   `if err != nil || j.admitted == nil {`,
		new:   `if err != nil || j != nil {`,
		tests: []test{simulation(10), unit("dispatcher", "TestKillAfterTheAnswer|TestRefusedSubmissions"), lesson("TestASubmissionIsStoredBeforeItIsAnswered")},
	},
	{
		name: "cancellation answered early", breaks: "a cancellation that was answered is stored",
		file:  "pkg/jobmaster/term.go",
		old:   "if done {\n\t\t\tclose(waiter)\n\t\t} else {",
		new:   "if done || !done {\n\t\t\tclose(waiter)\n\t\t} else {",
		tests: []test{simulation(50)},
	},
	{
		name: "finished job runs again", breaks: "a job that has ended never runs again",
		file:  "pkg/dispatcher/submit.go",
		old:   `if known := t.jobs[graph.ID]; known != nil {`,
		new:   `if known := t.jobs[graph.ID]; known != nil && (known.phase != ended || known.dirty) {`,
		tests: []test{simulation(50), unit("dispatcher", "TestSubmitTwice|TestCrashWhileAJobEnds")},
	},
	{
		name: "result not looked at", breaks: "a job with a stored result never runs again",
		file:  "pkg/dispatcher/term.go",
		old:   "if ended[jobID] {\n\t\t\tcontinue\n\t\t}",
		new:   "",
		tests: []test{unit("dispatcher", "TestDirtyResultIsReleased")}, // a JobMaster looks too
	},
	{
		name: "master ignores the result", breaks: "a job with a stored result never runs again",
		file:  "pkg/jobmaster/jobmaster.go",
		old:   `if t.result != nil {`,
		new:   `if t.result != nil && t.ledger != nil {`,
		tests: []test{unit("jobmaster", "TestAJobWithAResultIsNotLed")},
	},
	{
		name: "end told before the result is stored", breaks: "a job has ended when its result is stored",
		file:  "pkg/jobmaster/details.go",
		old:   `if state, ended := before[d.Overview.State]; ended {`,
		new:   `if state, ended := before[d.Overview.State]; ended && d.Waiting != "" {`,
		tests: []test{unit("jobmaster", "TestWhileTheResultIsStored")},
	},
	{
		name: "released before the result is stored", breaks: "the result is stored before anybody lets go",
		file: "pkg/jobmaster/term.go",
		old:  `for pause := firstPause; ; pause = min(2*pause, lastPause) {`,
		new: `t.jm.releaseJob(ctx, t.token, targets, "early")
	for pause := firstPause; ; pause = min(2*pause, lastPause) {`,
		tests: []test{simulation(10)},
	},
	{
		name: "ended without a result", breaks: "a job has ended when its result is stored",
		file:  "pkg/dispatcher/job.go",
		old:   `return fmt.Errorf("store result of job %s: %w", j.id, err)`,
		new:   `t.log.Warn("result of a job not stored", logging.Job(j.id), zap.Error(err))`,
		tests: []test{simulation(500)},
	},
	{
		name: "dirty result left alone", breaks: "what is left of an ended job is removed, whoever leads",
		file:  "pkg/dispatcher/term.go",
		old:   `case j.dirty:`,
		new:   `case j.dirty && j.recovered:`,
		tests: []test{simulation(300), unit("dispatcher", "TestDirtyResultIsReleased")},
	},
	{
		name: "any acknowledgement counts", breaks: "a checkpoint consists of its own acknowledgements",
		file:  "pkg/checkpoint/coordinator.go",
		old:   `if c.phase != pending || ack.Checkpoint != c.current.info.ID || !c.current.waiting[ack.Attempt] {`,
		new:   `if c.phase != pending || !c.current.waiting[ack.Attempt] {`,
		tests: []test{simulation(1000), unit("checkpoint", "TestCoordinator")},
	},
	{
		name: "acknowledgement counts twice", breaks: "a checkpoint is complete when each task has acknowledged",
		file:  "pkg/checkpoint/coordinator.go",
		old:   "if len(c.current.waiting) > 0 {\n\t\treturn nil\n\t}",
		new:   "if len(c.current.waiting) > 1 {\n\t\treturn nil\n\t}",
		tests: []test{simulation(10), unit("checkpoint", "TestCoordinator")},
	},
	{
		name: "told before it is stored", breaks: "a checkpoint is complete when its pointer is stored",
		file: "pkg/jobmaster/perform.go",
		old:  `t.schedule.storingCheckpoint()`,
		new: `t.schedule.storingCheckpoint()
			var early []attemptID
			for _, task := range t.schedule.tasks() {
				early = append(early, task.Attempt)
			}
			t.tellComplete(a.Completed.ID, early)`,
		tests: []test{simulation(10)},
	},
	{
		name: "restart while a checkpoint is stored", breaks: "nobody restarts before the newest checkpoint is known",
		file:  "pkg/jobmaster/wave.go",
		old:   `if s.wave != nil || s.storing || !s.goal.restarts() || s.over() {`,
		new:   `if s.wave != nil || !s.goal.restarts() || s.over() {`,
		tests: []test{unit("jobmaster", "TestSchedule")},
	},
	{
		name: "restart from an older checkpoint", breaks: "a restart begins at the newest checkpoint",
		file:  "pkg/jobmaster/schedule.go",
		old:   `s.storing, s.latest = false, latest`,
		new:   "s.storing = false\n\tif s.latest == nil {\n\t\ts.latest = latest\n\t}",
		tests: []test{simulation(100)},
	},
	{
		name: "deployment repeated", breaks: "a repeated deployment starts nothing twice",
		file:  "pkg/taskmanager/executions.go",
		old:   `if a.Vertex == x.Attempt.Vertex && a.Subtask == x.Attempt.Subtask && a.Attempt >= x.Attempt.Attempt {`,
		new:   `if a.Vertex == x.Attempt.Vertex && a.Subtask == x.Attempt.Subtask && a.Attempt > x.Attempt.Attempt {`,
		tests: []test{simulation(300), unit("taskmanager", "TestRepeatedDeploymentStartsNothingTwice")},
	},
	{
		name: "attempt number used twice", breaks: "an attempt that a ledger named is never deployed by another leader",
		file:  "pkg/jobmaster/wave.go",
		old:   "if e.place != (place{}) {\n\t\tattempt.Attempt++\n\t}",
		new:   "if e.startedAt != (time.Time{}) {\n\t\tattempt.Attempt++\n\t}",
		tests: []test{simulation(300), unit("jobmaster", "TestSchedule")},
	},
	{
		name: "finish before the last checkpoint", breaks: "what was prepared is covered by a checkpoint before it is committed",
		file:  "pkg/jobmaster/perform.go",
		old:   `if !t.coordinator.Enabled() {`,
		new:   `if t.coordinator.Enabled() || !t.coordinator.Enabled() {`,
		tests: []test{simulation(50), unit("jobmaster", "TestBoundedJobFinishes")},
	},
	{
		name: "task ends are told once", breaks: "the end of a task is told to each new master",
		file:  "pkg/taskmanager/executions.go",
		old:   `if !x.taken || x.takenBy != token {`,
		new:   `if !x.taken {`,
		tests: []test{unit("taskmanager", "TestExecutionsReportEndsToTheNextMaster")},
	},
	{
		name: "news dropped when told", breaks: "a state is told until a master has taken it",
		file:  "pkg/taskmanager/session.go",
		old:   "if _, err := rpc.Invoke(callCtx, s.gateway, protocol.TaskStateChanged, request); err != nil {\n\t\treturn err\n\t}",
		new:   "_, _ = rpc.Invoke(callCtx, s.gateway, protocol.TaskStateChanged, request)",
		tests: []test{simulation(300)},
	},
}

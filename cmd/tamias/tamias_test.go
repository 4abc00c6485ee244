package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/haservices/local"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

const hint = "\n\nUse the help option (-h or --help) to get help on the command.\n"

func TestWrongCommandLines(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string // at the end of stdout
	}{
		{nil, "\nPlease specify an action." + hint},
		{[]string{"explode"}, "\"explode\" is not a valid action.\n\nValid actions are \"run\", \"list\", \"info\", \"cancel\", \"leaders\", \"drill\", or \"version\".\n\nSpecify the version option (-v or --version) to print Tamias version." + hint},
		{[]string{"list", "--what"}, "unknown flag: --what" + hint},
		{[]string{"list", "all"}, "Unexpected argument \"all\": tamias list takes options only." + hint},
		{[]string{"drill"}, "Name one scenario; tamias drill --help lists them." + hint},
		{[]string{"run", "-p", "0", "x"}, "The parallelism must be a positive number: 0" + hint},
		{[]string{"info", "-p", "-1", "x"}, "The parallelism must be a positive number: -1" + hint},
		{[]string{"cancel"}, "Missing JobID. Specify a JobID to cancel a job." + hint},
		{[]string{"run"}, "The program was not specified." + hint},
		{[]string{"run", "./nothing-here"}, "no such file or directory" + hint},
		{[]string{"list", "-m", "nonsense"}, "The given host:port ('nonsense') is not valid: expected for example localhost:8081." + hint},
		{[]string{"list", "--configDir", "/does/not/exist"}, hint},
		{[]string{"list", "-D", "rest.port=many"}, hint},
	} {
		r := tamias(t, tc.args...)
		if r.code != 1 || !strings.HasSuffix(r.stdout, tc.want) || r.stderr != "" {
			t.Errorf("tamias %q: rc %d, stdout %q, stderr %q; want rc 1, stdout with %q", tc.args, r.code, r.stdout, r.stderr, tc.want)
		}
	}
	if r := tamias(t, "cancel", "123"); r.code != 1 || !strings.HasPrefix(r.stdout, `Cannot parse JobID from "123". The expected format is [0-9a-fA-F]{32}, e.g. `) {
		t.Errorf("cancel 123: %+v", r)
	}
	for _, args := range [][]string{{"-v"}, {"--version"}, {"version"}} {
		if r := tamias(t, args...); r.code != 0 || !strings.HasPrefix(r.stdout, "Version: ") || !strings.Contains(r.stdout, ", Commit ID: ") {
			t.Errorf("%s: %+v", args, r)
		}
	}
}

func TestList(t *testing.T) {
	c := newCluster(t)
	tamias(t, "list", "-m", c.address()).check(t, 0, "Waiting for response...\nNo running jobs.\nNo scheduled jobs.\n", "")
	job := func(id, name string, state protocol.JobState, after time.Duration) map[string]any {
		return map[string]any{"jid": strings.Repeat(id, 32), "name": name, "state": state, "start-time": started.Add(after).UnixMilli()}
	}
	c.jobs = []map[string]any{
		job("b", "second", protocol.JobRestarting, time.Minute), job("a", "first", protocol.JobRunning, 0),
		job("c", "waiting", protocol.JobCreated, 0), job("d", "old", protocol.JobFailed, -time.Hour),
	}
	running := "------------------ Running/Restarting Jobs -------------------\n" +
		"01.03.2024 10:20:30 : aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa : first (RUNNING)\n" +
		"01.03.2024 10:21:30 : bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb : second (RESTARTING)\n" +
		"--------------------------------------------------------------\n"
	scheduled := "----------------------- Scheduled Jobs -----------------------\n" +
		"01.03.2024 10:20:30 : cccccccccccccccccccccccccccccccc : waiting (CREATED)\n" +
		"--------------------------------------------------------------\n"
	ended := "---------------------- Terminated Jobs -----------------------\n" +
		"01.03.2024 09:20:30 : dddddddddddddddddddddddddddddddd : old (FAILED)\n" +
		"--------------------------------------------------------------\n"
	for _, tc := range []struct{ option, want string }{
		{"", running + scheduled}, {"-r", running}, {"-s", scheduled}, {"-a", running + scheduled + ended},
	} {
		args := []string{"list", "-m", c.address()}
		if tc.option != "" {
			args = append(args, tc.option)
		}
		tamias(t, args...).check(t, 0, "Waiting for response...\n"+tc.want, "")
	}
}

func TestNoServer(t *testing.T) {
	r := tamias(t, "list", "-m", "127.0.0.1:1", "-D", "rest.retry.max-attempts=2", "-D", "rest.retry.delay=1 ms")
	r.check(t, 1, "Waiting for response...\n", "\n------------------------------------------------------------\n The program finished with the following exception:\n\nFailed to retrieve job list.\nno JobManager answers at http://127.0.0.1:1: ")
}

func TestCallsAreRepeatedWhileNobodyLeads(t *testing.T) {
	c := newCluster(t)
	c.refuse = 3
	tamias(t, "list", "-m", c.address(), "-D", "rest.retry.delay=1 ms").check(t, 0, "Waiting for response...\nNo running jobs.\nNo scheduled jobs.\n", "")
	if len(c.seen) != 4 {
		t.Errorf("%d requests, want 4: %v", len(c.seen), c.seen)
	}
}

func TestCancel(t *testing.T) {
	c := newCluster(t)
	job := theJob.String()
	tamias(t, "cancel", "-m", c.address(), strings.ToUpper(job)).check(t, 0, "Cancelling job "+job+".\nCancelled job "+job+".\n", "")
	request := "PATCH /v1/jobs/" + job + "?mode=cancel"
	if len(c.seen) != 1 || c.seen[0] != request {
		t.Errorf("requests %v, want %s", c.seen, request)
	}
	c.fail[request] = 404
	tamias(t, "cancel", "-m", c.address(), job).check(t, 1, "Cancelling job "+job+".\n", "\nCould not cancel job "+job+".\nthis is why\n")
}

func TestRunDetached(t *testing.T) {
	c := newCluster(t)
	c.refuse = 1
	program := newProgram(t)
	r := tamias(t, "run", "-d", "-m", c.address(), "-p", "3", "--job-id", theJob.String(),
		"-D", "execution.checkpointing.interval=5 s", "-D", "restart-strategy.type=none", "-D", "my.password=hush",
		"-D", "execution.checkpointing.externalized-checkpoint-retention=RETAIN_ON_CANCELLATION", "-D", "rest.retry.delay=1 ms",
		program, "-input", "x")
	r.check(t, 0, "hello from main\nJob has been submitted with JobID "+theJob.String()+"\n", "")
	if len(c.graphs) != 1 {
		t.Fatalf("%d submissions, want 1", len(c.graphs))
	}
	g := c.graphs[0]
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(c.uploads[0], content) || g.Binary.Size != int64(len(content)) || len(g.Binary.Key) != 64 {
		t.Errorf("uploaded %d bytes, graph says %+v, program has %d bytes", len(c.uploads[0]), g.Binary, len(content))
	}
	if g.ID != theJob || strings.Join(g.Args, " ") != "-input x" || g.Vertices[0].Parallelism != 3 || g.DefaultParallelism != 3 {
		t.Errorf("graph = %+v", g)
	}
	if g.Checkpointing.Interval != 5*time.Second || g.Checkpointing.Retention != jobgraph.RetainOnCancellation || g.Restart.Kind != jobgraph.RestartNone {
		t.Errorf("settings of the command line: %+v, %+v", g.Checkpointing, g.Restart)
	}
	if g.Config["my.password"] != "******" {
		t.Errorf("configuration sent along: %v, want the password masked", g.Config)
	}
}

func TestRunToTheEnd(t *testing.T) {
	c := newCluster(t)
	c.script = []protocol.JobDetails{
		detailsOf(protocol.JobInitializing, func(d *protocol.JobDetails) { d.Overview.Tasks = map[protocol.TaskState]int{protocol.Running: 0} }),
		detailsOf(protocol.JobRunning),
		detailsOf(protocol.JobRunning, func(d *protocol.JobDetails) {
			d.JobMasterEpoch = 2
			d.Checkpoints.Latest = &protocol.CheckpointInfo{ID: 7, Bytes: 2048, Triggered: started, Ended: started.Add(30 * time.Millisecond)}
		}),
		detailsOf(protocol.JobFinished, func(d *protocol.JobDetails) {
			d.Overview.Tasks = map[protocol.TaskState]int{protocol.Finished: 2}
			d.Overview.Restarts = 1
		}),
	}
	r := tamias(t, "run", "-m", c.address(), "--job-id", theJob.String(), newProgram(t), "x")
	job := theJob.String()
	r.check(t, 0, "hello from main\nJob has been submitted with JobID "+job+"\nProgram execution finished\nJob with JobID "+job+" has finished.\nJob Runtime: 1500 ms\n\n", "")
	for _, want := range []string{
		"Job is INITIALIZING\n", "Job is RUNNING, 2 of 2 tasks running",
		"Another JobManager leads the job now (epoch 2 after 1).", "Checkpoint 7 completed (2.0 KiB in 30ms)",
		"Job is FINISHED, 0 of 2 tasks running, 2 finished, 1 restart so far\n",
	} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("progress %q lacks %q", r.stderr, want)
		}
	}
}

func TestRunOfAFailingJob(t *testing.T) {
	c := newCluster(t)
	c.script = []protocol.JobDetails{detailsOf(protocol.JobFailed, func(d *protocol.JobDetails) {
		d.Failures = []protocol.JobFailure{{At: started, Task: "numbers (1/2)", TaskManager: "tm-1", Failure: protocol.Failure{
			Message: "numbers (1/2): panic: index out of range", Stack: "goroutine 7 [running]:\nmain.main()\n",
		}}}
	})}
	r := tamias(t, "run", "-m", c.address(), newProgram(t), "x")
	if r.code != 1 || !strings.Contains(r.stderr, " The program finished with the following exception:\n\nJob failed (JobID: "+theJob.String()+
		").\nFailure of numbers (1/2) at tm-1: panic: index out of range\n\ngoroutine 7 [running]:\nmain.main()\n") {
		t.Errorf("%+v", r)
	}
	c.script = []protocol.JobDetails{detailsOf(protocol.JobCanceled)}
	if r := tamias(t, "run", "-m", c.address(), newProgram(t), "x"); r.code != 1 || !strings.Contains(r.stderr, "Job was cancelled.") {
		t.Errorf("%+v", r)
	}
}

func TestRunRefused(t *testing.T) {
	c := newCluster(t)
	c.fail["POST /v1/jobs"] = 400
	tamias(t, "run", "-m", c.address(), newProgram(t), "x").check(t, 1, "hello from main\n", "\nFailed to execute job 'numbers'.\nthis is why\n")
	tamias(t, "run", "-m", c.address(), newProgram(t), "broken").check(t, 1, "", "flag provided but not defined: -x\n")
	tamias(t, "run", "-m", c.address(), newProgram(t), "silent").check(t, 1, "", "The program contains no job.")
	text := t.TempDir() + "/job.txt"
	if err := os.WriteFile(text, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	library := t.TempDir()
	for name, content := range map[string]string{"go.mod": "module library\n", "library.go": "package library\n"} {
		if err := os.WriteFile(library+"/"+name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tamias(t, "run", library).check(t, 1, library+" is not a main package: go build made no program of it."+hint, "")
	tamias(t, "run", text).check(t, 1, text+" is not executable. A job is a Go program: build it, or name the directory of its package."+hint, "")
}

func TestProgramOfAnotherMachine(t *testing.T) {
	program := t.TempDir() + "/job"
	if err := os.WriteFile(program, []byte("\x7fELF of another machine"), 0o755); err != nil {
		t.Fatal(err)
	}
	tamias(t, "run", program).check(t, 1, "", "it is no program for this machine, which is "+runtime.GOOS+"/"+runtime.GOARCH)
}

// The shell is offered the jobs that can be cancelled, with what they are.
func TestCompletionOfJobs(t *testing.T) {
	c := newCluster(t)
	job := func(id string, state protocol.JobState) map[string]any {
		return map[string]any{"jid": strings.Repeat(id, 32), "name": "n", "state": state, "start-time": 1}
	}
	c.jobs = []map[string]any{job("a", protocol.JobRunning), job("b", protocol.JobFinished)}
	running := strings.Repeat("a", 32) + "\tn (RUNNING)\n"
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"cancel", "-m", c.address(), ""}, running + ":4\n"},
		{[]string{"cancel", "-m", c.address(), strings.Repeat("a", 32), ""}, ":4\n"},
		{[]string{"cancel", "-m", "127.0.0.1:1", ""}, ":4\n"},
		{[]string{"info", "-m", c.address(), ""}, running + strings.Repeat("b", 32) + "\tn (FINISHED)\n:0\n"},
		{[]string{"list", "-m", c.address(), ""}, ":4\n"},
	} {
		if r := tamias(t, append([]string{"__complete"}, tc.args...)...); r.code != 0 || r.stdout != tc.want {
			t.Errorf("%q: %+v, want %q", tc.args, r, tc.want)
		}
	}
}

// Who waits for a job that waits for slots learns how many there are, once.
func TestWaitingForSlotsIsExplained(t *testing.T) {
	c := newCluster(t)
	waits := detailsOf(protocol.JobCreated, func(d *protocol.JobDetails) { d.Waiting = "the job needs 9 slots, has 0" })
	var progress bytes.Buffer
	w := watcher{client: &client{locator: fixed(c.server.URL), http: c.server.Client()}, job: theJob, out: &progress}
	look := func(d protocol.JobDetails, waited time.Duration) {
		if !w.slotlessFrom.IsZero() {
			w.slotlessFrom = w.slotlessFrom.Add(-waited)
		}
		w.tellSlots(t.Context(), d)
		w.last = d
	}
	const said = "The cluster has 1 TaskManager with 4 slots, 3 of them free."
	for i, step := range []struct {
		details protocol.JobDetails
		waited  time.Duration
		want    int
	}{
		{waits, 0, 0}, {waits, slotPatience, 1}, {waits, slotPatience, 1}, {detailsOf(protocol.JobRunning), 0, 1},
		{waits, slotPatience, 1}, {waits, slotPatience, 2},
	} {
		if look(step.details, step.waited); strings.Count(progress.String(), said) != step.want {
			t.Errorf("look %d: progress %q, want the explanation %d times", i, &progress, step.want)
		}
	}
}

func TestInterruptLeavesTheJobAlone(t *testing.T) {
	c := newCluster(t)
	c.script = []protocol.JobDetails{detailsOf(protocol.JobRunning)}
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		defer interrupt()
		for range 1000 {
			c.mu.Lock()
			n := len(c.seen)
			c.mu.Unlock()
			if n >= 2 || !sleep(t.Context(), 10*time.Millisecond) { // submitted, and looked at
				return
			}
		}
	}()
	r := tamiasUntil(ctx, t, "run", "-m", c.address(), "--job-id", theJob.String(), newProgram(t), "x")
	if r.code != exitInterrupted || !strings.Contains(r.stderr, "the job goes on. To end it: tamias cancel "+theJob.String()) {
		t.Errorf("%+v", r)
	}
}

func TestInfo(t *testing.T) {
	r := tamias(t, "info", "-p", "2", newProgram(t), "x") // no cluster
	var g jobgraph.JobGraph
	if err := json.Unmarshal([]byte(r.stdout), &g); err != nil || r.code != 0 || g.Vertices[0].Parallelism != 2 || !strings.Contains(r.stderr, "hello from main") {
		t.Errorf("info PROGRAM: %+v, %v", r, err)
	}
	c := newCluster(t)
	c.script = []protocol.JobDetails{detailsOf(protocol.JobRunning)}
	r = tamias(t, "info", "-m", c.address(), theJob.String())
	if r.code != 0 || !strings.Contains(r.stdout, "State:       RUNNING, 2 of 2 tasks running\n") {
		t.Errorf("info JOBID: %+v", r)
	}
	r = tamias(t, "info", "--json", "-m", c.address(), theJob.String())
	var d protocol.JobDetails
	if err := json.Unmarshal([]byte(r.stdout), &d); err != nil || d.Overview.ID != theJob {
		t.Errorf("info --json JOBID: %+v, %v", r, err)
	}
	c.script = nil
	tamias(t, "info", "-m", c.address(), theJob.String()).check(t, 1, "", "Could not get the details of job "+theJob.String())
}

// publish contends for rest_server and publishes address, until the test ends or the returned function is called.
func publish(t *testing.T, driver haservices.Driver, address string) (stop func()) {
	t.Helper()
	term, err := driver.Campaign(t.Context(), haservices.Component{Kind: haservices.RestServer}, haservices.Contender{})
	if err != nil {
		t.Fatal(err)
	}
	if err := term.Publish(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	return func() { term.Resign(context.Background()) }
}

// A watcher that found the leader through the HA services goes over to the next one.
func TestWatcherFollowsTheLeader(t *testing.T) {
	backend := embedded.NewCluster(embedded.Config{})
	first, second := newCluster(t), newCluster(t)
	first.script = []protocol.JobDetails{detailsOf(protocol.JobRunning)}
	second.script = []protocol.JobDetails{detailsOf(protocol.JobFinished)}
	a, b := backend.Driver("a"), backend.Driver("b")
	defer a.Close()
	defer b.Close()

	f := follow(backend.Driver("client"), time.Minute)
	defer f.close()
	resign := publish(t, a, first.server.URL)
	var progress bytes.Buffer
	w := watcher{client: &client{locator: f, http: first.server.Client(), delay: time.Millisecond}, job: theJob, out: &progress, patience: time.Minute}
	go func() {
		for range 1000 {
			first.mu.Lock()
			n := len(first.seen)
			first.mu.Unlock()
			if n >= 1 || !sleep(t.Context(), 10*time.Millisecond) {
				break
			}
		}
		first.server.Close()
		resign()
		publish(t, b, second.server.URL)
	}()
	d, err := w.wait(t.Context())
	if err != nil || d.Overview.State != protocol.JobFinished {
		t.Errorf("wait = %s, %v; progress %s", d.Overview.State, err, &progress)
	}
}

func TestNoLeaderIsPublished(t *testing.T) {
	f := follow(embedded.NewCluster(embedded.Config{}).Driver("client"), time.Millisecond)
	defer f.close()
	if _, _, err := f.base(t.Context()); err == nil || !strings.Contains(err.Error(), "rest.await-leader-timeout") {
		t.Errorf("base = %v, want an error that names rest.await-leader-timeout", err)
	}
}

// That nobody can be asked is another mistake than that nobody leads.
func TestHighAvailabilityServicesDoNotAnswer(t *testing.T) {
	cluster := embedded.NewCluster(embedded.Config{})
	client := cluster.Driver("client")
	f := follow(client, time.Millisecond)
	defer f.close()
	cluster.Disconnect("client")
	if _, _, err := f.base(t.Context()); err == nil || !strings.Contains(err.Error(), "do not answer") {
		t.Errorf("base = %v, want an error that says that the high-availability services do not answer", err)
	}
}

func TestWatcherGivesUp(t *testing.T) {
	var progress bytes.Buffer
	w := watcher{client: &client{locator: fixed("http://127.0.0.1:1"), http: newCluster(t).server.Client()}, job: theJob, out: &progress, patience: time.Millisecond}
	if _, err := w.wait(t.Context()); err == nil || !strings.Contains(err.Error(), "client.timeout") || !strings.Contains(progress.String(), "No JobManager answers") {
		t.Errorf("wait = %v, progress %s", err, &progress)
	}
}

func TestLeaderIsFoundThroughHighAvailability(t *testing.T) {
	c := newCluster(t)
	storage := t.TempDir()
	leader, err := local.New(local.Config{StorageDir: storage, ClusterID: "mine", Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer leader.Close()
	defer publish(t, leader, c.server.URL)()
	tamias(t, "list", "-D", "high-availability.type=local", "-D", "high-availability.storageDir="+storage, "-z", "mine").check(
		t, 0, "Waiting for response...\nNo running jobs.\nNo scheduled jobs.\n", "")
}

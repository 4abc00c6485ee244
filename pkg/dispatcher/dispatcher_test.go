package dispatcher

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// inBubble runs a test in a synctest bubble and checks at its end that no promise was broken.
func inBubble(t *testing.T, cfg embedded.Config, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cfg)
		test(t, w)
		for _, v := range w.jobs.broken() {
			t.Error(v)
		}
	})
}

func TestJobRunsAndIsCleanedUp(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		w.start("a")
		g := graphOf("numbers")
		w.upload(&g)
		if err := w.submit(g); err != nil {
			t.Fatalf("SubmitJob = %v", err)
		}
		if d := w.details(g.ID); d.Overview.State != protocol.JobRunning || d.Graph.Checkpointing.Dir != "/checkpoints" {
			t.Errorf("details after the answer: %s, checkpoint directory %q; want RUNNING in /checkpoints", d.Overview.State, d.Graph.Checkpointing.Dir)
		}
		if err := w.files.Create(t.Context(), "/checkpoints/"+g.ID.String()+"/chk-1/_metadata", strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		w.jobs.finish(g.ID, protocol.JobFinished)
		settle(time.Second)
		if d := w.details(g.ID); d.Overview.State != protocol.JobFinished || d.Overview.End.IsZero() {
			t.Errorf("details after the end: %+v, want FINISHED with an end time", d.Overview)
		}
		if left := w.leftovers(); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
		if n := w.jobs.runs(g.ID); n != 1 {
			t.Errorf("job ran %d times, want once", n)
		}
	})
}

func TestSubmitTwice(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		a := w.start("a")
		g := graphOf("numbers")
		w.upload(&g)
		other := g
		other.Name = "another"
		if err := w.submit(g); err != nil {
			t.Fatal(err)
		}
		check := func(when string) {
			t.Helper()
			w.upload(&g) // a client that tries again sends everything again
			if err := w.submit(g); err != nil {
				t.Errorf("%s: the same job = %v, want nil", when, err)
			}
			if err := w.submit(other); !errors.Is(err, protocol.ErrJobConflict) {
				t.Errorf("%s: another job under the ID = %v, want ErrJobConflict", when, err)
			}
		}
		check("running")
		w.jobs.finish(g.ID, protocol.JobFinished)
		settle(time.Second)
		check("ended")
		a.terminate()
		w.start("b")
		check("ended under an earlier leader")
		settle(time.Second)
		if n := w.jobs.runs(g.ID); n != 1 {
			t.Errorf("job ran %d times, want once", n)
		}
		if left := w.leftovers(); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestKillAfterTheAnswer(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		a := w.start("a")
		g := w.submitted("numbers")
		a.kill()
		w.start("b")
		if d := w.details(g.ID); d.Overview.State != protocol.JobRunning {
			t.Errorf("state under the next leader = %s, want RUNNING", d.Overview.State)
		}
		settle(time.Second)
		if n := w.jobs.runs(g.ID); n != 2 {
			t.Errorf("%d job masters in all, want one under each leader", n)
		}
	})
}

func TestStoppingRemovesNothing(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		a := w.start("a")
		w.submitted("numbers")
		settle(time.Second)
		before := fmt.Sprint(w.leftovers())
		w.cluster.ExpireSession("a")
		settle(time.Second)
		if after := fmt.Sprint(w.leftovers()); after != before {
			t.Errorf("after a lost session: %s, want %s", after, before)
		}
		a.terminate()
		if after := fmt.Sprint(w.leftovers()); after != before {
			t.Errorf("after an orderly stop: %s, want %s", after, before)
		}
	})
}

func TestRefusedSubmissions(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		w.start("a", func(c *Config) { c.CheckpointDir = "" })
		for _, tc := range []struct {
			name   string
			change func(*jobgraph.JobGraph)
			want   string
		}{
			{"no vertices", func(g *jobgraph.JobGraph) { g.Vertices, g.Edges = nil, nil }, "graph is empty"},
			{"no job ID", func(g *jobgraph.JobGraph) { g.ID = id.Job{} }, "no job ID"},
			{"no binary", func(g *jobgraph.JobGraph) { g.Binary = jobgraph.Binary{} }, "names no binary"},
			{"binary not uploaded", func(g *jobgraph.JobGraph) { g.Checkpointing.Dir = "/c"; g.Binary.Key = strings.Repeat("00", 32) }, "not in the blob store"},
			{"edge to nowhere", func(g *jobgraph.JobGraph) { g.Edges[0].To = id.Vertex{9} }, "does not have both"},
			{"cycle", func(g *jobgraph.JobGraph) { g.Edges[0].From, g.Edges[0].To = g.Edges[0].To, g.Edges[0].From }, "no cycles"},
			{"input number", func(g *jobgraph.JobGraph) { g.Edges[0].Input = 1 }, "expected 0"},
			{"forward", func(g *jobgraph.JobGraph) { g.Edges[0].Partition = jobgraph.Forward; g.Vertices[1].Parallelism = 3 }, "must be equal"},
			{"partitioning", func(g *jobgraph.JobGraph) { g.Edges[0].Partition = "MAGIC" }, "not known"},
			{"source with input", func(g *jobgraph.JobGraph) { g.Vertices[1].Source = true }, "has 1 inputs"},
			{"parallelism", func(g *jobgraph.JobGraph) { g.Vertices[0].Parallelism = 129 }, "pipeline.max-parallelism"},
			{"no parallelism", func(g *jobgraph.JobGraph) { g.Vertices[0].Parallelism = 0 }, "parallelism 0"},
			{"same UID", func(g *jobgraph.JobGraph) { g.Vertices[1].Operators[0].UID = "a" }, "used twice"},
			{"no directory", func(g *jobgraph.JobGraph) {}, "execution.checkpointing.dir"},
			{"restart strategy", func(g *jobgraph.JobGraph) { g.Checkpointing.Dir = "/c"; g.Restart.Kind = "hope" }, "hope"},
		} {
			g := graphOf("numbers")
			w.upload(&g)
			uploaded := g.ID
			tc.change(&g)
			err := w.submit(g)
			if !errors.Is(err, protocol.ErrInvalidJob) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: SubmitJob = %v, want ErrInvalidJob about %q", tc.name, err, tc.want)
			}
			if _, err := invoke(w, protocol.DescribeJob, protocol.DescribeJobRequest{Job: g.ID}); !errors.Is(err, protocol.ErrUnknownJob) {
				t.Errorf("%s: DescribeJob = %v, want ErrUnknownJob", tc.name, err)
			}
			if g.ID == uploaded {
				settle(time.Millisecond)
				for _, file := range w.leftovers() {
					if strings.Contains(file, uploaded.String()) {
						t.Errorf("%s: %s was left behind", tc.name, file)
					}
				}
			}
		}
	})
}

func TestCancel(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		w.start("a")
		cancel := func(job id.Job) error {
			_, err := invoke(w, protocol.CancelJob, protocol.CancelJobRequest{Job: job})
			return err
		}
		cancelled, finished := graphOf("cancelled"), graphOf("finished")
		for _, g := range []*jobgraph.JobGraph{&cancelled, &finished} {
			w.upload(g)
			if err := w.submit(*g); err != nil {
				t.Fatal(err)
			}
		}
		w.jobs.finish(finished.ID, protocol.JobFinished)
		if err := cancel(cancelled.ID); err != nil {
			t.Errorf("CancelJob of a running job = %v", err)
		}
		settle(time.Second)
		if got := w.list()[cancelled.ID].State; got != protocol.JobCanceled {
			t.Errorf("state = %s, want CANCELED", got)
		}
		for _, tc := range []struct {
			name string
			job  id.Job
			want error
		}{
			{"cancelled before", cancelled.ID, nil},
			{"finished", finished.ID, protocol.ErrJobEnded},
			{"unknown", id.NewJob(), protocol.ErrUnknownJob},
		} {
			if err := cancel(tc.job); !errors.Is(err, tc.want) {
				t.Errorf("%s: CancelJob = %v, want %v", tc.name, err, tc.want)
			}
		}
	})
}

func TestUnreadableJobIsQuarantined(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		a := w.start("a")
		var all []jobgraph.JobGraph
		for i := range 5 {
			g := graphOf(fmt.Sprint("job ", i))
			w.upload(&g)
			if err := w.submit(g); err != nil {
				t.Fatal(err)
			}
			all = append(all, g)
		}
		a.kill()
		broken := all[2].ID
		var file, kept string
		for _, f := range w.files.Files() {
			if strings.Contains(f, broken.String()) && strings.HasPrefix(path.Base(f), "jobgraph") {
				file = f
			}
		}
		kept = file + ".kept"
		if err := w.files.Rename(t.Context(), file, kept); err != nil {
			t.Fatal(err)
		}
		w.start("b")
		for job, o := range w.list() {
			want := protocol.JobRunning
			if job == broken {
				want = protocol.JobFailed
			}
			if o.State != want {
				t.Errorf("job %s is %s, want %s", o.Name, o.State, want)
			}
		}
		d := w.details(broken)
		if len(d.Failures) != 1 || !strings.Contains(d.Failures[0].Failure.Message, "could not be recovered") ||
			!strings.Contains(d.Failures[0].Failure.Message, file) {
			t.Errorf("failures of the unreadable job: %+v, want one that names %s", d.Failures, file)
		}
		if err := w.submit(all[2]); !errors.Is(err, protocol.ErrJobConflict) {
			t.Errorf("SubmitJob under its ID = %v, want ErrJobConflict", err)
		}
		if err := w.files.Rename(t.Context(), kept, file); err != nil {
			t.Fatal(err)
		}
		settle(2 * time.Minute)
		if got := w.list()[broken].State; got != protocol.JobRunning {
			t.Errorf("state after the file came back = %s, want RUNNING", got)
		}
	})
}

func TestFailedJobMasterIsReplaced(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		w.start("a")
		g := graphOf("numbers")
		w.upload(&g)
		w.jobs.with(g.ID, func(f *fakeJob) { f.failures = 2 })
		if err := w.submit(g); err != nil {
			t.Fatal(err)
		}
		w.jobs.finish(g.ID, protocol.JobFinished)
		settle(time.Minute)
		if got := w.list()[g.ID].State; got != protocol.JobFinished || w.jobs.runs(g.ID) != 3 {
			t.Errorf("state %s after %d runs, want FINISHED after 3", got, w.jobs.runs(g.ID))
		}
	})
}

func TestCheckpointsAreRetained(t *testing.T) {
	for _, tc := range []struct {
		retention jobgraph.Retention
		state     protocol.JobState
		kept      bool
	}{
		{jobgraph.RetainNothing, protocol.JobFailed, false},
		{jobgraph.RetainOnCancellation, protocol.JobFinished, false},
		{jobgraph.RetainOnCancellation, protocol.JobCanceled, true},
		{jobgraph.RetainOnCancellation, protocol.JobFailed, true},
		{jobgraph.DeleteOnCancellation, protocol.JobCanceled, false},
		{jobgraph.DeleteOnCancellation, protocol.JobFailed, true},
	} {
		inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
			w.start("a")
			g := graphOf("numbers")
			g.Checkpointing.Retention = tc.retention
			w.upload(&g)
			if err := w.submit(g); err != nil {
				t.Fatal(err)
			}
			file := "/checkpoints/" + g.ID.String() + "/chk-1/_metadata"
			if err := w.files.Create(t.Context(), file, strings.NewReader("x")); err != nil {
				t.Fatal(err)
			}
			w.jobs.finish(g.ID, tc.state)
			settle(time.Second)
			want := "[]"
			if tc.kept {
				want = "[" + file + "]"
			}
			if left := fmt.Sprint(w.leftovers()); left != want {
				t.Errorf("%s, %q: left behind %s, want %s", tc.state, tc.retention, left, want)
			}
		})
	}
}

func TestResultsAreDropped(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		w.start("a", func(c *Config) { c.ResultCapacity, c.ResultExpiration = 3, time.Hour })
		var newest id.Job
		for i := range 5 {
			g := graphOf(fmt.Sprint("job ", i))
			w.upload(&g)
			if err := w.submit(g); err != nil {
				t.Fatal(err)
			}
			w.jobs.finish(g.ID, protocol.JobFinished)
			settle(time.Minute)
			newest = g.ID
		}
		list := w.list()
		if _, ok := list[newest]; len(list) != 3 || !ok {
			t.Errorf("%d results, newest among them: %t; want the 3 newest", len(list), ok)
		}
		settle(2 * time.Hour)
		if n := len(w.list()); n != 0 {
			t.Errorf("%d results after their expiration, want none", n)
		}
		if files := w.files.Files(); len(files) != 1 {
			t.Errorf("files left: %v, want the mark of the owner alone", files)
		}
	})
}

func TestStopCluster(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		a := w.start("a")
		if _, err := invoke(w, protocol.StopCluster, protocol.Empty{}); err != nil {
			t.Fatal(err)
		}
		<-a.stopped
	})
}

// A result whose node is damaged may belong to any job: none that could have ended may run.
func TestDamagedResultKeepsItsJobFromRunning(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		a := w.start("a")
		g := w.submitted("numbers")
		settle(time.Second)
		a.terminate()
		term, err := w.view.Campaign(t.Context(), haservices.Component{Kind: haservices.Dispatcher}, haservices.Contender{})
		if err != nil {
			t.Fatal(err)
		}
		node := haservices.Write{Operation: haservices.Create, Path: "job-results/" + g.ID.String(), Data: []byte("{")}
		if err := term.Write(t.Context(), node); err != nil {
			t.Fatal(err)
		}
		term.Resign(t.Context())
		logged, log := observer.New(zap.ErrorLevel)
		w.start("b", func(c *Config) { c.Log = zap.New(logged) })
		if d := w.details(g.ID); d.Overview.State != protocol.JobFailed || len(d.Failures) == 0 {
			t.Errorf("%s, %d failures; want FAILED with the cause", d.Overview.State, len(d.Failures))
		}
		if n := log.FilterMessageSnippet("results of jobs cannot be read").Len(); n != 1 {
			t.Errorf("%d lines in the log about the damaged result, want 1", n)
		}
		// Somebody repairs the node: the job has ended, and is cleaned up.
		term, err = w.view.Campaign(t.Context(), haservices.Component{Kind: haservices.RestServer}, haservices.Contender{})
		if err != nil {
			t.Fatal(err)
		}
		node.Operation, node.Data, node.Version = haservices.Set, []byte(`{"format":1,"dirty":true,"state":"FINISHED"}`), haservices.AnyVersion
		if err := term.Write(t.Context(), node); err != nil {
			t.Fatal(err)
		}
		settle(5 * time.Minute)
		if d := w.details(g.ID); d.Overview.State != protocol.JobFinished {
			t.Errorf("%s after the repair, want FINISHED", d.Overview.State)
		}
		if left := w.leftovers(); len(left) != 0 {
			t.Errorf("left behind after the repair: %v", left)
		}
		if n := w.jobs.runs(g.ID); n != 1 {
			t.Errorf("%d runs, want only the one under the first leader", n)
		}
	})
}

package haservices_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/checkpoint"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

var jobID = id.Job{1, 2, 3}

func storedJob(name string) haservices.StoredJob {
	return haservices.StoredJob{
		Submitted: time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC),
		Graph: jobgraph.JobGraph{
			ID: jobID, Name: name, Vertices: []jobgraph.Vertex{{ID: id.Vertex{1}, Name: "source", Parallelism: 2, Source: true}},
			Checkpointing: jobgraph.Checkpointing{Interval: time.Second, Dir: "file:///checkpoints"},
		},
	}
}

func result(state protocol.JobState) haservices.JobResult {
	job := storedJob("wordcount")
	return haservices.JobResult{Details: protocol.JobDetails{
		Overview: protocol.JobOverview{ID: jobID, Name: "wordcount", State: state}, Graph: job.Graph,
	}}
}

func completed(n int64) *checkpoint.Completed {
	return &checkpoint.Completed{Job: jobID, ID: n, Epoch: 1, Bytes: 10 * n,
		Path: fmt.Sprintf("file:///checkpoints/%s/chk-%d", jobID, n)}
}

// ledger of that many executions: 3 fit into a node, 100 need a file.
func ledger(wave, executions int) haservices.Ledger {
	l := haservices.Ledger{Wave: wave, Executions: make([]haservices.LedgerExecution, executions)}
	for i := range l.Executions {
		l.Executions[i] = haservices.LedgerExecution{
			Attempt:     id.ExecutionAttempt{Vertex: id.Vertex{1}, Subtask: i, Attempt: wave},
			TaskManager: id.TaskManager(fmt.Sprintf("tm-%d", i)), Address: "tamias://tm:1/task_manager",
		}
	}
	return l
}

// stores are all stores of one leader that is Dispatcher and JobMaster at a time.
type stores struct {
	services    *haservices.Services
	election    *haservices.LeaderElection
	ctx         context.Context
	token       id.FencingToken
	graphs      *haservices.JobGraphStore
	results     *haservices.JobResultStore
	checkpoints *haservices.CompletedCheckpointStore
	ids         *haservices.CheckpointIDCounter
	ledger      *haservices.LedgerStore
	intent      *haservices.IntentStore
}

func (w *world) stores(process string) *stores {
	s := w.process(process)
	e, lead := w.lead(s, dispatcher)
	return &stores{s, e, lead.ctx, lead.token, s.JobGraphs(e), s.JobResults(e), s.Checkpoints(e, jobID),
		s.CheckpointIDs(e, jobID), s.Ledger(e, jobID), s.Intent(e, jobID)}
}

// writes are all kinds of writes, each with what must be there before and what it makes true.
var writes = []struct {
	name   string
	before func(*stores) error
	write  func(*stores) error
	done   func(*stores) (bool, error)
}{
	{
		name:  "job graph put",
		write: func(s *stores) error { return s.graphs.Put(s.ctx, s.token, storedJob("a")) },
		done:  func(s *stores) (bool, error) { return found(s.graphs.Get(s.ctx, jobID)) },
	}, {
		name:   "job graph delete",
		before: func(s *stores) error { return s.graphs.Put(s.ctx, s.token, storedJob("a")) },
		write:  func(s *stores) error { return s.graphs.Delete(s.ctx, s.token, jobID) },
		done:   func(s *stores) (bool, error) { return missing(s.graphs.Get(s.ctx, jobID)) },
	}, {
		name:  "dirty result",
		write: func(s *stores) error { return s.results.PutDirty(s.ctx, s.token, result(protocol.JobFinished)) },
		done:  func(s *stores) (bool, error) { return found(s.results.Get(s.ctx, jobID)) },
	}, {
		name:   "clean result",
		before: func(s *stores) error { return s.results.PutDirty(s.ctx, s.token, result(protocol.JobFinished)) },
		write:  func(s *stores) error { return s.results.MarkClean(s.ctx, s.token, jobID) },
		done:   func(s *stores) (bool, error) { r, err := s.results.Get(s.ctx, jobID); return !r.Dirty, err },
	}, {
		name:   "result delete",
		before: func(s *stores) error { return s.results.PutDirty(s.ctx, s.token, result(protocol.JobFinished)) },
		write:  func(s *stores) error { return s.results.Delete(s.ctx, s.token, jobID) },
		done:   func(s *stores) (bool, error) { return missing(s.results.Get(s.ctx, jobID)) },
	}, {
		name:   "checkpoint",
		before: func(s *stores) error { return s.checkpoints.Add(s.ctx, s.token, completed(1), 1) },
		write:  func(s *stores) error { return s.checkpoints.Add(s.ctx, s.token, completed(2), 1) },
		done: func(s *stores) (bool, error) {
			cp, err := s.checkpoints.Latest(s.ctx)
			return err == nil && cp.ID == 2, err
		},
	}, {
		name:   "checkpoint ID",
		before: func(s *stores) error { _, err := s.ids.Next(s.ctx, s.token); return err },
		write:  func(s *stores) error { _, err := s.ids.Next(s.ctx, s.token); return err },
		done:   func(s *stores) (bool, error) { n, err := s.ids.Last(s.ctx); return n == 2, err },
	}, {
		name:   "small ledger",
		before: func(s *stores) error { return s.ledger.Put(s.ctx, s.token, ledger(1, 100)) },
		write:  func(s *stores) error { return s.ledger.Put(s.ctx, s.token, ledger(2, 3)) },
		done:   func(s *stores) (bool, error) { l, err := s.ledger.Get(s.ctx); return l.Wave == 2, err },
	}, {
		name:   "large ledger",
		before: func(s *stores) error { return s.ledger.Put(s.ctx, s.token, ledger(1, 100)) },
		write:  func(s *stores) error { return s.ledger.Put(s.ctx, s.token, ledger(2, 200)) },
		done:   func(s *stores) (bool, error) { l, err := s.ledger.Get(s.ctx); return l.Wave == 2, err },
	}, {
		name: "intent",
		write: func(s *stores) error {
			return s.intent.Put(s.ctx, s.token, haservices.Intent{Kind: haservices.CancelIntent})
		},
		done: func(s *stores) (bool, error) { return found(s.intent.Get(s.ctx)) },
	}, {
		name: "clean up",
		before: func(s *stores) error {
			return errors.Join(s.graphs.Put(s.ctx, s.token, storedJob("a")), s.checkpoints.Add(s.ctx, s.token, completed(1), 1),
				s.ledger.Put(s.ctx, s.token, ledger(1, 100)), s.results.PutDirty(s.ctx, s.token, result(protocol.JobCanceled)))
		},
		write: func(s *stores) error { return s.services.CleanupJob(s.ctx, s.election, s.token, jobID) },
		done:  func(s *stores) (bool, error) { return missing(s.graphs.Get(s.ctx, jobID)) },
	},
}

func found[T any](_ T, err error) (bool, error) {
	if errors.Is(err, haservices.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func missing[T any](v T, err error) (bool, error) {
	there, err := found(v, err)
	return !there, err
}

// TestLostAnswers loses the answer, or the request, of every kind of write once: the write succeeds all
// the same, and no node is without its file.
func TestLostAnswers(t *testing.T) {
	for _, tc := range writes {
		for name, outcome := range map[string]embedded.Outcome{
			"answer lost": embedded.LoseAnswer, "request lost": embedded.LoseRequest, "refused": embedded.Refuse,
		} {
			t.Run(tc.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					s := w.stores("jm-1")
					if tc.before != nil {
						w.must(tc.before(s))
					}
					w.faults.set(onceAWrite(func(embedded.Call) {}, outcome))
					w.must(tc.write(s))
					if ok, err := tc.done(s); err != nil || !ok {
						t.Errorf("not done although the write succeeded: %v", err)
					}
					w.checkPointers()
				})
			})
		}
	}
}

// onceAWrite gives outcome to the next write, and none to later ones.
func onceAWrite(then func(embedded.Call), outcome embedded.Outcome) func(embedded.Call) embedded.Outcome {
	return func(c embedded.Call) embedded.Outcome {
		if !slices.Contains([]string{"create", "set", "put", "delete"}, c.Operation) || outcome == embedded.Answered {
			return embedded.Answered
		}
		then(c)
		o := outcome
		outcome = embedded.Answered
		return o
	}
}

// TestLostAnswersOfALostLeader: the leader is deposed before it can ask again. Whether the write was
// made is for its successor to see; either way its pointers are good and it can do the same write.
func TestLostAnswersOfALostLeader(t *testing.T) {
	for _, tc := range writes {
		for name, outcome := range map[string]embedded.Outcome{"answer lost": embedded.LoseAnswer, "request lost": embedded.LoseRequest} {
			t.Run(tc.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					s := w.stores("jm-1")
					if tc.before != nil {
						w.must(tc.before(s))
					}
					struck := make(chan struct{}, 1)
					w.faults.set(onceAWrite(func(embedded.Call) { struck <- struct{}{} }, outcome))
					wrote := make(chan error, 1)
					go func() { wrote <- tc.write(s) }()
					<-struck
					synctest.Wait() // the writer pauses before it asks again
					w.cluster.ExpireSession("jm-1")
					if err := <-wrote; err == nil && tc.name != "checkpoint" {
						t.Error("the write of a deposed leader succeeded")
					}
					w.checkPointers()
					w.cluster.Kill("jm-1")
					next := w.stores("jm-2")
					w.checkPointers()
					w.must(next.services.Sweep(next.ctx, next.election, next.token))
					w.checkPointers()
					if ok, err := tc.done(next); err != nil {
						t.Errorf("the successor reads: %v", err)
					} else if !ok {
						w.must(tc.write(next))
					}
					if ok, err := tc.done(next); err != nil || !ok {
						t.Errorf("not done although the successor's write succeeded: %v", err)
					}
					w.checkPointers()
				})
			})
		}
	}
}

// TestFileFaults fails every single file operation of every kind of write, before and after its effect.
func TestFileFaults(t *testing.T) {
	broken := errors.New("disk is broken")
	for _, tc := range writes {
		for n := 1; n <= 6; n++ {
			for name, fault := range map[string]error{"failed": broken, "failed after its effect": filesystem.Applied(broken)} {
				t.Run(fmt.Sprintf("%s/%d %s", tc.name, n, name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t)
						s := w.stores("jm-1")
						if tc.before != nil {
							w.must(tc.before(s))
						}
						w.files.Hook(filesystem.FailNth(n, fault))
						first := tc.write(s)
						w.files.Hook(nil)
						w.checkPointers()
						if first != nil {
							w.must(tc.write(s))
						}
						if ok, err := tc.done(s); err != nil || !ok {
							t.Errorf("not done although the write succeeded: %v", err)
						}
						w.checkPointers()
					})
				})
			}
		}
	}
}

func TestStoresNeedTheTokenOfTheTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.stores("jm-1")
		for _, tc := range writes {
			if tc.before != nil {
				_ = tc.before(s)
			}
		}
		nodes, files := w.cluster.Nodes(), w.files.Files()
		for _, token := range []id.FencingToken{{}, id.NewFencingToken(s.token.Epoch()), id.NewFencingToken(s.token.Epoch() + 1)} {
			wrong := *s
			wrong.token = token
			for _, tc := range writes {
				if err := tc.write(&wrong); !errors.Is(err, haservices.ErrNotLeader) {
					t.Errorf("%s with a foreign token = %v, want ErrNotLeader", tc.name, err)
				}
			}
		}
		if !reflect.DeepEqual(w.cluster.Nodes(), nodes) || !slices.Equal(w.files.Files(), files) {
			t.Error("writes with a foreign token changed something")
		}
	})
}

func TestJobGraphs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.stores("jm-1")
		w.must(s.graphs.Put(s.ctx, s.token, storedJob("a")))
		again := storedJob("a")
		again.Submitted = again.Submitted.Add(time.Hour)
		w.must(s.graphs.Put(s.ctx, s.token, again))
		if err := s.graphs.Put(s.ctx, s.token, storedJob("b")); !errors.Is(err, haservices.ErrExists) {
			t.Errorf("Put of another graph = %v, want ErrExists", err)
		}
		got, err := s.graphs.Get(s.ctx, jobID)
		if err != nil || !reflect.DeepEqual(got, storedJob("a")) {
			t.Errorf("Get = %+v, %v, want the first job", got, err)
		}
		if len(w.files.Files()) != 1 {
			t.Errorf("files are %q, want one", w.files.Files())
		}
	})
}

// TestUnreadableJobGraph: one broken job keeps no other from running.
func TestUnreadableJobGraph(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.stores("jm-1")
		for i := range 5 {
			job := storedJob("a")
			job.Graph.ID = id.Job{byte(i)}
			w.must(s.graphs.Put(s.ctx, s.token, job))
		}
		for _, f := range w.files.Files() {
			if strings.Contains(f, id.Job{2}.String()) {
				w.overwrite(f, "{")
			}
		}
		jobs, err := s.graphs.List(s.ctx)
		w.must(err)
		readable := 0
		for _, job := range jobs {
			_, err := s.graphs.Get(s.ctx, job)
			if err == nil {
				readable++
			} else if job != (id.Job{2}) || !errors.Is(err, haservices.ErrUnreadable) || errors.Is(err, haservices.ErrNotFound) {
				t.Errorf("Get %s = %v", job, err)
			}
		}
		if len(jobs) != 5 || readable != 4 {
			t.Errorf("%d of %d jobs are readable, want 4 of 5", readable, len(jobs))
		}
	})
}

func (w *world) overwrite(file, content string) {
	w.Helper()
	w.must(w.files.Delete(w.Context(), file))
	w.must(w.files.Create(w.Context(), file, strings.NewReader(content)))
}

func TestJobResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.stores("jm-1")
		if err := s.results.MarkClean(s.ctx, s.token, jobID); !errors.Is(err, haservices.ErrNotFound) {
			t.Errorf("MarkClean without a result = %v, want ErrNotFound", err)
		}
		for range 2 {
			w.must(s.results.PutDirty(s.ctx, s.token, result(protocol.JobFinished)))
		}
		if err := s.results.PutDirty(s.ctx, s.token, result(protocol.JobFailed)); !errors.Is(err, haservices.ErrExists) {
			t.Errorf("PutDirty of another state = %v, want ErrExists", err)
		}
		for range 2 {
			w.must(s.results.MarkClean(s.ctx, s.token, jobID))
		}
		want := result(protocol.JobFinished)
		all, err := s.results.List(s.ctx)
		if err != nil || len(all) != 1 || !reflect.DeepEqual(all[0], want) {
			t.Errorf("List = %+v, %v, want %+v", all, err, want)
		}
		w.overwrite(w.files.Files()[0], "{")
		got, err := s.results.Get(s.ctx, jobID)
		if err != nil || got.Details.Overview.State != protocol.JobFinished || got.Details.Overview.Name != "wordcount" || got.Dirty {
			t.Errorf("Get of a result without its file = %+v, %v", got, err)
		}
	})
}

func TestCheckpointsAreSubsumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.stores("jm-1")
		if _, err := s.checkpoints.Latest(s.ctx); !errors.Is(err, haservices.ErrNotFound) {
			t.Errorf("Latest of none = %v, want ErrNotFound", err)
		}
		// 2 and 5 are given up; 6 is under way when 4 completes.
		for n := range int64(7) {
			w.must(w.files.Create(s.ctx, path.Join("/checkpoints", jobID.String(), fmt.Sprintf("chk-%d/state", n)), strings.NewReader("x")))
		}
		for _, n := range []int64{1, 3, 4} {
			w.must(s.checkpoints.Add(s.ctx, s.token, completed(n), 2))
			w.must(s.checkpoints.Add(s.ctx, s.token, completed(n), 2)) // a repeated request
		}
		all, err := s.checkpoints.All(s.ctx)
		if err != nil || len(all) != 2 || all[0].ID != 3 || all[1].ID != 4 {
			t.Errorf("All = %v, %v, want 3 and 4", all, err)
		}
		dirs, err := w.files.List(s.ctx, "/checkpoints/"+jobID.String())
		if want := []string{"chk-3", "chk-4", "chk-5", "chk-6"}; err != nil || !slices.Equal(dirs, want) {
			t.Errorf("directories are %q, %v, want %q", dirs, err, want)
		}
		other := completed(4)
		other.Bytes++
		if err := s.checkpoints.Add(s.ctx, s.token, other, 2); !errors.Is(err, haservices.ErrExists) {
			t.Errorf("Add of another checkpoint 4 = %v, want ErrExists", err)
		}
		w.checkPointers()
		w.must(s.checkpoints.DeleteAll(s.ctx, s.token))
		if _, err := s.checkpoints.Latest(s.ctx); !errors.Is(err, haservices.ErrNotFound) {
			t.Errorf("Latest after DeleteAll = %v, want ErrNotFound", err)
		}
	})
}

func TestUnreadableNewestCheckpoint(t *testing.T) {
	for _, older := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			s := haservices.New(haservices.Config{Driver: w.cluster.Driver("jm-1"), FileSystem: w.files, OlderCheckpoint: older})
			defer s.Close(t.Context())
			e, lead := w.lead(s, dispatcher)
			store := s.Checkpoints(e, jobID)
			for n := int64(1); n <= 3; n++ {
				w.must(store.Add(lead.ctx, lead.token, completed(n), 3))
			}
			w.overwrite(completed(3).Path+"/_metadata", `{"id":3}`)
			cp, err := store.Latest(lead.ctx)
			if older && (err != nil || cp.ID != 2) {
				t.Errorf("Latest = %v, %v, want checkpoint 2", cp, err)
			}
			if !older && (!errors.Is(err, haservices.ErrUnreadable) || !strings.Contains(err.Error(), "checkpoint 3")) {
				t.Errorf("Latest = %v, %v, want an error that names checkpoint 3", cp, err)
			}
		})
	}
}

func TestCheckpointIDsAreUnique(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var mu sync.Mutex // guards seen
		seen := map[int64]bool{}
		next := func(s *stores) {
			n, err := s.ids.Next(s.ctx, s.token)
			w.must(err)
			mu.Lock()
			defer mu.Unlock()
			if seen[n] {
				t.Errorf("%d was given twice", n)
			}
			seen[n] = true
		}
		for leader := range 3 {
			s := w.stores(fmt.Sprintf("jm-%d", leader))
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() { next(s) })
			}
			wg.Wait()
			w.faults.set(once("set", embedded.LoseAnswer))
			next(s)
			last, err := s.ids.Last(s.ctx)
			if err != nil || !seen[last] || seen[last+1] {
				t.Errorf("Last = %d, %v, want the highest", last, err)
			}
			w.cluster.Kill(fmt.Sprintf("jm-%d", leader))
		}
	})
}

func TestLedgerAndIntent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.stores("jm-1")
		if _, err := s.ledger.Get(s.ctx); !errors.Is(err, haservices.ErrNotFound) {
			t.Errorf("Get of no ledger = %v, want ErrNotFound", err)
		}
		for wave, n := range []int{3, 100, 200, 3} {
			w.must(s.ledger.Put(s.ctx, s.token, ledger(wave+1, n)))
			got, err := s.ledger.Get(s.ctx)
			if err != nil || !reflect.DeepEqual(got, ledger(wave+1, n)) {
				t.Errorf("wave %d: Get = %+v, %v", wave+1, got, err)
			}
			w.checkPointers()
			if want := min(n/100, 1); len(w.files.Files()) != want {
				t.Errorf("wave %d: files are %q, want %d", wave+1, w.files.Files(), want)
			}
		}
		if _, err := s.intent.Get(s.ctx); !errors.Is(err, haservices.ErrNotFound) {
			t.Errorf("Get of no intent = %v, want ErrNotFound", err)
		}
		want := haservices.Intent{Kind: haservices.FailIntent, At: time.Unix(1, 0).UTC(), Failure: &protocol.Failure{Message: "x"}}
		w.must(s.intent.Put(s.ctx, s.token, want))
		if got, err := s.intent.Get(s.ctx); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Get = %+v, %v, want %+v", got, err, want)
		}
		for range 2 {
			w.must(s.intent.Delete(s.ctx, s.token))
		}
		if _, err := s.intent.Get(s.ctx); !errors.Is(err, haservices.ErrNotFound) {
			t.Errorf("Get of a withdrawn intent = %v, want ErrNotFound", err)
		}
	})
}

func TestCleanupLeavesTheResultOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.stores("jm-1")
		w.must(s.graphs.Put(s.ctx, s.token, storedJob("a")))
		w.must(s.ledger.Put(s.ctx, s.token, ledger(1, 100)))
		w.must(s.intent.Put(s.ctx, s.token, haservices.Intent{Kind: haservices.CancelIntent}))
		w.must(s.checkpoints.Add(s.ctx, s.token, completed(1), 1))
		w.must(w.files.Create(s.ctx, "/checkpoints/"+jobID.String()+"/chk-2/state", strings.NewReader("given up")))
		w.must(s.services.Blobs().Put(s.ctx, jobID, emptyKey, strings.NewReader("")))
		w.must(s.results.PutDirty(s.ctx, s.token, result(protocol.JobCanceled)))
		for range 2 {
			w.must(s.services.CleanupJob(s.ctx, s.election, s.token, jobID))
		}
		w.must(s.results.MarkClean(s.ctx, s.token, jobID))
		if nodes := w.cluster.Nodes(); len(nodes) != 1 || nodes["job-results/"+jobID.String()] == "" {
			t.Errorf("nodes are %q, want the result alone", nodes)
		}
		if files := w.files.Files(); len(files) != 1 || !strings.Contains(files[0], "job-results") {
			t.Errorf("files are %q, want the result alone", files)
		}
	})
}

const emptyKey = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestBlobs(t *testing.T) {
	w := newWorld(t)
	blobs := w.process("jm-1").Blobs()
	for range 2 {
		w.must(blobs.Put(t.Context(), jobID, emptyKey, strings.NewReader("")))
	}
	if err := blobs.Put(t.Context(), id.Job{9}, emptyKey, strings.NewReader("other")); err == nil {
		t.Error("Put of content that does not hash to its key succeeded")
	}
	if err := blobs.Put(t.Context(), jobID, "../../x", strings.NewReader("")); err == nil {
		t.Error("Put under a key that is no hash succeeded")
	}
	r, err := blobs.Open(t.Context(), jobID, emptyKey)
	w.must(err)
	if data, err := io.ReadAll(r); err != nil || len(data) != 0 {
		t.Errorf("blob holds %q, %v", data, err)
	}
	w.must(blobs.DeleteJob(t.Context(), jobID))
	if _, err := blobs.Open(t.Context(), jobID, emptyKey); !errors.Is(err, filesystem.ErrNotFound) {
		t.Errorf("Open of a deleted blob = %v, want filesystem.ErrNotFound", err)
	}
	if files := w.files.Files(); len(files) != 0 {
		t.Errorf("files are %q, want none", files)
	}
}

func TestSweepTakesOrphansOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first := w.stores("jm-1")
		w.must(first.graphs.Put(first.ctx, first.token, storedJob("a")))
		w.must(first.ledger.Put(first.ctx, first.token, ledger(1, 100)))
		w.must(first.results.PutDirty(first.ctx, first.token, result(protocol.JobFinished)))
		kept := w.files.Files()
		orphan := func(name string) {
			w.must(w.files.Create(t.Context(), "/ha/test/files/"+name, strings.NewReader("{}")))
		}
		orphan("jobs/" + jobID.String() + "/jobgraph-e1-00112233445566ff.json")
		orphan("job-results/" + id.Job{7}.String() + "-e1-00112233445566ff.json")
		// Not ours, of the present epoch, or of a job master whose term may last: left alone.
		alone := []string{
			"jobs/" + jobID.String() + "/notes.txt",
			"jobs/" + jobID.String() + "/jobgraph-e2-00112233445566ff.json",
			"jobs/" + jobID.String() + "/ledger-e1-00112233445566ff.json",
		}
		for _, name := range alone {
			orphan(name)
			kept = append(kept, "/ha/test/files/"+name)
		}
		w.cluster.Kill("jm-1")
		second := w.stores("jm-2")
		w.must(second.services.Sweep(second.ctx, second.election, second.token))
		slices.Sort(kept)
		if got := w.files.Files(); !slices.Equal(got, kept) {
			t.Errorf("files are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(kept, "\n"))
		}
	})
}

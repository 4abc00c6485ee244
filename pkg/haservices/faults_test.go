package haservices_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
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

// complete does what a JobMaster does with a checkpoint: what cannot be dropped now is dropped by the next one.
func (s *stores) complete(cp *checkpoint.Completed, retained int) error {
	if err := s.checkpoints.Add(s.ctx, s.token, cp); err != nil {
		return err
	}
	_ = s.checkpoints.Subsume(s.ctx, s.token, cp, retained)
	return nil
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
		before: func(s *stores) error { return s.complete(completed(1), 1) },
		write:  func(s *stores) error { return s.complete(completed(2), 1) },
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
			return errors.Join(s.graphs.Put(s.ctx, s.token, storedJob("a")), s.complete(completed(1), 1),
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

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

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

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
			w.must(s.complete(completed(n), 2))
			w.must(s.complete(completed(n), 2)) // a repeated request
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
		if err := s.complete(other, 2); !errors.Is(err, haservices.ErrExists) {
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
			t.Cleanup(func() { s.Close(context.Background()) })
			e, lead := w.lead(s, dispatcher)
			store := s.Checkpoints(e, jobID)
			for n := int64(1); n <= 3; n++ {
				w.must(store.Add(lead.ctx, lead.token, completed(n)))
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

// A ZooKeeper that loses acknowledged writes goes back in time: tasks take no notice of a number that they have
// seen.
func TestCheckpointIDsRiseThoughTheStoreGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.stores("jm-1")
		for want := int64(1); want <= 8; want++ {
			if want == 5 {
				w.tamper(func(path string, node map[string]any) {
					if strings.HasSuffix(path, "/checkpoint_id_counter") {
						node["last"] = 2
					}
				})
			}
			if n, err := s.ids.Next(s.ctx, s.token); n != want || err != nil {
				t.Errorf("Next = %d, %v, want %d", n, err, want)
			}
		}
		if last, err := s.ids.Last(s.ctx); last != 8 || err != nil {
			t.Errorf("Last = %d, %v, want 8", last, err)
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
		w.must(s.complete(completed(1), 1))
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

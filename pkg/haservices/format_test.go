package haservices_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// stored has one record of each kind.
func (w *world) stored(s *stores) {
	w.Helper()
	w.must(s.graphs.Put(s.ctx, s.token, storedJob("a")))
	w.must(s.complete(completed(1), 1))
	w.must(s.ledger.Put(s.ctx, s.token, ledger(1, 100)))
	w.must(s.intent.Put(s.ctx, s.token, haservices.Intent{Kind: haservices.CancelIntent}))
	w.must(s.results.PutDirty(s.ctx, s.token, result(protocol.JobFinished)))
	_, err := s.ids.Next(s.ctx, s.token)
	w.must(err)
}

func (w *world) content(file string) string {
	w.Helper()
	r, err := w.files.Open(w.Context(), file)
	w.must(err)
	defer r.Close()
	data, err := io.ReadAll(r)
	w.must(err)
	return string(data)
}

// everything is all that is stored, by path.
func (w *world) everything() map[string]string {
	all := w.cluster.Nodes()
	for _, f := range w.files.Files() {
		all["file "+f] = w.content(f)
	}
	return all
}

// tamper replaces nodes as a newer build would.
func (w *world) tamper(change func(path string, node map[string]any)) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	newer, err := w.cluster.Driver("newer").Campaign(ctx, haservices.Component{Kind: haservices.RestServer}, haservices.Contender{})
	w.must(err)
	defer newer.Resign(ctx)
	for path, data := range w.cluster.Nodes() {
		var node map[string]any
		w.must(json.Unmarshal([]byte(data), &node))
		if change(path, node); node == nil {
			continue
		}
		changed, err := json.Marshal(node)
		w.must(err)
		w.must(newer.Write(ctx, haservices.Write{Operation: haservices.Set, Path: path, Data: changed, Version: haservices.AnyVersion}))
	}
}

// newerFile makes the file that a node points to one of a newer build.
func (w *world) newerFile(node map[string]any) {
	w.Helper()
	file, ok := node["file"].(string)
	if !ok {
		return
	}
	content := strings.Replace(w.content(file), `"format":1,`, `"format":2,"new":{"member":[1]},`, 1)
	w.overwrite(file, content)
	sum := sha256.Sum256([]byte(content))
	node["size"], node["sha256"] = len(content), hex.EncodeToString(sum[:])
}

func TestEveryRecordSaysItsFormat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stored(w.stores("jm-1"))
		for path, data := range w.everything() {
			if !strings.HasPrefix(data, `{"format":1,`) {
				t.Errorf("%s does not say its format: %.60s", path, data)
			}
		}
	})
}

// TestRecordsOfANewerBuildAreLeftAlone: whatever an older build tries, it is told what to do, and nothing of
// what the newer one stored is changed or deleted.
func TestRecordsOfANewerBuildAreLeftAlone(t *testing.T) {
	reads := map[string]func(*stores) error{
		"job graph":     func(s *stores) error { _, err := s.graphs.Get(s.ctx, jobID); return err },
		"checkpoint":    func(s *stores) error { _, err := s.checkpoints.Latest(s.ctx); return err },
		"checkpoints":   func(s *stores) error { _, err := s.checkpoints.All(s.ctx); return err },
		"checkpoint ID": func(s *stores) error { _, err := s.ids.Last(s.ctx); return err },
		"ledger":        func(s *stores) error { _, err := s.ledger.Get(s.ctx); return err },
		"intent":        func(s *stores) error { _, err := s.intent.Get(s.ctx); return err },
		"result":        func(s *stores) error { _, err := s.results.Get(s.ctx, jobID); return err },
		"results":       func(s *stores) error { _, err := s.results.List(s.ctx); return err },
	}
	refusals := map[string]func(*stores) error{
		"job graph put":    func(s *stores) error { return s.graphs.Put(s.ctx, s.token, storedJob("a")) },
		"job graph delete": func(s *stores) error { return s.graphs.Delete(s.ctx, s.token, jobID) },
		"checkpoint ID":    func(s *stores) error { _, err := s.ids.Next(s.ctx, s.token); return err },
		"ledger put":       func(s *stores) error { return s.ledger.Put(s.ctx, s.token, ledger(2, 3)) },
		"result put":       func(s *stores) error { return s.results.PutDirty(s.ctx, s.token, result(protocol.JobFailed)) },
		"result clean":     func(s *stores) error { return s.results.MarkClean(s.ctx, s.token, jobID) },
		"result delete":    func(s *stores) error { return s.results.Delete(s.ctx, s.token, jobID) },
		"clean-up":         func(s *stores) error { return s.services.CleanupJob(s.ctx, s.election, s.token, jobID) },
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.stores("jm-1")
		w.stored(s)
		w.tamper(func(_ string, node map[string]any) {
			node["format"], node["new"] = 2, map[string]any{"member": []int{1}}
		})
		before := w.everything()
		for _, operations := range []map[string]func(*stores) error{reads, refusals} {
			for _, name := range slices.Sorted(maps.Keys(operations)) {
				err := operations[name](s)
				if !errors.Is(err, haservices.ErrNewerFormat) || !strings.Contains(err.Error(), "or a newer one") {
					t.Errorf("%s: %v, want ErrNewerFormat and what to do", name, err)
				}
			}
		}
		if err := s.services.Sweep(s.ctx, s.election, s.token); !errors.Is(err, haservices.ErrNewerFormat) {
			t.Errorf("Sweep = %v, want ErrNewerFormat", err)
		}
		if after := w.everything(); !maps.Equal(before, after) {
			t.Errorf("something was changed:\n%v\nwas\n%v", after, before)
		}
		// A checkpoint of this build is added beside the newer one, which is not subsumed.
		w.must(s.complete(completed(2), 1))
		for path, data := range w.everything() {
			if was, known := before[path]; known && was != data {
				t.Errorf("%s is %q, was %q", path, data, was)
			}
			delete(before, path)
		}
		if len(before) > 0 {
			t.Errorf("deleted: %q", slices.Sorted(maps.Keys(before)))
		}
	})
}

// TestFilesOfANewerBuild: the node may be as old as one likes, the file decides as well.
func TestFilesOfANewerBuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.stores("jm-1")
		w.stored(s)
		w.tamper(func(_ string, node map[string]any) { w.newerFile(node) })
		_, graph := s.graphs.Get(s.ctx, jobID)
		_, ledger := s.ledger.Get(s.ctx)
		_, checkpoint := s.checkpoints.Latest(s.ctx)
		for _, err := range []error{graph, ledger, checkpoint} {
			if !errors.Is(err, haservices.ErrNewerFormat) {
				t.Errorf("read = %v, want ErrNewerFormat", err)
			}
		}
		// The node of a result says enough: the job must not run again.
		if r, err := s.results.Get(s.ctx, jobID); err != nil || r.Details.Overview.State != protocol.JobFinished {
			t.Errorf("result = %+v, %v, want what its node says", r, err)
		}
	})
}

// TestUnknownMembersAreTolerated, and survive where an older build changes a record that it did not write.
func TestUnknownMembersAreTolerated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.stores("jm-1")
		w.stored(s)
		w.tamper(func(_ string, node map[string]any) { node["new"] = "member" })
		if _, err := s.graphs.Get(s.ctx, jobID); err != nil {
			t.Error(err)
		}
		if l, err := s.ledger.Get(s.ctx); err != nil || l.Wave != 1 {
			t.Errorf("ledger = %+v, %v", l, err)
		}
		if i, err := s.intent.Get(s.ctx); err != nil || i.Kind != haservices.CancelIntent {
			t.Errorf("intent = %+v, %v", i, err)
		}
		w.must(s.results.MarkClean(s.ctx, s.token, jobID))
		if r, err := s.results.Get(s.ctx, jobID); err != nil || r.Dirty || r.Details.Overview.State != protocol.JobFinished {
			t.Errorf("result = %+v, %v", r, err)
		}
		if data, _ := w.cluster.Peek("job-results/" + jobID.String()); !strings.Contains(data, `"new":"member"`) {
			t.Errorf("a member of a newer build was dropped: %s", data)
		}
	})
}

func TestRecords(t *testing.T) {
	type record struct {
		Name string `json:"name"`
		N    int    `json:"n"`
	}
	data := haservices.EncodeRecord(record{"a", 1})
	if want := `{"format":1,"name":"a","n":1}`; string(data) != want {
		t.Errorf("EncodeRecord = %s, want %s", data, want)
	}
	if got := string(haservices.EncodeRecord(struct{}{})); got != `{"format":1}` {
		t.Errorf("EncodeRecord of nothing = %s", got)
	}
	for _, tc := range []struct {
		name, data string
		want       record
		err        error
	}{
		{"this build's", `{"format":1,"name":"a","n":1}`, record{"a", 1}, nil},
		{"from before there were formats", `{"name":"a","n":1}`, record{"a", 1}, nil},
		{"with more members", `{"format":1,"name":"a","n":1,"x":{"y":[]}}`, record{"a", 1}, nil},
		{"a newer build's", `{"format":2,"name":{"first":"a"}}`, record{}, haservices.ErrNewerFormat},
	} {
		var got record
		if err := haservices.DecodeRecord([]byte(tc.data), &got); got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: DecodeRecord = %+v, %v, want %+v, %v", tc.name, got, err, tc.want, tc.err)
		}
	}
	patched, err := haservices.PatchRecord([]byte(`{"format":1,"name":"a","n":1,"x":{"y":[]}}`), struct {
		N int `json:"n"`
	}{2})
	if want := `{"format":1,"n":2,"name":"a","x":{"y":[]}}`; err != nil || string(patched) != want {
		t.Errorf("PatchRecord = %s, %v, want %s", patched, err, want)
	}
	if _, err := haservices.PatchRecord([]byte(`{"format":2}`), record{}); !errors.Is(err, haservices.ErrNewerFormat) {
		t.Errorf("PatchRecord of a newer build's = %v", err)
	}
}

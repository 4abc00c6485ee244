package haservices_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/protocol"
)

func TestTermsRecordTheirSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.process("a")
		if terms, version, _ := s.Terms(0); len(terms) != 0 || version != 0 {
			t.Errorf("terms before the first: %v, version %d", terms, version)
		}
		e, first := w.lead(s, dispatcher)
		terms, version, more := s.Terms(0)
		if len(terms) != 1 || terms[0].Component != "dispatcher" || terms[0].Epoch != 1 || terms[0].Reason != protocol.FirstLeader || terms[0].Won.IsZero() {
			t.Fatalf("terms = %+v, want that of the dispatcher", terms)
		}
		e.StoresRead(first.token)
		select {
		case <-more:
		default:
			t.Error("nothing was told of a step")
		}
		if err := e.Confirm(t.Context(), first.token, "tamias://a:1/dispatcher"); err != nil {
			t.Fatal(err)
		}
		e.Adopted(first.token, time.Now(), 4, 3)
		terms, version, _ = s.Terms(version)
		if got := terms[0]; len(terms) != 1 || got.StoresRead.IsZero() || got.Confirmed.IsZero() || got.Address != "tamias://a:1/dispatcher" || got.Tasks != 4 || got.AdoptedTasks != 3 {
			t.Errorf("after all steps: %+v", terms)
		}
		if terms, _, _ = s.Terms(version); len(terms) != 0 {
			t.Errorf("told twice: %+v", terms)
		}
		w.cluster.ExpireSession("a")
		synctest.Wait()
		e.StoresRead(first.token) // of a term that is over: nothing
		terms, _, _ = s.Terms(version)
		if len(terms) == 0 || terms[0].Ended.IsZero() || !terms[0].SameTerm(protocol.LeaderTerm{Component: "dispatcher", Epoch: 1}) {
			t.Errorf("after the end: %+v", terms)
		}
		if _, ok := e.Record(first.token); ok {
			t.Error("a term that is over has a record")
		}
	})
}

func TestLeadershipHistoryIsFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.process("a"), w.process("b")
		history := func(host string) protocol.LeadershipHistory {
			return protocol.LeadershipHistory{Terms: []protocol.LeaderTerm{{Component: "dispatcher", Leader: protocol.LeaderProcess{Host: host}}}}
		}
		first, one := w.lead(a, dispatcher)
		if h, err := a.Leadership(first).Get(t.Context()); err != nil || len(h.Terms) != 0 {
			t.Errorf("history before the first Put = %+v, %v", h, err)
		}
		if err := a.Leadership(first).Put(t.Context(), one.token, history("a")); err != nil {
			t.Fatal(err)
		}
		second := b.LeaderElection(dispatcher)
		next := w.contend(second)
		w.cluster.Freeze("a") // it believes that it leads
		two := <-next
		if h, err := b.Leadership(second).Get(t.Context()); err != nil || h.Terms[0].Leader.Host != "a" {
			t.Errorf("history that the next leader finds = %+v, %v", h, err)
		}
		if err := b.Leadership(second).Put(t.Context(), two.token, history("b")); err != nil {
			t.Fatal(err)
		}
		w.cluster.Thaw("a")
		if err := a.Leadership(first).Put(t.Context(), one.token, history("late")); !errors.Is(err, haservices.ErrNotLeader) {
			t.Errorf("Put of the deposed leader = %v, want ErrNotLeader", err)
		}
		if err := b.Leadership(second).Put(t.Context(), one.token, history("forged")); !errors.Is(err, haservices.ErrNotLeader) {
			t.Errorf("Put with another's token = %v, want ErrNotLeader", err)
		}
		if h, err := b.Leadership(second).Get(t.Context()); err != nil || h.Terms[0].Leader.Host != "b" {
			t.Errorf("history after both = %+v, %v", h, err)
		}
		w.checkPointers()
	})
}

func TestRefusedWritesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.process("a")
		e, lead := w.lead(s, dispatcher)
		waiting := w.contend(w.process("b").LeaderElection(dispatcher))
		synctest.Wait() // b is next in line, before a comes back
		w.cluster.ExpireSession("a")
		next := <-waiting
		if err := e.Confirm(t.Context(), lead.token, "tamias://a:1/dispatcher"); !errors.Is(err, haservices.ErrNotLeader) {
			t.Fatalf("Confirm = %v, want ErrNotLeader", err)
		}
		if n := s.RefusedWrites(); n != 1 || next.token == lead.token {
			t.Errorf("%d refused writes counted, want 1", n)
		}
	})
}

// TestLongHistory: it moves to a file when it outgrows its node, and leaves no other file behind.
func TestLongHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.process("a")
		e, lead := w.lead(s, dispatcher)
		store := s.Leadership(e)
		var h protocol.LeadershipHistory
		for i := range 100 {
			h.Terms = append(h.Terms, protocol.LeaderTerm{Component: "dispatcher", Epoch: uint64(100 - i), Address: fmt.Sprint("tamias://a:", i)})
			if err := store.Put(t.Context(), lead.token, h); err != nil {
				t.Fatal(err)
			}
		}
		got, err := store.Get(t.Context())
		if err != nil || len(got.Terms) != 100 || got.Terms[99].Address != "tamias://a:99" {
			t.Errorf("%d terms, %v", len(got.Terms), err)
		}
		files := w.files.Files()
		if len(files) != 1 || !strings.Contains(files[0], "/files/leadership/history-e1-") {
			t.Errorf("files = %v, want one", files)
		}
		w.checkPointers()

		for _, f := range files {
			if err := w.files.Delete(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := store.Get(t.Context()); !errors.Is(err, haservices.ErrUnreadable) {
			t.Errorf("history without its file = %v, want ErrUnreadable", err)
		}
		if err := store.Put(t.Context(), lead.token, protocol.LeadershipHistory{}); err != nil {
			t.Errorf("Put over a damaged history = %v", err)
		}
		if err := w.files.Create(t.Context(), "/ha/test/files/leadership/history-e0-0123456789abcdef.json", strings.NewReader("{}")); err != nil {
			t.Fatal(err)
		}
		if err := s.Sweep(t.Context(), e, lead.token); err != nil || len(w.files.Files()) != 0 {
			t.Errorf("Sweep = %v, files left: %v", err, w.files.Files())
		}
	})
}

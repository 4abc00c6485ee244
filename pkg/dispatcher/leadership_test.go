package dispatcher

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

func (w *world) leadership() protocol.Leadership {
	w.t.Helper()
	l, err := invoke(w, protocol.DescribeLeadership, protocol.Empty{})
	if err != nil {
		w.t.Fatalf("DescribeLeadership: %v", err)
	}
	return l
}

// story is the history of one component in words, oldest first.
func story(h protocol.LeadershipHistory, component haservices.Kind) string {
	var lines []string
	for _, t := range slices.Backward(h.Terms) {
		if t.Component != string(component) {
			continue
		}
		line := fmt.Sprintf("%d by %s: %s", t.Epoch, t.Leader.Address, t.Reason)
		if t.Predecessor != nil {
			line += " " + t.Predecessor.Address
		}
		if !t.Ended.IsZero() {
			line += ", ended"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

func TestHistorySurvivesLeaders(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		a := w.start("a")
		settle(time.Second)
		w.start("b")
		settle(time.Second)
		c := w.start("c")
		settle(time.Second)
		a.kill()
		settle(time.Second)
		h := w.leadership().History
		if got, want := story(h, haservices.Dispatcher), "1 by a:6123: first, ended; 2 by b:6123: process-gone a:6123"; got != want {
			t.Errorf("after a kill: %s\nwant %s", got, want)
		}
		newest := h.Terms[0]
		if newest.Detected.IsZero() || newest.Won.Before(newest.Detected) || newest.StoresRead.Before(newest.Won) || newest.Confirmed.Before(newest.StoresRead) {
			t.Errorf("steps of the second leader: %+v", newest)
		}
		w.cluster.Freeze("b")
		settle(time.Minute)
		w.cluster.Thaw("b")
		settle(time.Second)
		c.terminate()
		settle(time.Second)
		l := w.leadership()
		want := "1 by a:6123: first, ended; 2 by b:6123: process-gone a:6123, ended; 3 by c:6123: silent b:6123, ended; 4 by b:6123: resigned c:6123"
		if got := story(l.History, haservices.Dispatcher); got != want {
			t.Errorf("after all: %s\nwant %s", got, want)
		}
		third := l.History.Terms[1]
		if silence := third.Detected.Sub(third.LastHeard); silence < 5*time.Second || third.Gone() != third.LastHeard {
			t.Errorf("a frozen leader was silent for %s, want about the session timeout: %+v", silence, third)
		}
		if n := l.History.Totals.Changes["dispatcher"]; n != 3 {
			t.Errorf("%d changes of leaders counted, want 3", n)
		}
		if d := l.History.Totals.Leaderless["dispatcher"]; d < 10*time.Second || d > time.Minute {
			t.Errorf("%s without a leader counted, want somewhat more than the session timeout", d)
		}
		if len(l.Leaders) != 1 || l.Leaders[0].Epoch != 4 || l.Leaders[0].Address != "tamias://b:6123/dispatcher" {
			t.Errorf("leaders = %+v, want the fourth", l.Leaders)
		}
		checkFence(t, w)
	})
}

// checkFence: whoever did not lead any more wrote no history.
func checkFence(t *testing.T, w *world) {
	t.Helper()
	audit := w.cluster.Audit()
	if err := embedded.CheckAudit(audit); err != nil {
		t.Error(err)
	}
	written := 0
	for _, r := range audit {
		if r.Path == "leadership/history" && r.Err == nil {
			written++
		}
	}
	if written == 0 {
		t.Error("no history was written")
	}
}

// standIn leads a component in a process of its own, and confirms.
type standIn struct {
	election *haservices.LeaderElection
	address  string
}

func (s standIn) Lead(ctx context.Context, token id.FencingToken) error {
	if err := s.election.Confirm(ctx, token, s.address); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// TestLeadersInOtherProcesses: the ResourceManager and the REST endpoint may lead elsewhere.
func TestLeadersInOtherProcesses(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		lead := func(name string) {
			services := haservices.New(haservices.Config{
				Driver: w.cluster.Driver(name), FileSystem: w.files, StorageDir: "/ha", ClusterID: "test",
				Me: haservices.Contender{Process: id.NewInstance(), Host: name, PID: 7, Address: name + ":6123"},
			})
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			election := services.LeaderElection(haservices.Component{Kind: haservices.ResourceManager})
			go func() {
				ended <- election.Run(ctx, standIn{election, "tamias://" + name + ":6123/resource_manager"})
			}()
			t.Cleanup(func() { stop(); <-ended; services.Close(context.Background()) })
		}
		lead("x")
		settle(time.Second)
		lead("y")
		w.start("a")
		settle(time.Second)
		w.cluster.Kill("x")
		settle(time.Second)
		l := w.leadership()
		if got, want := story(l.History, haservices.ResourceManager), "1 by x:6123: first, ended; 2 by y:6123: process-gone x:6123"; got != want {
			t.Errorf("history: %s\nwant %s", got, want)
		}
		if len(l.Leaders) != 2 || l.Leaders[1].Component != "resource_manager" || l.Leaders[1].Leader.Host != "y" ||
			l.Leaders[1].Leader.PID != 7 || l.Leaders[1].Address != "tamias://y:6123/resource_manager" {
			t.Errorf("leaders = %+v", l.Leaders)
		}
		w.cluster.Kill("y")
		settle(time.Second)
		if l := w.leadership(); len(l.Leaders) != 1 {
			t.Errorf("leaders after the last one died = %+v, want the dispatcher alone", l.Leaders)
		}
	})
}

// TestDamagedHistory: it begins anew, and holds nothing up.
func TestDamagedHistory(t *testing.T) {
	inBubble(t, embedded.Config{}, func(t *testing.T, w *world) {
		a := w.start("a")
		settle(time.Second)
		a.terminate()
		term, err := w.view.Campaign(t.Context(), haservices.Component{Kind: haservices.Dispatcher}, haservices.Contender{Address: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if err := term.Write(t.Context(), haservices.Write{Operation: haservices.Put, Path: "leadership/history", Data: []byte("{")}); err != nil {
			t.Fatal(err)
		}
		term.Resign(t.Context())
		w.start("b")
		settle(time.Second)
		if got, want := story(w.leadership().History, haservices.Dispatcher), "3 by b:6123: resigned test"; got != want {
			t.Errorf("history: %s\nwant %s", got, want)
		}
	})
}

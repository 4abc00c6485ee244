package haservices_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
)

var dispatcher = haservices.Component{Kind: haservices.Dispatcher}

// world is a cluster, its storage directory, and processes on both.
type world struct {
	*testing.T
	cluster *embedded.Cluster
	files   *filesystem.Memory
	faults  *faults
}

// faults decides what becomes of writes; the zero value lets all through.
type faults struct {
	mu      sync.Mutex // guards all below
	outcome func(embedded.Call) embedded.Outcome
}

func (f *faults) set(outcome func(embedded.Call) embedded.Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outcome = outcome
}

func (f *faults) decide(c embedded.Call) embedded.Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.outcome == nil {
		return embedded.Answered
	}
	return f.outcome(c)
}

func newWorld(t *testing.T) *world {
	f := &faults{}
	w := &world{T: t, faults: f, files: filesystem.NewMemory(), cluster: embedded.NewCluster(embedded.Config{
		SessionTimeout: 10 * time.Second, Faults: embedded.Faults{Outcome: f.decide},
	})}
	t.Cleanup(func() {
		if err := embedded.CheckAudit(w.cluster.Audit()); err != nil {
			t.Error(err)
		}
	})
	return w
}

// process returns the services of a new process.
func (w *world) process(name string) *haservices.Services {
	s := haservices.New(haservices.Config{
		Driver: w.cluster.Driver(name), FileSystem: w.files, StorageDir: "file:///ha", ClusterID: "/test",
		Coordination: "coordination of " + name, Me: haservices.Contender{Host: "host of " + name},
	})
	w.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			w.Error(err)
		}
	})
	return s
}

// term is one term of a contender that does nothing by itself.
type term struct {
	ctx   context.Context
	token id.FencingToken
	end   chan error // what Lead returns
}

// contender hands its terms to a test.
type contender struct{ terms chan term }

func (c contender) Lead(ctx context.Context, token id.FencingToken) error {
	t := term{ctx, token, make(chan error, 1)}
	select {
	case c.terms <- t:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-t.end:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// contend runs an election until the test ends and returns where its terms arrive.
func (w *world) contend(e *haservices.LeaderElection) <-chan term {
	c := contender{make(chan term)}
	w.contendWith(e, c)
	return c.terms
}

func (w *world) contendWith(e *haservices.LeaderElection, c haservices.LeaderContender) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx, c) }()
	w.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("Run = %v", err)
		}
	})
}

// lead returns an election with its first term.
func (w *world) lead(s *haservices.Services, c haservices.Component) (*haservices.LeaderElection, term) {
	e := s.LeaderElection(c)
	return e, <-w.contend(e)
}

// checkPointers fails if a node points to a file that is not there whole.
func (w *world) checkPointers() {
	w.Helper()
	there := map[string]bool{}
	for _, f := range w.files.Files() {
		there[f] = true
	}
	for path, data := range w.cluster.Nodes() {
		var p struct {
			File string `json:"file"`
		}
		if err := json.Unmarshal([]byte(data), &p); err != nil {
			w.Errorf("node %s is no JSON: %q", path, data)
		}
		if p.File != "" && !there[strings.TrimPrefix(p.File, "file://")] {
			w.Errorf("node %s points to %s, which is not there", path, p.File)
		}
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func TestRunLeadsAndContendsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.process("jm-1").LeaderElection(dispatcher)
		terms := w.contend(e)
		first := <-terms
		if err := e.Run(t.Context(), contender{}); err == nil {
			t.Error("a second Run succeeded")
		}
		w.cluster.ExpireSession("jm-1")
		<-first.ctx.Done()
		if cause := context.Cause(first.ctx); !errors.Is(cause, haservices.ErrNotLeader) {
			t.Errorf("the term ended with cause %v, want ErrNotLeader", cause)
		}
		second := <-terms
		if second.token.Epoch() <= first.token.Epoch() {
			t.Errorf("epoch %d after %d", second.token.Epoch(), first.token.Epoch())
		}
	})
}

func TestContenderThatFailsLetsOthersLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one := w.contend(w.process("jm-1").LeaderElection(dispatcher))
		first := <-one
		other := w.contend(w.process("jm-2").LeaderElection(dispatcher))
		synctest.Wait()
		first.end <- errors.New("broken")
		second := <-other
		<-time.After(time.Second) // the first contends again
		second.end <- errors.New("broken too")
		<-one
	})
}

func TestBackoffOfAFailingContender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		terms := w.contend(w.process("jm-1").LeaderElection(dispatcher))
		start := time.Now()
		for range 20 {
			(<-terms).end <- nil
		}
		// 0.1+0.2+...+6.4 s and then 10 s each, of which a random part up to a half is not waited.
		if took := time.Since(start); took < 60*time.Second || took > 140*time.Second {
			t.Errorf("20 failing terms took %s", took)
		}
	})
}

func TestConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one, two := w.process("jm-1"), w.process("jm-2")
		leaders := haservices.NewLeaderChannel()
		ctx, cancel := context.WithCancel(context.Background())
		followed := make(chan error)
		go func() { followed <- two.LeaderRetrieval(dispatcher).Run(ctx, leaders) }()

		e, first := w.lead(one, dispatcher)
		w.faults.set(once("publish", embedded.LoseAnswer))
		w.must(e.Confirm(first.ctx, first.token, "tamias://jm-1:1/dispatcher"))
		want := haservices.LeaderInformation{Address: "tamias://jm-1:1/dispatcher", Token: first.token}
		if got := <-leaders.C(); got != want {
			t.Errorf("leader is %v, want %v", got, want)
		}
		next := w.contend(two.LeaderElection(dispatcher))
		synctest.Wait()
		w.cluster.ExpireSession("jm-1")
		<-next
		if got := <-leaders.C(); !got.IsEmpty() {
			t.Errorf("leader is %v after the loss, want none", got)
		}
		if err := e.Confirm(t.Context(), first.token, "late"); !errors.Is(err, haservices.ErrNotLeader) {
			t.Errorf("Confirm of a lost term = %v, want ErrNotLeader", err)
		}
		cancel()
		w.must(<-followed)
	})
}

// once gives outcome to the next call of that operation, and none to later ones.
func once(operation string, outcome embedded.Outcome) func(embedded.Call) embedded.Outcome {
	return func(c embedded.Call) embedded.Outcome {
		if c.Operation != operation || outcome == embedded.Answered {
			return embedded.Answered
		}
		o := outcome
		outcome = embedded.Answered
		return o
	}
}

func TestLeaderChannelKeepsTheLatest(t *testing.T) {
	c := haservices.NewLeaderChannel()
	for i := range 3 {
		c.NotifyLeader(haservices.LeaderInformation{Address: fmt.Sprint(i)})
	}
	if got := (<-c.C()).Address; got != "2" {
		t.Errorf("the channel held %s, want the latest value, 2", got)
	}
	select {
	case l := <-c.C():
		t.Errorf("the channel held %v as well", l)
	default:
	}
}

// TestStoresRideOutAnOutage: a write of a leader that is cut off for less than a session waits.
func TestStoresRideOutAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e, lead := w.lead(w.process("jm-1"), dispatcher)
		w.cluster.Disconnect("jm-1")
		done := make(chan error)
		go func() { done <- e.Confirm(lead.ctx, lead.token, "tamias://jm-1:1/dispatcher") }()
		time.AfterFunc(8*time.Second, func() { w.cluster.Reconnect("jm-1") })
		w.must(<-done)

		w.cluster.Disconnect("jm-1") // and now for longer
		if err := e.Confirm(t.Context(), lead.token, "tamias://jm-1:2/dispatcher"); !errors.Is(err, haservices.ErrNotLeader) {
			t.Errorf("Confirm beyond the session = %v, want ErrNotLeader", err)
		}
		w.cluster.Reconnect("jm-1")
	})
}

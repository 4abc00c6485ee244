// Package hatest is the conformance suite of haservices.Driver: what every backend promises about
// elections, leader retrieval, fencing and nodes, as tests. A backend's own tests call Conformance with
// a function that opens the backend; those that live in memory call ConformanceInBubble, where time is
// virtual.
//
// The suite sleeps nowhere: it waits for what drivers tell, with a generous deadline. What backends may
// do differently is not tested: whether a parent that nobody created can be read, whether it stays when
// its last child is deleted, whether a node with data can have children, and which numbers versions are.
package hatest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
)

// patience bounds every wait of the suite. Nothing is asserted about how long something takes.
const patience = 60 * time.Second

// Fixture is one backend, empty, opened for one test. The hooks are nil where a backend has no such
// fault or a test cannot cause it in one process; tests that need a missing hook are skipped. The suite
// closes every driver that it got from New, killed ones too; what New's backend needs otherwise is
// cleaned up by the function that made the Fixture, with t.Cleanup.
type Fixture struct {
	// New returns the driver of another process on the same backend. (Processes of a test may well be
	// drivers in one OS process.)
	New func() haservices.Driver
	// Contender describes the process of d to its successors; nil for a made-up description.
	Contender func(d haservices.Driver) haservices.Contender
	// Fixed says that leadership cannot change hands: New may be called once.
	Fixed bool

	// Kill ends the process of d without closing d: nothing more that d does has an effect. Close of d
	// must still return.
	Kill func(d haservices.Driver)
	// Expire makes the backend forget the process of d (a lost session), which goes on and is told as late
	// as the backend likes.
	Expire func(d haservices.Driver)
	// Freeze stops the process of d without closing anything, Thaw lets it go on: calls in between wait.
	Freeze, Thaw func(d haservices.Driver)
	// Disconnect cuts the process of d off from the backend until Reconnect.
	Disconnect, Reconnect func(d haservices.Driver)
}

// Conformance runs the suite. open is called once for each test.
func Conformance(t *testing.T, open func(t *testing.T) Fixture) {
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			// Cleanups run last to first: after the drivers are closed, and after open's own.
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() {
				if !t.Failed() {
					goleak.VerifyNone(t, before)
				}
			})
			tc.run(newSuite(t, open(t)))
		})
	}
}

// ConformanceInBubble runs the suite with each test in a synctest bubble of its own. A goroutine that a
// driver leaves behind fails the test, as the bubble never ends.
func ConformanceInBubble(t *testing.T, open func(t *testing.T) Fixture) {
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { tc.run(newSuite(t, open(t))) })
		})
	}
}

var cases = []struct {
	name string
	run  func(*suite)
}{
	{"campaign/one leader at a time", oneLeaderAtATime},
	{"campaign/next leads after Resign", nextLeadsAfterResign},
	{"campaign/next leads after Close", nextLeadsAfterClose},
	{"campaign/next leads after Kill", nextLeadsAfterKill},
	{"campaign/next leads after Expire", nextLeadsAfterExpire},
	{"campaign/same process again", sameProcessAgain},
	{"campaign/twice at a time", twiceAtATime},
	{"campaign/components are independent", componentsAreIndependent},
	{"campaign/jobs have a leader each", jobsHaveALeaderEach},
	{"campaign/second contender", secondContender},
	{"campaign/a contender that left is passed over", contenderThatLeft},
	{"campaign/100 quick changes", quickChanges},
	{"succession/after Resign and Close", successionAfterResign},
	{"succession/after Kill", successionAfterKill},
	{"succession/after Expire", successionAfterExpire},
	{"fencing/resigned term", resignedTermCannotWrite},
	{"fencing/deposed term", deposedTermCannotWrite},
	{"fencing/writer that never looks", writerThatNeverLooks},
	{"fencing/frozen leader", frozenLeader},
	{"fencing/short disconnection", shortDisconnection},
	{"fencing/long disconnection", longDisconnection},
	{"retrieval/publish and withdraw", publishAndWithdraw},
	{"retrieval/publish again", publishAgain},
	{"retrieval/late observer", lateObserver},
	{"retrieval/unconfirmed leader is not told", unconfirmedLeader},
	{"retrieval/change of leader", changeOfLeader},
	{"retrieval/killed leader", killedLeader},
	{"nodes/create", createNode},
	{"nodes/set", setNode},
	{"nodes/put", putNode},
	{"nodes/delete", deleteNode},
	{"nodes/children", listChildren},
	{"nodes/repeated requests", repeatedRequests},
	{"nodes/outlive their writer", nodesOutliveTheirWriter},
	{"nodes/seen by the next leader", nodesSeenByNextLeader},
	{"contexts", contextsEndCalls},
	{"close", closeGivesEverythingUp},
}

// suite is one running test.
type suite struct {
	*testing.T
	Fixture
	ctx context.Context

	mu     sync.Mutex // guards madeUp
	madeUp map[haservices.Driver]haservices.Contender
}

func newSuite(t *testing.T, f Fixture) *suite {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return &suite{T: t, Fixture: f, ctx: ctx, madeUp: map[haservices.Driver]haservices.Contender{}}
}

func (s *suite) need(name string, hook bool) {
	s.Helper()
	if !hook {
		s.Skipf("this backend has no %s", name)
	}
}

func (s *suite) needChanges() {
	s.Helper()
	if s.Fixed {
		s.Skip("leadership does not change hands")
	}
}

// process returns the driver of a new process, closed when the test ends.
func (s *suite) process() haservices.Driver {
	s.Helper()
	d := s.New()
	s.Cleanup(func() {
		if err := d.Close(); err != nil {
			s.Errorf("Close: %v", err)
		}
	})
	return d
}

func (s *suite) me(d haservices.Driver) haservices.Contender {
	if s.Contender != nil {
		return s.Contender(d)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	me, ok := s.madeUp[d]
	if !ok {
		me = haservices.Contender{Process: id.NewInstance(), Host: "localhost", PID: os.Getpid(), Address: "127.0.0.1:6123"}
		s.madeUp[d] = me
	}
	return me
}

// lead campaigns until d leads c.
func (s *suite) lead(d haservices.Driver, c haservices.Component) haservices.Term {
	s.Helper()
	term, err := d.Campaign(s.ctx, c, s.me(d))
	if err != nil {
		s.Fatalf("Campaign for %s: %v", c, err)
	}
	return term
}

// campaign is a Campaign in the background.
type campaign struct {
	s    *suite
	term chan haservices.Term
	err  chan error
}

func (s *suite) contend(ctx context.Context, d haservices.Driver, c haservices.Component) *campaign {
	b := &campaign{s: s, term: make(chan haservices.Term, 1), err: make(chan error, 1)}
	me, done := s.me(d), make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	s.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		term, err := d.Campaign(ctx, c, me)
		if err != nil {
			b.err <- err
			return
		}
		b.term <- term
	}()
	return b
}

// wins waits until the campaign has won.
func (b *campaign) wins() haservices.Term {
	b.s.Helper()
	select {
	case term := <-b.term:
		return term
	case err := <-b.err:
		b.s.Fatalf("Campaign: %v", err)
	case <-b.s.ctx.Done():
		b.s.Fatal("Campaign was not won")
	}
	return nil
}

// ends waits until the campaign has returned an error.
func (b *campaign) ends() error {
	b.s.Helper()
	select {
	case err := <-b.err:
		return err
	case <-b.term:
		b.s.Fatal("Campaign was won")
	case <-b.s.ctx.Done():
		b.s.Fatal("Campaign did not return")
	}
	return nil
}

// pending fails if the campaign has ended already.
func (b *campaign) pending() {
	b.s.Helper()
	select {
	case <-b.term:
		b.s.Fatal("a second contender leads beside the first")
	case err := <-b.err:
		b.s.Fatalf("Campaign: %v", err)
	default:
	}
}

// lost waits until the term says that it is over.
func (s *suite) lost(term haservices.Term) {
	s.Helper()
	select {
	case <-term.Lost():
	case <-s.ctx.Done():
		s.Fatal("Lost was not closed")
	}
}

// leads fails if the term says that it is over.
func (s *suite) leads(term haservices.Term) {
	s.Helper()
	select {
	case <-term.Lost():
		s.Fatal("Lost is closed while the term lasts")
	default:
	}
}

func (s *suite) must(what string, err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
}

func (s *suite) publish(term haservices.Term, address string) {
	s.Helper()
	s.must("Publish "+address, term.Publish(s.ctx, address))
}

func (s *suite) put(term haservices.Term, path, data string) {
	s.Helper()
	s.must("Put "+path, term.Write(s.ctx, haservices.Write{Operation: haservices.Put, Path: path, Data: []byte(data)}))
}

func (s *suite) read(d haservices.Driver, path string) haservices.Node {
	s.Helper()
	n, err := d.Read(s.ctx, path)
	if err != nil {
		s.Fatalf("Read %s: %v", path, err)
	}
	return n
}

// holds fails unless the node at path holds data.
func (s *suite) holds(d haservices.Driver, path, data string) {
	s.Helper()
	if got := string(s.read(d, path).Data); got != data {
		s.Errorf("node %s holds %q, want %q", path, got, data)
	}
}

func epochOf(term haservices.Term) uint64 { return term.Token().Epoch() }

func describe(i haservices.LeaderInformation) string {
	if i.IsEmpty() {
		return "no leader"
	}
	return fmt.Sprintf("%s (epoch %d)", i.Address, i.Token.Epoch())
}

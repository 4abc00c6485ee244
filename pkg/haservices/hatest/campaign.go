package hatest

import (
	"context"
	"errors"
	"fmt"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
)

var (
	dispatcher      = haservices.Component{Kind: haservices.Dispatcher}
	resourceManager = haservices.Component{Kind: haservices.ResourceManager}
	restServer      = haservices.Component{Kind: haservices.RestServer}
)

func oneLeaderAtATime(s *suite) {
	s.needChanges()
	a, b := s.process(), s.process()
	first := s.lead(a, dispatcher)
	next := s.contend(s.ctx, b, dispatcher)
	for i := range 10 {
		s.put(first, "jobgraphs/a", fmt.Sprint(i))
		next.pending()
	}
	s.leads(first)
	if epochOf(first) == 0 {
		s.Error("the token has epoch 0, want at least 1")
	}
}

func nextLeadsAfterResign(s *suite) {
	s.successor(func(_ haservices.Driver, term haservices.Term) { term.Resign(s.ctx); term.Resign(s.ctx) })
}

func nextLeadsAfterClose(s *suite) {
	s.successor(func(d haservices.Driver, _ haservices.Term) { s.must("Close", d.Close()) })
}

func nextLeadsAfterKill(s *suite) {
	s.need("Kill", s.Kill != nil)
	s.successor(func(d haservices.Driver, _ haservices.Term) { s.Kill(d) })
}

func nextLeadsAfterExpire(s *suite) {
	s.need("Expire", s.Expire != nil)
	s.successor(func(d haservices.Driver, _ haservices.Term) { s.Expire(d) })
}

// successor checks that two more processes lead one after the other when the one before is ended.
func (s *suite) successor(end func(haservices.Driver, haservices.Term)) {
	s.Helper()
	s.needChanges()
	processes := []haservices.Driver{s.process(), s.process(), s.process()}
	term := s.lead(processes[0], dispatcher)
	var waiting []*campaign
	for _, d := range processes[1:] {
		waiting = append(waiting, s.contend(s.ctx, d, dispatcher))
	}
	leader := 0
	for range 2 {
		before := term
		end(processes[leader], term)
		var at int
		term, at = s.anyWins(waiting)
		leader = at + 1
		if epochOf(term) <= epochOf(before) {
			s.Errorf("epoch %d after %d, want a higher one", epochOf(term), epochOf(before))
		}
		s.put(term, "jobgraphs/a", term.Token().String())
		s.leads(term)
	}
}

// anyWins waits until one of the campaigns is won and says which.
func (s *suite) anyWins(waiting []*campaign) (haservices.Term, int) {
	s.Helper()
	// A nil channel is never ready: campaigns that were won before are passed over.
	select {
	case term := <-waiting[0].term:
		waiting[0].term = nil
		return term, 0
	case term := <-waiting[1].term:
		waiting[1].term = nil
		return term, 1
	case <-s.ctx.Done():
		s.Fatal("nobody leads")
		return nil, 0
	}
}

func sameProcessAgain(s *suite) {
	d := s.process()
	first := s.lead(d, dispatcher)
	first.Resign(s.ctx)
	s.lost(first)
	second := s.lead(d, dispatcher)
	if !s.Fixed && epochOf(second) <= epochOf(first) {
		s.Errorf("epoch %d after %d, want a higher one", epochOf(second), epochOf(first))
	}
	if !s.Fixed && first.Token() == second.Token() {
		s.Error("two terms have the same token")
	}
	s.put(second, "jobgraphs/a", "second")
	first.Resign(s.ctx) // late, and nobody's business
	s.leads(second)
	s.put(second, "jobgraphs/a", "still second")
}

func twiceAtATime(s *suite) {
	d := s.process()
	term := s.lead(d, dispatcher)
	if err := s.contend(s.ctx, d, dispatcher).ends(); errors.Is(err, context.DeadlineExceeded) {
		s.Error("a second Campaign of the same process waits, want an error at once")
	}
	s.leads(term)
	s.put(term, "jobgraphs/a", "x")
}

func componentsAreIndependent(s *suite) {
	d := s.process()
	one, other := s.lead(d, dispatcher), s.lead(d, resourceManager)
	s.put(one, "jobgraphs/a", "one")
	one.Resign(s.ctx)
	s.lost(one)
	s.leads(other)
	s.put(other, "jobgraphs/a", "other")
	if s.Fixed {
		return
	}
	b := s.process()
	s.put(s.lead(b, dispatcher), "jobgraphs/a", "successor")
	s.leads(other)
	s.put(other, "jobgraphs/b", "other")
}

func jobsHaveALeaderEach(s *suite) {
	d := s.process()
	one, other := haservices.JobMaster(id.NewJob()), haservices.JobMaster(id.NewJob())
	first, second := s.lead(d, one), s.lead(d, other)
	s.put(first, "jobs/"+one.Job.String()+"/intent", "1")
	s.put(second, "jobs/"+other.Job.String()+"/intent", "2")
	first.Resign(s.ctx)
	s.lost(first)
	s.leads(second)
	s.put(second, "jobs/"+other.Job.String()+"/intent", "3")
}

func secondContender(s *suite) {
	if !s.Fixed {
		s.Skip("leadership changes hands")
	}
	d := s.process()
	term := s.lead(d, dispatcher)
	if err := s.contend(s.ctx, d, dispatcher).ends(); !errors.Is(err, haservices.ErrContended) {
		s.Errorf("second Campaign = %v, want ErrContended", err)
	}
	term.Resign(s.ctx)
	s.lead(d, dispatcher)
}

func contenderThatLeft(s *suite) {
	s.needChanges()
	a, b, c := s.process(), s.process(), s.process()
	term := s.lead(a, dispatcher)
	ctx, leave := context.WithCancel(s.ctx)
	left := s.contend(ctx, b, dispatcher)
	next := s.contend(s.ctx, c, dispatcher)
	leave()
	if err := left.ends(); !errors.Is(err, context.Canceled) {
		s.Errorf("Campaign = %v, want the context's error", err)
	}
	term.Resign(s.ctx)
	next.wins()
}

// quickChanges hands leadership round among three processes, 100 times.
func quickChanges(s *suite) {
	s.needChanges()
	const changes = 100
	watcher := s.observe(s.process(), dispatcher)
	terms := make(chan haservices.Term)
	for range 3 {
		d, done := s.process(), make(chan struct{})
		s.Cleanup(func() { <-done })
		ctx, cancel := context.WithCancel(s.ctx)
		s.Cleanup(cancel)
		go func() {
			defer close(done)
			for {
				term, err := d.Campaign(ctx, dispatcher, s.me(d))
				if err != nil {
					if ctx.Err() == nil {
						s.Errorf("Campaign: %v", err)
					}
					return
				}
				select {
				case terms <- term:
				case <-ctx.Done():
					return
				}
				select {
				case <-term.Lost():
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	var last uint64
	for i := range changes {
		var term haservices.Term
		select {
		case term = <-terms:
		case <-s.ctx.Done():
			s.Fatalf("nobody leads after %d changes", i)
		}
		if epochOf(term) <= last {
			s.Fatalf("epoch %d after %d, want a higher one", epochOf(term), last)
		}
		last = epochOf(term)
		s.publish(term, fmt.Sprintf("tamias://host:%d/dispatcher", i+1))
		s.put(term, "jobgraphs/a", fmt.Sprint(last))
		if i < changes-1 {
			term.Resign(s.ctx)
		}
	}
	watcher.await(func(l haservices.LeaderInformation) bool { return l.Token.Epoch() == last })
	s.holds(s.process(), "jobgraphs/a", fmt.Sprint(last))
}

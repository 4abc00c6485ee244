package hatest

import (
	"context"

	"github.com/tamias-project/tamias/pkg/haservices"
)

// observer collects what Observe tells and checks each value on arrival.
type observer struct {
	s       *suite
	told    chan haservices.LeaderInformation
	last    haservices.LeaderInformation
	highest uint64
	count   int
	stop    context.CancelFunc
	ended   chan error
}

func (s *suite) observe(d haservices.Driver, c haservices.Component) *observer {
	ctx, cancel := context.WithCancel(s.ctx)
	// Room for more than any test causes: tell must not block.
	o := &observer{s: s, told: make(chan haservices.LeaderInformation, 4096), stop: cancel, ended: make(chan error, 1)}
	done := make(chan struct{})
	s.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		o.ended <- d.Observe(ctx, c, func(l haservices.LeaderInformation) { o.told <- l })
	}()
	return o
}

// await waits for a value that want accepts, checking all before it.
func (o *observer) await(want func(haservices.LeaderInformation) bool) haservices.LeaderInformation {
	o.s.Helper()
	for {
		select {
		case l := <-o.told:
			o.check(l)
			if want(l) {
				return l
			}
		case err := <-o.ended:
			o.s.Fatalf("Observe ended: %v", err)
		case <-o.s.ctx.Done():
			o.s.Fatalf("Observe did not tell what was awaited; the last was %s", describe(o.last))
		}
	}
}

// check fails for a value that must not be told after the ones before it.
func (o *observer) check(l haservices.LeaderInformation) {
	o.s.Helper()
	if l == o.last {
		o.s.Errorf("%s was told twice in a row, or first", describe(l))
	}
	if !l.IsEmpty() && l.Token.Epoch() < o.highest {
		o.s.Errorf("%s was told after epoch %d", describe(l), o.highest)
	}
	o.last, o.highest = l, max(o.highest, l.Token.Epoch())
	o.count++
}

// awaitLeader waits for the leader with that address, and its token.
func (o *observer) awaitLeader(term haservices.Term, address string) {
	o.s.Helper()
	l := o.await(func(l haservices.LeaderInformation) bool { return l.Address == address })
	if l.Token != term.Token() {
		o.s.Errorf("leader %s has token %s, want %s", address, l.Token, term.Token())
	}
}

func (o *observer) awaitNone() {
	o.s.Helper()
	o.await(haservices.LeaderInformation.IsEmpty)
}

func publishAndWithdraw(s *suite) {
	s.needChanges()
	a, b := s.process(), s.process()
	o := s.observe(b, dispatcher)
	term := s.lead(a, dispatcher)
	s.publish(term, "tamias://a:1/dispatcher")
	o.awaitLeader(term, "tamias://a:1/dispatcher")
	term.Resign(s.ctx)
	o.awaitNone()
	if o.count != 2 {
		s.Errorf("%d values were told, want 2: the leader, and none", o.count)
	}
}

func publishAgain(s *suite) {
	s.needChanges()
	a, b := s.process(), s.process()
	o := s.observe(b, dispatcher)
	term := s.lead(a, dispatcher)
	for _, address := range []string{"tamias://a:1/x", "tamias://a:1/x", "tamias://a:2/x", "tamias://a:2/x"} {
		s.publish(term, address)
		if o.last.Address != address {
			o.awaitLeader(term, address)
		}
	}
	term.Resign(s.ctx)
	o.awaitNone()
	if o.count != 3 {
		s.Errorf("%d values were told, want 3: two addresses, and none", o.count)
	}
}

func lateObserver(s *suite) {
	s.needChanges()
	a, b := s.process(), s.process()
	term := s.lead(a, dispatcher)
	s.publish(term, "tamias://a:1/dispatcher")
	for _, d := range []haservices.Driver{a, b, s.process()} {
		o := s.observe(d, dispatcher)
		o.awaitLeader(term, "tamias://a:1/dispatcher")
		o.stop()
		s.awaitEnd(o)
	}
}

func (s *suite) awaitEnd(o *observer) {
	s.Helper()
	select {
	case <-o.ended:
	case <-s.ctx.Done():
		s.Fatal("Observe did not return")
	}
}

func unconfirmedLeader(s *suite) {
	s.needChanges()
	a, b := s.process(), s.process()
	o := s.observe(b, dispatcher)
	first := s.lead(a, dispatcher)
	first.Resign(s.ctx)
	second := s.lead(b, dispatcher)
	s.publish(second, "tamias://b:1/dispatcher")
	o.awaitLeader(second, "tamias://b:1/dispatcher")
	if o.count != 1 {
		s.Errorf("%d values were told, want 1: the first leader published nothing", o.count)
	}
}

func changeOfLeader(s *suite) {
	s.needChanges()
	a, b, c := s.process(), s.process(), s.process()
	watchers := []*observer{s.observe(a, restServer), s.observe(b, restServer), s.observe(c, restServer)}
	first := s.lead(a, restServer)
	s.publish(first, "http://a:8081")
	for _, o := range watchers {
		o.awaitLeader(first, "http://a:8081")
	}
	next := s.contend(s.ctx, b, restServer)
	first.Resign(s.ctx)
	second := next.wins()
	// The same address again: the token makes it another leader.
	s.publish(second, "http://a:8081")
	for _, o := range watchers {
		o.await(func(l haservices.LeaderInformation) bool { return l.Token == second.Token() })
	}
}

func killedLeader(s *suite) {
	s.need("Kill", s.Kill != nil)
	a, b := s.process(), s.process()
	o := s.observe(b, dispatcher)
	first := s.lead(a, dispatcher)
	s.publish(first, "tamias://a:1/dispatcher")
	o.awaitLeader(first, "tamias://a:1/dispatcher")
	s.Kill(a)
	second := s.lead(b, dispatcher)
	s.publish(second, "tamias://b:1/dispatcher")
	o.awaitLeader(second, "tamias://b:1/dispatcher")
}

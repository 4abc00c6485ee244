package hatest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
)

// refusesAll fails unless every kind of write under term gives ErrNotLeader and changes nothing.
// seen reads for it. The nodes old/set, old/put and old/delete exist, old/create does not.
func (s *suite) refusesAll(term haservices.Term, seen haservices.Driver) {
	s.Helper()
	for _, w := range []haservices.Write{
		{Operation: haservices.Create, Path: "old/create", Data: []byte("late")},
		{Operation: haservices.Set, Path: "old/set", Data: []byte("late"), Version: haservices.AnyVersion},
		{Operation: haservices.Put, Path: "old/put", Data: []byte("late")},
		{Operation: haservices.Delete, Path: "old/delete", Version: haservices.AnyVersion},
		// What is there already is no excuse for a deposed leader.
		{Operation: haservices.Put, Path: "old/put", Data: []byte("kept")},
		{Operation: haservices.Create, Path: "old/put", Data: []byte("kept")},
		{Operation: haservices.Delete, Path: "old/create", Version: haservices.AnyVersion},
	} {
		if err := term.Write(s.ctx, w); !errors.Is(err, haservices.ErrNotLeader) {
			s.Errorf("write %d of %s by a deposed leader = %v, want ErrNotLeader", w.Operation, w.Path, err)
		}
	}
	if err := term.Publish(s.ctx, "tamias://old:1/dispatcher"); !errors.Is(err, haservices.ErrNotLeader) {
		s.Errorf("Publish by a deposed leader = %v, want ErrNotLeader", err)
	}
	for _, name := range []string{"set", "put", "delete"} {
		s.holds(seen, "old/"+name, "kept")
	}
	if _, err := seen.Read(s.ctx, "old/create"); !errors.Is(err, haservices.ErrNotFound) {
		s.Errorf("Read of a node that a deposed leader created = %v, want ErrNotFound", err)
	}
}

func (s *suite) prepareOld(term haservices.Term) {
	s.Helper()
	for _, name := range []string{"set", "put", "delete"} {
		s.put(term, "old/"+name, "kept")
	}
}

func resignedTermCannotWrite(s *suite) {
	d := s.process()
	term := s.lead(d, dispatcher)
	s.prepareOld(term)
	term.Resign(s.ctx)
	s.lost(term)
	s.refusesAll(term, d)
	s.lead(d, dispatcher)
	s.refusesAll(term, d)
}

func deposedTermCannotWrite(s *suite) {
	s.need("Expire", s.Expire != nil)
	a, b := s.process(), s.process()
	first := s.lead(a, dispatcher)
	s.prepareOld(first)
	next := s.contend(s.ctx, b, dispatcher)
	s.Expire(a)
	second := next.wins()
	// first has perhaps not been told yet: the fence holds all the same.
	s.refusesAll(first, b)
	s.lost(first)
	s.refusesAll(first, b)
	s.put(second, "old/put", "new")
}

// writerThatNeverLooks writes as fast as it can while leadership passes on: nothing of it may be seen
// once the successor has won.
func writerThatNeverLooks(s *suite) {
	s.needChanges()
	a, b := s.process(), s.process()
	first := s.lead(a, dispatcher)
	refused, wrote := make(chan error, 1), make(chan struct{}, 1)
	go func() {
		for i := 0; ; i++ {
			err := first.Write(s.ctx, haservices.Write{Operation: haservices.Put, Path: "jobgraphs/a", Data: fmt.Append(nil, i)})
			if errors.Is(err, haservices.ErrNotLeader) || s.ctx.Err() != nil {
				refused <- err
				return
			}
			select {
			case wrote <- struct{}{}:
			default:
			}
		}
	}()
	<-wrote
	next := s.contend(s.ctx, b, dispatcher)
	if s.Expire != nil {
		s.Expire(a)
	} else {
		first.Resign(s.ctx)
	}
	next.wins()
	won := string(s.read(b, "jobgraphs/a").Data)
	if err := <-refused; !errors.Is(err, haservices.ErrNotLeader) {
		s.Fatalf("the writer ended with %v, want ErrNotLeader", err)
	}
	s.holds(b, "jobgraphs/a", won)
}

func frozenLeader(s *suite) {
	s.need("Freeze", s.Freeze != nil)
	a, b := s.process(), s.process()
	o := s.observe(b, dispatcher)
	first := s.lead(a, dispatcher)
	s.prepareOld(first)
	s.publish(first, "tamias://a:1/dispatcher")
	o.awaitLeader(first, "tamias://a:1/dispatcher")
	s.Freeze(a)
	late := make(chan error, 1)
	go func() {
		late <- first.Write(s.ctx, haservices.Write{Operation: haservices.Put, Path: "old/put", Data: []byte("late")})
	}()
	second := s.lead(b, dispatcher)
	s.publish(second, "tamias://b:1/dispatcher")
	o.awaitLeader(second, "tamias://b:1/dispatcher")
	s.Thaw(a)
	if err := <-late; !errors.Is(err, haservices.ErrNotLeader) {
		s.Errorf("write begun while frozen = %v, want ErrNotLeader", err)
	}
	s.lost(first)
	s.refusesAll(first, b)
	s.leads(second)
}

// shortDisconnection: leadership outlives it, and a write waits or fails as unavailable meanwhile.
func shortDisconnection(s *suite) {
	s.need("Disconnect", s.Disconnect != nil)
	a := s.process()
	term := s.lead(a, dispatcher)
	s.put(term, "jobgraphs/a", "before")
	s.Disconnect(a)
	ctx, cancel := context.WithCancel(s.ctx)
	result := make(chan error, 1)
	go func() {
		result <- term.Write(ctx, haservices.Write{Operation: haservices.Put, Path: "jobgraphs/a", Data: []byte("during")})
	}()
	s.Reconnect(a)
	switch err := <-result; {
	case err == nil:
		s.holds(a, "jobgraphs/a", "during")
	case errors.Is(err, haservices.ErrUnavailable):
		s.retried("Read", func() error { _, err := a.Read(s.ctx, "jobgraphs/a"); return err })
		s.holds(a, "jobgraphs/a", "before")
	case errors.Is(err, haservices.ErrUnknownOutcome):
	default:
		s.Errorf("write while disconnected = %v, want ErrUnavailable, ErrUnknownOutcome or success", err)
	}
	cancel()
	s.retried("Put", func() error {
		return term.Write(s.ctx, haservices.Write{Operation: haservices.Put, Path: "jobgraphs/a", Data: []byte("after")})
	})
	s.holds(a, "jobgraphs/a", "after")
	s.leads(term)
}

// retried repeats f while the backend is unavailable.
func (s *suite) retried(what string, f func() error) {
	s.Helper()
	for {
		err := f()
		if err == nil {
			return
		}
		if !errors.Is(err, haservices.ErrUnavailable) && !errors.Is(err, haservices.ErrUnknownOutcome) || s.ctx.Err() != nil {
			s.Fatalf("%s: %v", what, err)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-s.ctx.Done():
		}
	}
}

// longDisconnection: the process learns by its own clock that it lost, and another one leads.
func longDisconnection(s *suite) {
	s.need("Disconnect", s.Disconnect != nil)
	a, b := s.process(), s.process()
	o, cut := s.observe(b, dispatcher), s.observe(a, dispatcher)
	first := s.lead(a, dispatcher)
	s.prepareOld(first)
	s.publish(first, "tamias://a:1/dispatcher")
	o.awaitLeader(first, "tamias://a:1/dispatcher")
	cut.awaitLeader(first, "tamias://a:1/dispatcher")
	s.Disconnect(a)
	second := s.lead(b, dispatcher)
	s.lost(first)
	s.publish(second, "tamias://b:1/dispatcher")
	o.awaitLeader(second, "tamias://b:1/dispatcher")
	s.Reconnect(a)
	s.refusesAll(first, b)
	cut.awaitLeader(second, "tamias://b:1/dispatcher")
	// The same process contends again in its new session.
	next := s.contend(s.ctx, a, dispatcher)
	second.Resign(s.ctx)
	s.put(next.wins(), "old/put", "third")
}

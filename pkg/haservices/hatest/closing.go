package hatest

import (
	"context"
	"errors"

	"github.com/tamias-project/tamias/pkg/haservices"
)

func contextsEndCalls(s *suite) {
	d := s.process()
	term := s.lead(d, dispatcher)
	s.put(term, "jobgraphs/a", "1")
	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	calls := map[string]func() error{
		"Campaign": func() error { _, err := d.Campaign(ended, resourceManager, s.me(d)); return err },
		"Observe":  func() error { return d.Observe(ended, dispatcher, func(haservices.LeaderInformation) {}) },
		"Read":     func() error { _, err := d.Read(ended, "jobgraphs/a"); return err },
		"Children": func() error { _, err := d.Children(ended, "jobgraphs"); return err },
		"Publish":  func() error { return term.Publish(ended, "tamias://a:1/dispatcher") },
		"Write":    func() error { return term.Write(ended, write(haservices.Put, "jobgraphs/a", "2", 0)) },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, context.Canceled) {
			s.Errorf("%s with a context that has ended = %v, want its error", name, err)
		}
	}
	s.holds(d, "jobgraphs/a", "1")

	o := s.observe(d, restServer)
	o.stop()
	select {
	case err := <-o.ended:
		if !errors.Is(err, context.Canceled) {
			s.Errorf("Observe = %v, want the context's error", err)
		}
	case <-s.ctx.Done():
		s.Error("Observe did not return")
	}
	// A Resign in a hurry still resigns, if only in the background.
	term.Resign(ended)
	s.lost(term)
	s.lead(d, dispatcher)
}

func closeGivesEverythingUp(s *suite) {
	d := s.process()
	terms := []haservices.Term{s.lead(d, dispatcher), s.lead(d, resourceManager)}
	o := s.observe(d, restServer)
	var waiting *campaign
	if !s.Fixed {
		s.lead(s.process(), restServer)
		waiting = s.contend(s.ctx, d, restServer)
	}
	s.must("Close", d.Close())
	for _, term := range terms {
		s.lost(term)
		if err := term.Write(s.ctx, write(haservices.Put, "jobgraphs/a", "late", 0)); err == nil {
			s.Error("a write after Close succeeded")
		}
		term.Resign(s.ctx)
	}
	s.awaitEnd(o)
	if waiting != nil {
		if err := waiting.ends(); err == nil {
			s.Error("Campaign ended without error at Close")
		}
	}
	if _, err := d.Campaign(s.ctx, dispatcher, s.me(d)); err == nil {
		s.Error("Campaign after Close succeeded")
	}
	if _, err := d.Read(s.ctx, "jobgraphs/a"); err == nil {
		s.Error("Read after Close succeeded")
	}
	s.must("second Close", d.Close())
	if s.Fixed {
		return
	}
	next := s.process()
	s.lead(next, dispatcher)
	s.lead(next, resourceManager)
	s.missing(next, "jobgraphs/a")
}

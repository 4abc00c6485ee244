package hatest

import (
	"errors"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// succession returns how term began, as its driver and any other one tell it. The test is skipped where
// drivers do not know.
func (s *suite) succession(term haservices.Term, c haservices.Component) haservices.Succession {
	s.Helper()
	successor, ok := term.(haservices.Successor)
	if !ok {
		s.Skip("this backend does not tell how terms began")
	}
	got := successor.Succession()
	if got.Epoch != term.Token().Epoch() || got.Won.Before(got.Detected) {
		s.Errorf("succession %+v, want epoch %d, detected before it was won", got, term.Token().Epoch())
	}
	chronicler, ok := s.process().(haservices.Chronicler)
	if !ok {
		return got
	}
	told, err := chronicler.Succession(s.ctx, c)
	if err != nil || told.Epoch != got.Epoch || told.Reason != got.Reason || told.Leader != got.Leader || !told.Won.Equal(got.Won) {
		s.Errorf("succession told to others = %+v, %v, want %+v", told, err, got)
	}
	return got
}

// follows checks who led before, and why that leader left.
func (s *suite) follows(got haservices.Succession, before haservices.Driver, reasons ...protocol.SuccessionReason) {
	s.Helper()
	if got.Predecessor == nil || got.Predecessor.Process != s.me(before).Process {
		s.Errorf("epoch %d: predecessor %+v, want process %s", got.Epoch, got.Predecessor, s.me(before).Process)
	}
	for _, want := range reasons {
		if got.Reason == want {
			return
		}
	}
	s.Errorf("epoch %d: reason %q, want one of %q", got.Epoch, got.Reason, reasons)
}

func successionAfterResign(s *suite) {
	s.needChanges()
	a, b := s.process(), s.process()
	first := s.lead(a, dispatcher)
	how := s.succession(first, dispatcher)
	if how.Reason != protocol.FirstLeader || how.Predecessor != nil {
		s.Errorf("first leader: %+v", how)
	}
	first.Resign(s.ctx)
	second := s.lead(b, dispatcher)
	s.follows(s.succession(second, dispatcher), a, protocol.Resigned)
	s.must("Close", b.Close())
	third := s.lead(a, dispatcher)
	// A driver that is closed need not tell that from the end of its session.
	s.follows(s.succession(third, dispatcher), b, protocol.Resigned, protocol.SessionLost)
	if _, err := s.process().(haservices.Chronicler).Succession(s.ctx, restServer); !errors.Is(err, haservices.ErrNotFound) {
		s.Errorf("succession where nobody led = %v, want ErrNotFound", err)
	}
}

func successionAfterKill(s *suite) {
	s.needChanges()
	s.need("Kill", s.Kill != nil)
	a, b := s.process(), s.process()
	first := s.lead(a, dispatcher)
	s.succession(first, dispatcher)
	next := s.contend(s.ctx, b, dispatcher)
	s.Kill(a)
	s.follows(s.succession(next.wins(), dispatcher), a, protocol.ProcessGone, protocol.SessionLost)
}

func successionAfterExpire(s *suite) {
	s.needChanges()
	s.need("Expire", s.Expire != nil)
	a, b := s.process(), s.process()
	first := s.lead(a, dispatcher)
	s.succession(first, dispatcher)
	next := s.contend(s.ctx, b, dispatcher)
	s.Expire(a)
	s.follows(s.succession(next.wins(), dispatcher), a, protocol.SessionLost)
}

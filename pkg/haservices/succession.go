package haservices

import (
	"context"
	"time"

	"github.com/tamias-project/tamias/pkg/protocol"
)

// Succession is how a term began, as the driver saw it that won the term.
type Succession struct {
	Epoch  uint64
	Leader Contender
	// Predecessor led before; nil if nobody did, or nobody knows who.
	Predecessor *Contender
	Reason      protocol.SuccessionReason
	// LastHeard is when a predecessor that fell silent was heard last; zero for other reasons.
	LastHeard time.Time
	// Detected is when this process noticed that the predecessor had left, or, when nobody led, when it began
	// to contend.
	Detected time.Time
	// Won is when the epoch was raised.
	Won time.Time
}

// Successor is a Term whose driver knows how it began. It is optional: for the terms of other drivers only
// the epoch and the time are known.
type Successor interface {
	// Succession never changes.
	Succession() Succession
}

// Chronicler is a Driver that can tell how the latest term of a component began, whichever process won
// it. It is optional too.
type Chronicler interface {
	// Succession returns ErrNotFound when nobody leads, or the backend does not know.
	Succession(ctx context.Context, c Component) (Succession, error)
}

// Succession tells how the latest term of c began, in this process or another: ErrNotFound if nobody
// leads, or the backend does not keep it.
func (s *Services) Succession(ctx context.Context, c Component) (Succession, error) {
	chronicler, ok := s.driver.(Chronicler)
	if !ok {
		return Succession{}, ErrNotFound
	}
	var how Succession
	err := retry(ctx, s.log, c.Path(), func() (err error) {
		how, err = chronicler.Succession(ctx, c)
		return err
	})
	return how, err
}

// successionOf is what is known of a term that was contended for since then.
func (s *Services) successionOf(t Term, since time.Time) Succession {
	if known, ok := t.(Successor); ok {
		return known.Succession()
	}
	return Succession{
		Epoch: t.Token().Epoch(), Leader: s.cfg.Me, Reason: protocol.UnknownReason, Detected: since, Won: time.Now(),
	}
}

// Term is the beginning of the record of a term of c.
func (s Succession) Term(c Component) protocol.LeaderTerm {
	t := protocol.LeaderTerm{
		Component: string(c.Kind), Job: c.Job, Epoch: s.Epoch, Leader: protocol.LeaderProcess(s.Leader),
		Reason: s.Reason, LastHeard: s.LastHeard, Detected: s.Detected, Won: s.Won,
	}
	if s.Predecessor != nil {
		before := protocol.LeaderProcess(*s.Predecessor)
		t.Predecessor = &before
	}
	return t
}

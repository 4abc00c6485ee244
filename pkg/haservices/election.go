package haservices

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// LeaderContender is a component that leads at times.
type LeaderContender interface {
	// Lead is one term of leadership, first line to last: ctx ends when leadership does, with ErrNotLeader as
	// its cause, and Lead returns when nothing acts under token any more. Leadership is not given up before.
	// Flink's grantLeadership, revokeLeadership and handleError in one.
	Lead(ctx context.Context, token id.FencingToken) error
}

// resignTimeout bounds how long a term waits for the backend to hear that it is over.
const resignTimeout = 5 * time.Second

// LeaderElection contends for one component on behalf of one process and guards the writes of its
// terms. Flink's LeaderElection.
type LeaderElection struct {
	services  *Services
	component Component
	log       *zap.Logger

	termMu  sync.Mutex // guards all below
	running bool
	term    Term        // nil between terms
	logged  *loggedTerm // of term
}

// Component is what this election is about.
func (e *LeaderElection) Component() Component { return e.component }

// Run contends, lets contender lead, resigns when Lead returns, and contends again, until ctx ends; then
// it returns nil. A Lead that returns while its leadership lasts is followed by a pause that grows from
// 100 ms to 10 s, so that another process gets its chance. Other errors are final: a second Run at the
// same time, ErrContended, ErrClosed, and ErrForeignStorage of a Lead. Panics of the contender are not caught.
func (e *LeaderElection) Run(ctx context.Context, contender LeaderContender) error {
	if !e.begin() {
		return fmt.Errorf("leader election of %s runs already", e.component)
	}
	defer e.end()
	b := backoff{first: 100 * time.Millisecond, most: 10 * time.Second}
	for ctx.Err() == nil {
		began := time.Now()
		term, err := e.services.driver.Campaign(ctx, e.component, e.services.cfg.Me)
		switch {
		case ctx.Err() != nil:
			if term != nil {
				e.resign(ctx, term)
			}
			return nil
		case errors.Is(err, ErrContended), errors.Is(err, ErrClosed):
			return fmt.Errorf("contend for %s: %w", e.component, err)
		case err != nil:
			pause := b.pause()
			e.log.Warn("could not contend", logging.RetryIn(pause), zap.Error(err))
			if wait(ctx, pause) != nil {
				return nil
			}
			continue
		}
		lost, err := e.lead(ctx, term, e.services.successionOf(term, began), contender)
		switch {
		case errors.Is(err, ErrForeignStorage):
			return fmt.Errorf("lead %s: %w", e.component, err)
		case lost:
			b.reset()
		case wait(ctx, b.pause()) != nil:
			return nil
		}
	}
	return nil
}

// lead runs one term. It reports whether it was the leadership that ended, not the contender, and returns the
// contender's error.
func (e *LeaderElection) lead(ctx context.Context, term Term, how Succession, contender LeaderContender) (lost bool, err error) {
	log, began := e.log.With(logging.Token(term.Token())), time.Now()
	log.Log(e.level(), "leadership granted", successionFields(how)...)
	termCtx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-term.Lost():
			cancel(ErrNotLeader)
		case <-termCtx.Done():
		}
	}()
	record := e.services.terms.begin(how.Term(e.component))
	e.setTerm(term, record)
	err = contender.Lead(termCtx, term.Token())
	e.setTerm(nil, nil)
	e.services.terms.update(record, func(t *protocol.LeaderTerm) { t.Ended = time.Now() })
	cancel(nil)
	<-watched
	lost = ctx.Err() == nil && errors.Is(context.Cause(termCtx), ErrNotLeader)
	e.resign(ctx, term)
	switch {
	case lost:
		log.Log(e.level(), "leadership lost", logging.Took(time.Since(began)))
	case ctx.Err() != nil:
		log.Log(e.level(), "leadership resigned", logging.Took(time.Since(began)))
	default:
		log.Warn("leadership given up", logging.Took(time.Since(began)), zap.Error(err))
	}
	return lost, err
}

// resign waits even when the process is stopping: its successor is to lead at once.
func (e *LeaderElection) resign(ctx context.Context, term Term) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer cancel()
	term.Resign(ctx)
}

func (e *LeaderElection) begin() bool {
	e.termMu.Lock()
	defer e.termMu.Unlock()
	if e.running {
		return false
	}
	e.running = true
	return true
}

func (e *LeaderElection) end() {
	e.termMu.Lock()
	defer e.termMu.Unlock()
	e.running = false
}

func (e *LeaderElection) setTerm(t Term, record *loggedTerm) {
	e.termMu.Lock()
	defer e.termMu.Unlock()
	e.term, e.logged = t, record
}

// current returns the term of token, or ErrNotLeader when it is not the present one.
func (e *LeaderElection) current(token id.FencingToken) (Term, error) {
	e.termMu.Lock()
	defer e.termMu.Unlock()
	if e.term == nil || e.term.Token() != token {
		return nil, fmt.Errorf("%w: session %s of %s", ErrNotLeader, token, e.component)
	}
	return e.term, nil
}

// Confirm publishes address as the leader's: the component is ready to be found. It waits while the
// backend is unavailable, and fails with ErrNotLeader when token is not that of the present term. Flink's
// confirmLeadership.
func (e *LeaderElection) Confirm(ctx context.Context, token id.FencingToken, address string) error {
	err := e.fenced(ctx, token, "leader/"+e.component.Path(), func(t Term) error { return t.Publish(ctx, address) })
	if err != nil {
		return fmt.Errorf("confirm leadership of %s: %w", e.component, err)
	}
	confirmed := time.Now()
	if t, ok := e.note(token, func(t *protocol.LeaderTerm) { t.Confirmed, t.Address = confirmed, address }); ok {
		e.log.Log(e.level(), "leadership confirmed", logging.Token(token), logging.Leader(address), logging.Took(confirmed.Sub(t.Detected)))
	}
	return nil
}

// write makes one change under the fence of token's term. It repeats the request while the backend is
// unavailable or the outcome unknown, which is harmless as a request that finds its own effect succeeds.
// An error that is ErrUnknownOutcome (perhaps among others) leaves open whether the change was made;
// with any other it was not.
func (e *LeaderElection) write(ctx context.Context, token id.FencingToken, w Write) error {
	return e.fenced(ctx, token, w.Path, func(t Term) error { return t.Write(ctx, w) })
}

func (e *LeaderElection) fenced(ctx context.Context, token id.FencingToken, path string, f func(Term) error) error {
	term, err := e.current(token)
	if err != nil {
		e.services.refused.Add(1)
		return err
	}
	var unknown error
	b := newRetryBackoff()
	for {
		err := f(term)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrUnknownOutcome):
			unknown = err
		case !errors.Is(err, ErrUnavailable):
			if errors.Is(err, ErrNotLeader) {
				e.services.refused.Add(1)
			}
			// A first try of unknown outcome followed by a clear no: the first may have got through.
			return joined(err, unknown)
		}
		pause := b.pause()
		e.log.Log(b.level(), "write will be repeated", logging.Znode(path), logging.Token(token), logging.RetryIn(pause), zap.Error(err))
		if waitErr := e.waitInTerm(ctx, term, pause); waitErr != nil {
			return joined(fmt.Errorf("%w: %w", waitErr, err), unknown)
		}
	}
}

// waitInTerm is wait that ends with the term too: with ErrNotLeader.
func (e *LeaderElection) waitInTerm(ctx context.Context, term Term, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-term.Lost():
		return ErrNotLeader
	}
}

func joined(err, unknown error) error {
	if unknown == nil || errors.Is(err, ErrUnknownOutcome) {
		return err
	}
	return fmt.Errorf("%w (after a try with %w)", err, unknown)
}

// certain reports whether a failed write was certainly not made.
func certain(err error) bool { return !errors.Is(err, ErrUnknownOutcome) }

// level of what happens once in each term. There may be thousands of job masters in a process, and each
// says itself what becomes of its job.
func (e *LeaderElection) level() zapcore.Level {
	if e.component.Kind == JobManager {
		return zapcore.DebugLevel
	}
	return zapcore.InfoLevel
}

// successionFields say in a log how a term began.
func successionFields(s Succession) []zap.Field {
	fields := []zap.Field{zap.String("why", string(s.Reason)), logging.Took(s.Won.Sub(s.Detected))}
	if s.Predecessor != nil {
		fields = append(fields, zap.String("predecessor-host", s.Predecessor.Host), zap.Int("predecessor-pid", s.Predecessor.PID))
	}
	return fields
}

func componentFields(c Component) []zap.Field {
	fields := []zap.Field{zap.String("elected", string(c.Kind))}
	if c.Kind == JobManager {
		fields = append(fields, logging.Job(c.Job))
	}
	return fields
}

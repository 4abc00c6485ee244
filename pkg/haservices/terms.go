package haservices

import (
	"sync"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// keptTerms is how many terms of this process that are over are remembered.
const keptTerms = 128

// termLog records the terms of leadership of this process, with the steps that each has come to.
type termLog struct {
	mu      sync.Mutex // guards all below
	terms   []*loggedTerm
	version uint64
	// changed is closed and replaced at each change.
	changed chan struct{}
}

// loggedTerm is one of them; guarded by the log's mu.
type loggedTerm struct {
	protocol.LeaderTerm
	version uint64 // of the log at its last change
}

func newTermLog() *termLog { return &termLog{changed: make(chan struct{})} }

func (l *termLog) begin(t protocol.LeaderTerm) *loggedTerm {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := &loggedTerm{LeaderTerm: t}
	l.terms = append(l.terms, n)
	l.touch(n)
	l.forget()
	return n
}

// update changes a term and returns what it is then.
func (l *termLog) update(t *loggedTerm, change func(*protocol.LeaderTerm)) protocol.LeaderTerm {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&t.LeaderTerm)
	l.touch(t)
	return t.LeaderTerm
}

// touch needs l.mu.
func (l *termLog) touch(t *loggedTerm) {
	l.version++
	t.version = l.version
	close(l.changed)
	l.changed = make(chan struct{})
}

// forget drops the oldest terms that are over, when there are too many. It needs l.mu.
func (l *termLog) forget() {
	over := 0
	for _, t := range l.terms {
		if !t.Ended.IsZero() {
			over++
		}
	}
	kept := l.terms[:0]
	for _, t := range l.terms {
		if over > keptTerms && !t.Ended.IsZero() {
			over--
			continue
		}
		kept = append(kept, t)
	}
	clear(l.terms[len(kept):])
	l.terms = kept
}

func (l *termLog) after(version uint64) (changed []protocol.LeaderTerm, now uint64, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.terms {
		if t.version > version {
			changed = append(changed, t.LeaderTerm)
		}
	}
	return changed, l.version, l.changed
}

// Terms returns those terms of leadership of this process, of all components, that have begun or come to
// a further step after version; oldest first. 0 returns all that are remembered. more is closed when
// there is something after the version returned.
func (s *Services) Terms(after uint64) (terms []protocol.LeaderTerm, version uint64, more <-chan struct{}) {
	return s.terms.after(after)
}

// RefusedWrites counts the writes of terms that were over, or were no term of this process.
func (s *Services) RefusedWrites() int64 { return s.refused.Load() }

// StoresRead notes that the leader of token's term knows what earlier leaders stored. Of another term
// than the present one nothing is noted.
func (e *LeaderElection) StoresRead(token id.FencingToken) {
	now := time.Now()
	e.note(token, func(t *protocol.LeaderTerm) { t.StoresRead = now })
}

// Adopted notes that the leader of token's term knew at that time the fate of all tasks that its predecessor
// had deployed, and how many of them run on.
func (e *LeaderElection) Adopted(token id.FencingToken, at time.Time, tasks, adopted int) {
	e.note(token, func(t *protocol.LeaderTerm) { t.Adopted, t.Tasks, t.AdoptedTasks = at, tasks, adopted })
}

// Record returns what is known of token's term; ok is false when it is not the present one.
func (e *LeaderElection) Record(token id.FencingToken) (t protocol.LeaderTerm, ok bool) {
	return e.note(token, func(*protocol.LeaderTerm) {})
}

func (e *LeaderElection) note(token id.FencingToken, change func(*protocol.LeaderTerm)) (protocol.LeaderTerm, bool) {
	e.termMu.Lock()
	defer e.termMu.Unlock()
	if e.term == nil || e.term.Token() != token {
		return protocol.LeaderTerm{}, false
	}
	return e.services.terms.update(e.logged, change), true
}

package dispatcher

import (
	"maps"
	"slices"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// keptTerms bounds the history: so many terms of the cluster's components, and so many of job masters.
const keptTerms = 100

// leadership is who led and who leads. It has no goroutine, clock or I/O. Owned by the main thread.
type leadership struct {
	history protocol.LeadershipHistory
	// told is what leader retrieval says of the cluster's other components, by component.
	told map[string]haservices.LeaderInformation
	// unsaved: the history differs from the stored one.
	unsaved bool
}

func newLeadership(stored protocol.LeadershipHistory) *leadership {
	if stored.Totals.Changes == nil {
		stored.Totals.Changes = map[string]int64{}
	}
	if stored.Totals.Leaderless == nil {
		stored.Totals.Leaderless = map[string]time.Duration{}
	}
	return &leadership{history: stored, told: map[string]haservices.LeaderInformation{}}
}

// merge takes in what is known of a term. From the leader's own process it is the whole truth; what was
// seen from outside only fills gaps.
func (l *leadership) merge(t protocol.LeaderTerm, own bool) {
	i := slices.IndexFunc(l.history.Terms, t.SameTerm)
	if i < 0 {
		l.count(protocol.LeaderTerm{}, l.insert(t))
		return
	}
	known := &l.history.Terms[i]
	before := *known
	if own {
		t.Reason, t.Predecessor = known.Reason, known.Predecessor
		fill(&t, before)
		*known = t
	} else {
		fill(known, t)
	}
	if *known != before {
		l.unsaved = true
		l.count(before, *known)
	}
}

// fill sets what of known is not set yet.
func fill(known *protocol.LeaderTerm, t protocol.LeaderTerm) {
	if known.Address == "" {
		known.Address = t.Address
	}
	for _, at := range []struct{ to, from *time.Time }{
		{&known.StoresRead, &t.StoresRead}, {&known.Confirmed, &t.Confirmed}, {&known.Adopted, &t.Adopted}, {&known.Ended, &t.Ended},
	} {
		if at.to.IsZero() {
			*at.to = *at.from
		}
	}
}

// insert adds a new term, completed by what is known of the one before, whose end it is.
func (l *leadership) insert(t protocol.LeaderTerm) protocol.LeaderTerm {
	previous := slices.IndexFunc(l.history.Terms, func(p protocol.LeaderTerm) bool {
		return p.Component == t.Component && p.Job == t.Job && p.Epoch <= t.Epoch
	})
	switch {
	case t.Reason != protocol.UnknownReason:
	case previous < 0:
		t.Reason = protocol.FirstLeader
	default:
		t.Reason = protocol.Restarted
	}
	if previous >= 0 {
		p := &l.history.Terms[previous]
		if t.Predecessor == nil {
			leader := p.Leader
			t.Predecessor = &leader
		}
		if p.Ended.IsZero() {
			p.Ended = t.Gone()
		}
	}
	l.history.Terms = append(l.history.Terms, t)
	slices.SortStableFunc(l.history.Terms, func(a, b protocol.LeaderTerm) int { return b.Won.Compare(a.Won) })
	l.trim()
	l.unsaved = true
	return t
}

// trim drops the oldest terms.
func (l *leadership) trim() {
	ofJobs, ofCluster := 0, 0
	l.history.Terms = slices.DeleteFunc(l.history.Terms, func(t protocol.LeaderTerm) bool {
		n := &ofCluster
		if t.Component == string(haservices.JobManager) {
			n = &ofJobs
		}
		*n++
		return *n > keptTerms
	})
}

// count adds to the totals what has become known of a term.
func (l *leadership) count(before, now protocol.LeaderTerm) {
	totals := &l.history.Totals
	ofJob := now.Component == string(haservices.JobManager)
	if now.Reason != protocol.FirstLeader && !ofJob {
		if before.Component == "" {
			totals.Changes[now.Component]++
		}
		if before.Confirmed.IsZero() && !now.Confirmed.IsZero() {
			totals.Leaderless[now.Component] += max(0, now.Confirmed.Sub(now.Gone()))
		}
	}
	if ofJob && before.Adopted.IsZero() && !now.Adopted.IsZero() {
		if now.AdoptedTasks > 0 {
			totals.Adoptions++
		}
		totals.AdoptedTasks += int64(now.AdoptedTasks)
		totals.LostTasks += int64(now.Tasks - now.AdoptedTasks)
	}
}

// present returns the leaders of the cluster's components, as far as known, and adds the job masters of
// this process, given its terms.
func (l *leadership) present(own []protocol.LeaderTerm) []protocol.LeaderTerm {
	var leaders []protocol.LeaderTerm
	for _, kind := range []haservices.Kind{haservices.Dispatcher, haservices.ResourceManager, haservices.RestServer} {
		i := slices.IndexFunc(l.history.Terms, func(t protocol.LeaderTerm) bool { return t.Component == string(kind) })
		if i < 0 {
			continue
		}
		newest := l.history.Terms[i]
		told, followed := l.told[string(kind)]
		switch {
		case !newest.Ended.IsZero():
		case followed && (told.IsEmpty() || told.Token.Epoch() != newest.Epoch):
		case !followed && kind != haservices.Dispatcher:
		default:
			leaders = append(leaders, newest)
		}
	}
	for _, t := range own {
		if t.Component == string(haservices.JobManager) && t.Ended.IsZero() {
			leaders = append(leaders, t)
		}
	}
	return leaders
}

// snapshot is a copy for other goroutines.
func (l *leadership) snapshot() protocol.LeadershipHistory {
	h := l.history
	h.Terms = slices.Clone(h.Terms)
	h.Totals.Changes = maps.Clone(h.Totals.Changes)
	h.Totals.Leaderless = maps.Clone(h.Totals.Leaderless)
	return h
}

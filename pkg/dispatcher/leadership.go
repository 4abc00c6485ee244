package dispatcher

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// gatherTerms is how long news of leaders are gathered before the history is stored: a change of leaders
// is many of them, and nothing waits for the history.
const gatherTerms = 100 * time.Millisecond

// keepLeadership keeps the leadership history until the term ends: of this process from its own record,
// of leaders in other processes from what leader retrieval and the backend tell.
func (t *term) keepLeadership(ctx context.Context) {
	store := t.cfg.Services.Leadership(t.cfg.Election)
	if !sleep(ctx, gatherTerms) { // the adoption of jobs comes first
		return
	}
	stored, err := store.Get(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		t.log.Warn("leadership history could not be read; it begins anew", zap.Error(err))
	}
	t.do(ctx, func() { t.leaders = newLeadership(stored) })
	news := make(chan struct{}, 1) // room for one: more say the same
	var following sync.WaitGroup
	defer following.Wait()
	for _, kind := range []haservices.Kind{haservices.ResourceManager, haservices.RestServer} {
		following.Go(func() { t.followLeader(ctx, haservices.Component{Kind: kind}, news) })
	}
	pause := newBackoff(time.Second, time.Minute)
	var seen uint64
	for {
		terms, version, more := t.cfg.Services.Terms(seen)
		seen = version
		if err := t.saveLeadership(ctx, store, terms); err != nil {
			delay := pause.next()
			t.log.Warn("leadership history could not be stored", logging.RetryIn(delay), zap.Error(err))
			if !sleep(ctx, delay) {
				return
			}
			continue
		}
		pause = newBackoff(time.Second, time.Minute)
		select {
		case <-more:
		case <-news:
		case <-ctx.Done():
			return
		}
		if !sleep(ctx, gatherTerms) {
			return
		}
	}
}

// saveLeadership merges terms of this process and stores the history if it has changed. An error is worth
// another try.
func (t *term) saveLeadership(ctx context.Context, store *haservices.LeadershipStore, terms []protocol.LeaderTerm) error {
	var unsaved bool
	var history protocol.LeadershipHistory
	t.do(ctx, func() {
		for _, term := range terms {
			t.leaders.merge(term, true)
			if t.adoption.take(term) {
				t.adopted()
			}
		}
		unsaved, t.leaders.unsaved = t.leaders.unsaved, false
		history = t.leaders.snapshot()
	})
	if !unsaved {
		return nil
	}
	err := store.Put(ctx, t.token, history)
	switch {
	case err == nil, ctx.Err() != nil:
		return nil
	case errors.Is(err, haservices.ErrNotLeader):
		t.end(err)
		return nil
	}
	t.do(ctx, func() { t.leaders.unsaved = true })
	return err
}

// adoption adds up what becomes of the tasks of the jobs that were recovered. Owned by the main thread.
type adoption struct {
	awaited              map[id.Job]bool
	jobs, tasks, running int
	at                   time.Time // of the last one
}

func (a *adoption) await(job id.Job) {
	if a.awaited == nil {
		a.awaited = map[id.Job]bool{}
	}
	a.awaited[job] = true
	a.jobs++
}

// take takes in a term of this process. It reports true when it was the last one that was awaited.
func (a *adoption) take(t protocol.LeaderTerm) bool {
	if t.Component != string(haservices.JobManager) || !a.awaited[t.Job] || t.Adopted.IsZero() {
		return false
	}
	delete(a.awaited, t.Job)
	a.tasks += t.Tasks
	a.running += t.AdoptedTasks
	if t.Adopted.After(a.at) {
		a.at = t.Adopted
	}
	return len(a.awaited) == 0
}

// adopted notes that all recovered jobs were adopted. On the main thread.
func (t *term) adopted() {
	a := t.adoption
	t.cfg.Election.Adopted(t.token, a.at, a.tasks, a.running)
	record, _ := t.cfg.Election.Record(t.token)
	t.log.Info("all jobs adopted", zap.Int("jobs", a.jobs), zap.Int("tasks", a.tasks), zap.Int("running", a.running),
		logging.Took(a.at.Sub(record.Detected)))
}

// followLeader notes who leads c, until ctx ends.
func (t *term) followLeader(ctx context.Context, c haservices.Component, news chan<- struct{}) {
	leaders := haservices.NewLeaderChannel()
	var retrieving sync.WaitGroup
	defer retrieving.Wait()
	retrieving.Go(func() { t.cfg.Services.LeaderRetrieval(c).Run(ctx, leaders) }) // an error is the driver's end, and so ours
	for {
		select {
		case leader := <-leaders.C():
			t.noteLeader(ctx, c, leader, time.Now())
			select {
			case news <- struct{}{}:
			default:
			}
		case <-ctx.Done():
			return
		}
	}
}

// noteLeader takes in what was told of c at a moment. Who the leader is and how it came to lead only the
// backend knows; where it does not, the leader is in this process, whose record is complete.
func (t *term) noteLeader(ctx context.Context, c haservices.Component, leader haservices.LeaderInformation, told time.Time) {
	how, err := t.cfg.Services.Succession(ctx, c)
	known := err == nil && how.Epoch == leader.Token.Epoch() && !leader.IsEmpty()
	t.do(ctx, func() {
		t.leaders.told[string(c.Kind)] = leader
		if known {
			record := how.Term(c)
			record.Address, record.Confirmed = leader.Address, told
			t.leaders.merge(record, false)
		}
	})
}

// describeLeadership answers who leads and who led. On the main thread.
func (t *term) describeLeadership(protocol.Empty) (protocol.Leadership, error) {
	if t.leaders == nil {
		return protocol.Leadership{}, protocol.ErrNotReady
	}
	own, _, _ := t.cfg.Services.Terms(0)
	return protocol.Leadership{Leaders: t.leaders.present(own), History: t.leaders.snapshot()}, nil
}

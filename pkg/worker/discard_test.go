package worker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// endings are the chains' words about closing and discarding, in order.
func (p *fakeProgram) endings() (said []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.said {
		if strings.Contains(s, "closed") || strings.Contains(s, "discarded") {
			said = append(said, s)
		}
	}
	return said
}

func (b *bench) wantEndings(want ...string) {
	b.t.Helper()
	slices.Sort(want)
	if got := slices.Sorted(slices.Values(b.program.endings())); !slices.Equal(got, want) {
		b.t.Errorf("chains:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestCancelForGoodDiscards(t *testing.T) {
	run(t, script{}, func(b *bench) {
		req := deployments(0)
		b.deploy(req)
		b.news()
		b.must(b.Cancel(b.ctx, protocol.CancelTasksRequest{Attempts: attempts(req), Discard: true, Completed: 7}))
		b.expect(all("CANCELED", 0)...)
		b.wantEndings("source-0 closed", "source-1 closed", "sink-0 closed", "sink-1 closed", "sink-0 discarded above 7", "sink-1 discarded above 7")
		if got := b.program.endings(); slices.Index(got, "sink-0 closed") > slices.Index(got, "sink-0 discarded above 7") {
			t.Errorf("discarded before it was closed: %q", got)
		}
		b.must(b.Cancel(b.ctx, protocol.CancelTasksRequest{Attempts: attempts(req), Discard: true, Completed: 7}))
		if got := len(b.program.endings()); got != 6 {
			t.Errorf("%d endings after the second time, want 6: %q", got, b.program.endings())
		}
	})
}

// TestEndedAttemptsDiscardWhenTheJobEnds: a task that failed does not know yet whether the job goes on.
func TestEndedAttemptsDiscardWhenTheJobEnds(t *testing.T) {
	broken := script{
		poll:    ten,
		consume: func(*fakeChain, context.Context, []byte) error { return errors.New("broken") },
	}
	run(t, broken, func(b *bench) {
		req := deployments(0)
		b.deploy(req)
		b.must(b.Cancel(b.ctx, protocol.CancelTasksRequest{Attempts: attempts(req)}))
		b.wantEndings("source-0 closed", "source-1 closed", "sink-0 closed", "sink-1 closed")
		// The job restarts, and fails again.
		again := deployments(1)
		b.deploy(again)
		b.must(b.Cancel(b.ctx, protocol.CancelTasksRequest{Attempts: slices.Concat(attempts(req), attempts(again)), Discard: true, Completed: 3}))
		if got := b.program.endings()[4:]; !slices.Contains(got, "sink-0 discarded above 3") || !slices.Contains(got, "sink-1 discarded above 3") || len(got) != 6 {
			t.Errorf("the second attempts ended with %q, want each closed, and each sink discarded once", got)
		}
	})
}

// TestWhatAnAttemptLeftIsKnownUntilTheNextHasOpened: only then has that one cleaned up. A cancel in between
// discards what is left.
func TestWhatAnAttemptLeftIsKnownUntilTheNextHasOpened(t *testing.T) {
	s := script{
		poll:    ten,
		consume: func(*fakeChain, context.Context, []byte) error { return errors.New("broken") },
		open: func(c *fakeChain, ctx context.Context) error {
			if c.task.Attempt.Attempt < 2 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		},
	}
	run(t, s, func(b *bench) {
		for n := range 3 {
			b.deploy(deployments(n))
			b.must(b.Cancel(b.ctx, protocol.CancelTasksRequest{Attempts: attempts(deployments(n))}))
		}
		b.deploy(deployments(3))
		b.must(b.Cancel(b.ctx, protocol.CancelTasksRequest{Attempts: attempts(deployments(3)), Discard: true, Completed: 3}))
		var got []string
		for _, s := range b.program.endings() {
			if strings.Contains(s, "discarded") {
				got = append(got, s)
			}
		}
		slices.Sort(got)
		if want := []string{"sink-0 discarded above 3", "sink-1 discarded above 3"}; !slices.Equal(got, want) {
			t.Errorf("discarded %q, want %q: the second attempts alone, which were the last to open", got, want)
		}
		if len(b.ended) > 0 {
			t.Errorf("%d ended attempts are still kept", len(b.ended))
		}
	})
}

// TestSinksOfAProcessThatIsGoneAreCleanedUp: by a process in which they have not run.
func TestSinksOfAProcessThatIsGoneAreCleanedUp(t *testing.T) {
	run(t, script{}, func(b *bench) {
		own := deployments(0)
		own.Tasks = own.Tasks[:2] // of subtask 0; subtask 1 ran elsewhere
		b.deploy(own)
		b.must(b.Cancel(b.ctx, protocol.CancelTasksRequest{Attempts: attempts(own)}))
		r := protocol.CancelTasksRequest{Attempts: attempts(deployments(0)), Discard: true, Completed: 5}
		for s := range 2 {
			r.Sinks = append(r.Sinks, protocol.TaskDeployment{
				Attempt: id.ExecutionAttempt{Vertex: sinkID, Subtask: s, Attempt: 1}, Restore: &protocol.RestoredState{Checkpoint: 5},
			})
		}
		b.must(b.Cancel(b.ctx, r))
		b.wantEndings("source-0 closed", "sink-0 closed", "sink-0 discarded above 5", "sink-1/1 cleaned up behind 5, closed")
	})
}

func TestADiscardThatPanicsHarmsNobody(t *testing.T) {
	run(t, script{}, func(b *bench) {
		l := &leftover{discard: func(context.Context, int64) error { panic("no") }, log: b.cfg.Log}
		l.clear(b.ctx, 1)
		synctest.Wait()
	})
}

package taskmanager

import (
	"cmp"
	"slices"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// keptCheckpoints is how many checkpoints have their untaken acknowledgements kept: the newest may be
// completed by the next master, the one before it is for a master that is only slow.
const keptCheckpoints = 2

// executions holds what one job's tasks at this TaskManager do, and what no master has been told of it
// yet. It has no goroutine or clock.
//
// What must be told waits in queue in the order in which it happened and leaves it when a master has
// taken it: a master sees every state at least once, and those of one attempt in order. A terminal
// execution is forgotten when a newer attempt of its subtask arrives or the job ends here; a master that
// has taken it is not told again, a later one is, because nothing else may have survived its predecessor.
type executions struct {
	byAttempt map[id.ExecutionAttempt]*execution
	queue     []news
	// number of the newest entry of queue ever made.
	number int64
}

type execution struct {
	protocol.Execution
	// number of the news that this state came with.
	number int64
	// cancelledAt is when its process was first told to end it, zero before.
	cancelledAt time.Time
	// taken: the master with token takenBy knows that this execution has ended.
	taken   bool
	takenBy id.FencingToken
}

// news is something to tell a master; exactly one of its pointers is set.
type news struct {
	number  int64
	state   *protocol.Execution
	ack     *protocol.AcknowledgeCheckpointRequest
	decline *protocol.DeclineCheckpointRequest
}

func newExecutions() *executions {
	return &executions{byAttempt: map[id.ExecutionAttempt]*execution{}}
}

// deploy takes in an attempt that is about to start. It reports false for an attempt that is known
// already, or older than one known: a repeated or late request.
func (e *executions) deploy(x protocol.Execution) bool {
	for a := range e.byAttempt {
		if a.Vertex == x.Attempt.Vertex && a.Subtask == x.Attempt.Subtask && a.Attempt >= x.Attempt.Attempt {
			return false
		}
	}
	e.byAttempt[x.Attempt] = &execution{Execution: x}
	e.tellState(e.byAttempt[x.Attempt])
	e.forgetReplaced()
	return true
}

// change takes in a new state of a known attempt. It reports false, and changes nothing, when the attempt
// is unknown or has ended.
func (e *executions) change(x protocol.Execution) bool {
	known := e.byAttempt[x.Attempt]
	if known == nil || known.State.Terminal() {
		return false
	}
	x.Allocation, x.StartedAt = known.Allocation, known.StartedAt
	if x.Metrics == (protocol.TaskMetrics{}) {
		x.Metrics = known.Metrics
	}
	known.Execution = x
	e.tellState(known)
	return true
}

func (e *executions) tellState(x *execution) {
	e.number++
	x.number = e.number
	state := x.Execution
	e.queue = append(e.queue, news{number: e.number, state: &state})
}

// acknowledge takes in a task's part of a checkpoint.
func (e *executions) acknowledge(a protocol.AcknowledgeCheckpointRequest) {
	e.number++
	e.queue = append(e.queue, news{number: e.number, ack: &a})
	e.dropOldCheckpoints()
}

// decline takes in that a task cannot take part in a checkpoint.
func (e *executions) decline(d protocol.DeclineCheckpointRequest) {
	e.number++
	e.queue = append(e.queue, news{number: e.number, decline: &d})
	e.dropOldCheckpoints()
}

// checkpoint returns what checkpoint n is about, 0 for a state.
func (n news) checkpoint() int64 {
	switch {
	case n.ack != nil:
		return n.ack.Checkpoint
	case n.decline != nil:
		return n.decline.Checkpoint
	}
	return 0
}

func (e *executions) dropOldCheckpoints() {
	var checkpoints []int64
	for _, n := range e.queue {
		if c := n.checkpoint(); c != 0 && !slices.Contains(checkpoints, c) {
			checkpoints = append(checkpoints, c)
		}
	}
	if len(checkpoints) <= keptCheckpoints {
		return
	}
	slices.Sort(checkpoints)
	oldest := checkpoints[len(checkpoints)-keptCheckpoints]
	e.dropCheckpoints(func(c int64) bool { return c < oldest })
}

func (e *executions) dropCheckpoints(which func(int64) bool) {
	e.queue = slices.DeleteFunc(e.queue, func(n news) bool { return n.checkpoint() != 0 && which(n.checkpoint()) })
}

// complete takes in that every checkpoint up to n is complete or will never be.
func (e *executions) complete(n int64) {
	e.dropCheckpoints(func(c int64) bool { return c <= n })
}

// abort takes in that checkpoints first..last were given up.
func (e *executions) abort(first, last int64) {
	e.dropCheckpoints(func(c int64) bool { return first <= c && c <= last })
}

// untold returns what no master has taken, in order.
func (e *executions) untold() []news { return slices.Clone(e.queue) }

// taken takes in that the master with that token has taken these news.
func (e *executions) taken(token id.FencingToken, told []news) {
	numbers := make(map[int64]bool, len(told))
	for _, n := range told {
		numbers[n.number] = true
		if n.state != nil {
			e.mark(token, n.state.Attempt, n.number)
		}
	}
	e.queue = slices.DeleteFunc(e.queue, func(n news) bool { return numbers[n.number] })
	e.forgetReplaced()
}

// takenReport takes in that the master with that token has taken a report made when number was the
// newest: it knows every state up to then.
func (e *executions) takenReport(token id.FencingToken, number int64) {
	for a := range e.byAttempt {
		e.mark(token, a, number)
	}
	e.queue = slices.DeleteFunc(e.queue, func(n news) bool { return n.state != nil && n.number <= number })
	e.forgetReplaced()
}

// forgetReplaced forgets ended attempts that a newer one has replaced, once their end was taken.
func (e *executions) forgetReplaced() {
	for a, x := range e.byAttempt {
		if !x.State.Terminal() || !x.taken {
			continue
		}
		for b := range e.byAttempt {
			if b.Vertex == a.Vertex && b.Subtask == a.Subtask && b.Attempt > a.Attempt {
				delete(e.byAttempt, a)
				break
			}
		}
	}
}

func (e *executions) mark(token id.FencingToken, a id.ExecutionAttempt, number int64) {
	if x := e.byAttempt[a]; x != nil && x.State.Terminal() && x.number <= number {
		x.taken, x.takenBy = true, token
	}
}

// measure takes in counters.
func (e *executions) measure(attempts []protocol.AttemptMetrics) {
	for _, m := range attempts {
		if x := e.byAttempt[m.Attempt]; x != nil && !x.State.Terminal() {
			x.Metrics = m.Metrics
		}
	}
}

// report lists what the master with that token should know: what runs, and what ended unless it has taken
// that. Ordered by vertex, subtask and attempt.
func (e *executions) report(token id.FencingToken) []protocol.Execution {
	var report []protocol.Execution
	for _, x := range e.byAttempt {
		if !x.taken || x.takenBy != token {
			report = append(report, x.Execution)
		}
	}
	slices.SortFunc(report, func(a, b protocol.Execution) int { return compareAttempts(a.Attempt, b.Attempt) })
	return report
}

// live lists the attempts that have not ended, of the given allocations or of all if there are none given.
func (e *executions) live(allocations ...id.Allocation) []id.ExecutionAttempt {
	var live []id.ExecutionAttempt
	for a, x := range e.byAttempt {
		if !x.State.Terminal() && (len(allocations) == 0 || slices.Contains(allocations, x.Allocation)) {
			live = append(live, a)
		}
	}
	slices.SortFunc(live, compareAttempts)
	return live
}

// fail ends attempts that have not ended.
func (e *executions) fail(attempts []id.ExecutionAttempt, f *protocol.Failure) {
	for _, a := range attempts {
		e.change(protocol.Execution{Attempt: a, State: protocol.Failed, Failure: f})
	}
}

// cancelled notes that the process has been told to end an attempt. It reports false for one that is unknown or has
// ended.
func (e *executions) cancelled(a id.ExecutionAttempt, now time.Time) bool {
	x := e.byAttempt[a]
	if x == nil || x.State.Terminal() {
		return false
	}
	if x.cancelledAt.IsZero() {
		x.cancelledAt = now
	}
	return true
}

// excuse shifts cancellations by a time in which no end could be heard by our own fault.
func (e *executions) excuse(deaf time.Duration) {
	for _, x := range e.byAttempt {
		if !x.cancelledAt.IsZero() {
			x.cancelledAt = x.cancelledAt.Add(deaf)
		}
	}
}

// stubborn returns an attempt that was cancelled before a time and still runs, if there is one.
func (e *executions) stubborn(before time.Time) (a id.ExecutionAttempt, ok bool) {
	for a, x := range e.byAttempt {
		if !x.State.Terminal() && !x.cancelledAt.IsZero() && x.cancelledAt.Before(before) {
			return a, true
		}
	}
	return a, false
}

// settled reports whether nothing runs and a master has taken every end.
func (e *executions) settled() bool {
	for _, x := range e.byAttempt {
		if !x.State.Terminal() || !x.taken {
			return false
		}
	}
	return true
}

func compareAttempts(a, b id.ExecutionAttempt) int {
	return cmp.Or(slices.Compare(a.Vertex[:], b.Vertex[:]), cmp.Compare(a.Subtask, b.Subtask), cmp.Compare(a.Attempt, b.Attempt))
}

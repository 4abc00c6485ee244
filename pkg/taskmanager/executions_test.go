package taskmanager

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

func attempt(subtask, n int) id.ExecutionAttempt {
	return id.ExecutionAttempt{Vertex: id.Vertex{1}, Subtask: subtask, Attempt: n}
}

func execution0(a id.ExecutionAttempt, s protocol.TaskState) protocol.Execution {
	return protocol.Execution{Attempt: a, State: s}
}

// told shows news on one line each.
func told(ns []news) []string {
	var lines []string
	for _, n := range ns {
		switch {
		case n.state != nil:
			lines = append(lines, fmt.Sprintf("%d_%d %s", n.state.Attempt.Subtask, n.state.Attempt.Attempt, n.state.State))
		case n.ack != nil:
			lines = append(lines, fmt.Sprintf("%d ack %d", n.ack.Attempt.Subtask, n.ack.Checkpoint))
		default:
			lines = append(lines, fmt.Sprintf("%d decline %d", n.decline.Attempt.Subtask, n.decline.Checkpoint))
		}
	}
	return lines
}

func reported(xs []protocol.Execution) []string {
	var lines []string
	for _, x := range xs {
		lines = append(lines, fmt.Sprintf("%d_%d %s", x.Attempt.Subtask, x.Attempt.Attempt, x.State))
	}
	return lines
}

func ack(subtask int, checkpoint int64) protocol.AcknowledgeCheckpointRequest {
	return protocol.AcknowledgeCheckpointRequest{Attempt: attempt(subtask, 0), Checkpoint: checkpoint}
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestExecutionsTellEveryStateInOrder(t *testing.T) {
	master := id.NewFencingToken(1)
	e := newExecutions()
	e.deploy(execution0(attempt(0, 0), protocol.Deploying))
	e.change(execution0(attempt(0, 0), protocol.Running))
	first := e.untold()
	expect(t, "first", told(first), "0_0 DEPLOYING", "0_0 RUNNING")
	e.change(protocol.Execution{Attempt: attempt(0, 0), State: protocol.Failed, Failure: &protocol.Failure{Message: "boom"}})
	expect(t, "while the first is on its way", told(e.untold()), "0_0 DEPLOYING", "0_0 RUNNING", "0_0 FAILED")
	e.taken(master, first)
	expect(t, "after it was taken", told(e.untold()), "0_0 FAILED")
	if e.settled() {
		t.Error("settled before the end was taken")
	}
	e.taken(master, e.untold())
	if !e.settled() {
		t.Error("not settled after the end was taken")
	}
	if e.change(execution0(attempt(0, 0), protocol.Running)) {
		t.Error("an ended attempt came back")
	}
}

func TestExecutionsReportEndsToTheNextMaster(t *testing.T) {
	first, second := id.NewFencingToken(1), id.NewFencingToken(2)
	e := newExecutions()
	for _, subtask := range []int{1, 0} {
		e.deploy(execution0(attempt(subtask, 0), protocol.Running))
	}
	e.change(execution0(attempt(0, 0), protocol.Finished))
	e.takenReport(first, e.number)
	expect(t, "news", told(e.untold()))
	expect(t, "to the one that knows", reported(e.report(first)), "1_0 RUNNING")
	expect(t, "to its successor", reported(e.report(second)), "0_0 FINISHED", "1_0 RUNNING")

	// What happened after the report was made is not taken with it.
	number := e.number
	e.change(execution0(attempt(1, 0), protocol.Failed))
	e.takenReport(second, number)
	expect(t, "after the report", told(e.untold()), "1_0 FAILED")

	// A newer attempt replaces one whose end was taken; one whose end was not, stays until it is.
	e.deploy(execution0(attempt(0, 1), protocol.Deploying))
	e.deploy(execution0(attempt(1, 1), protocol.Deploying))
	expect(t, "with new attempts", reported(e.report(id.FencingToken{})), "0_1 DEPLOYING", "1_0 FAILED", "1_1 DEPLOYING")
	e.taken(second, e.untold())
	expect(t, "when all was taken", reported(e.report(id.FencingToken{})), "0_1 DEPLOYING", "1_1 DEPLOYING")
}

func TestExecutionsIgnoreRepeatedAndLateDeployments(t *testing.T) {
	e := newExecutions()
	for _, tc := range []struct {
		attempt id.ExecutionAttempt
		want    bool
	}{
		{attempt(0, 1), true},
		{attempt(0, 1), false},
		{attempt(0, 0), false},
		{attempt(1, 0), true},
		{attempt(0, 2), true},
	} {
		if got := e.deploy(execution0(tc.attempt, protocol.Deploying)); got != tc.want {
			t.Errorf("deploy of %s = %t, want %t", tc.attempt, got, tc.want)
		}
	}
	e.fail([]id.ExecutionAttempt{attempt(0, 2)}, &protocol.Failure{})
	if e.deploy(execution0(attempt(0, 2), protocol.Deploying)) {
		t.Error("an attempt that has ended was started again")
	}
}

func TestExecutionsKeepTheNewestCheckpoints(t *testing.T) {
	e := newExecutions()
	for checkpoint := range int64(4) {
		e.acknowledge(ack(0, checkpoint+1))
		e.acknowledge(ack(1, checkpoint+1))
	}
	expect(t, "four checkpoints", told(e.untold()), "0 ack 3", "1 ack 3", "0 ack 4", "1 ack 4")
	e.decline(protocol.DeclineCheckpointRequest{Attempt: attempt(2, 0), Checkpoint: 5})
	expect(t, "five", told(e.untold()), "0 ack 4", "1 ack 4", "2 decline 5")
	e.abort(5, 7)
	expect(t, "one given up", told(e.untold()), "0 ack 4", "1 ack 4")
	e.complete(4)
	expect(t, "complete", told(e.untold()))
}

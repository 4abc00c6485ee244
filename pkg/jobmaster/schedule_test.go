package jobmaster

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tamias-project/tamias/internal/testkit/transcript"
	"github.com/tamias-project/tamias/pkg/checkpoint"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

func TestSchedule(t *testing.T) {
	transcript.Run(t, "testdata/schedule/*.txt", func(t *testing.T) func([]string) string {
		b := &bench{t: t}
		return b.run
	})
}

// bench gives schedules commands and plays the store for them: what was written survives a takeover.
type bench struct {
	t     *testing.T
	graph *jobgraph.JobGraph
	cfg   scheduleConfig
	s     *schedule

	ledger *haservices.Ledger
	intent *haservices.Intent
	latest *checkpoint.Completed
	// open actions that wait for an answer.
	open []action
}

var epoch = time.Unix(1_000_000, 0).UTC()

// Attempts read a0 (first attempt) and a0.1; TaskManagers tm1 or tm1' (its next process); slots are numbers.

func vertexID(name byte) id.Vertex {
	v, err := id.ParseVertex(strings.Repeat(string(name), 32))
	if err != nil {
		panic(err)
	}
	return v
}

func parseAttempt(s string) id.ExecutionAttempt {
	sub, att, _ := strings.Cut(s[1:], ".")
	subtask, err := strconv.Atoi(sub)
	if err != nil {
		panic("attempt " + s)
	}
	n, _ := strconv.Atoi(att)
	return id.ExecutionAttempt{Vertex: vertexID(s[0]), Subtask: subtask, Attempt: n}
}

func showAttempt(a id.ExecutionAttempt) string {
	s := fmt.Sprintf("%s%d", a.Vertex.String()[:1], a.Subtask)
	if a.Attempt > 0 {
		s += fmt.Sprintf(".%d", a.Attempt)
	}
	return s
}

func showAttempts(list []id.ExecutionAttempt) string {
	var words []string
	for _, a := range list {
		words = append(words, showAttempt(a))
	}
	return strings.Join(words, " ")
}

func parseMember(s string) member {
	name := strings.TrimRight(s, "'")
	n, err := strconv.Atoi(strings.TrimPrefix(name, "tm"))
	if err != nil {
		panic("task manager " + s)
	}
	return member{id.TaskManager(name), id.Instance{byte(n), byte(len(s) - len(name))}}
}

func (m member) String() string { return string(m.id) + strings.Repeat("'", int(m.instance[1])) }

func parseSlots(s string) (list []id.Allocation) {
	for _, w := range strings.Split(s, ",") {
		if n, err := strconv.Atoi(w); err == nil {
			list = append(list, id.Allocation{byte(n)})
		}
	}
	return list
}

func showSlots(list []id.Allocation) string {
	var words []string
	for _, a := range list {
		words = append(words, strconv.Itoa(int(a[0])))
	}
	return strings.Join(words, ",")
}

func option(words []string, name, otherwise string) string {
	for _, w := range words {
		if v, ok := strings.CutPrefix(w, name+"="); ok {
			return v
		}
	}
	return otherwise
}

func duration(words []string, name, otherwise string) time.Duration {
	d, err := time.ParseDuration(option(words, name, otherwise))
	if err != nil {
		panic(err)
	}
	return d
}

// states lists the words of the form running=a0,b0 or drained=a0.
func states(words []string, m member) (list []protocol.Execution) {
	for _, w := range words {
		name, value, ok := strings.Cut(w, "=")
		if !ok || name == "slots" || name == "because" || name == "since" || name == "restore" {
			continue
		}
		for _, a := range strings.Split(value, ",") {
			e := protocol.Execution{Attempt: parseAttempt(a), State: protocol.TaskState(strings.ToUpper(name))}
			if name == "drained" {
				e.State, e.Drained = protocol.Running, true
			}
			if name == "died" || name == "lost" { // with its process, a peer
				e.State = protocol.Failed
			}
			if e.State == protocol.Failed {
				e.Failure = &protocol.Failure{Message: option(words, "because", "boom"), Process: name == "died", Consequence: name == "lost"}
			}
			list = append(list, e)
		}
	}
	return list
}

func (b *bench) run(words []string) string {
	switch words[0] {
	case "new":
		b.newJob(words[1:])
		return ""
	case "details":
		return b.details(words)
	case "delay":
		b.s.delay(duration([]string{"by=" + words[1]}, "by", ""))
		return ""
	}
	at, err := time.ParseDuration(words[0])
	if err != nil {
		b.t.Fatalf("no such command: %v", words)
	}
	return b.event(epoch.Add(at), words[1], words[1:])
}

func (b *bench) newJob(words []string) {
	b.ledger, b.intent, b.latest = nil, nil, nil
	p, _ := strconv.Atoi(option(words, "p", "2"))
	partition := jobgraph.Partition(strings.ToUpper(option(words, "edge", "hash")))
	attempts, _ := strconv.Atoi(option(words, "attempts", "1"))
	b.graph = &jobgraph.JobGraph{
		Name: "job", MaxParallelism: 128,
		Vertices: []jobgraph.Vertex{
			{ID: vertexID('a'), Name: "source", Parallelism: p, Source: true, Operators: []jobgraph.Operator{{UID: "source"}}},
			{ID: vertexID('b'), Name: "sink", Parallelism: p},
		},
		Edges:         []jobgraph.Edge{{From: vertexID('a'), To: vertexID('b'), Partition: partition}},
		Checkpointing: jobgraph.Checkpointing{Interval: duration(words, "checkpoints", "0s")},
		Restart: jobgraph.Restart{
			Kind: jobgraph.RestartKind(option(words, "restart", "")), Attempts: attempts, Delay: duration(words, "delay", "1s"),
			Jitter: 0.1,
		},
	}
	b.graph.Vertices[1].Commits = option(words, "sink", "") == "two-phase"
	b.graph.Checkpointing.Retention = jobgraph.Retention(option(words, "retention", ""))
	b.cfg = scheduleConfig{
		graph: b.graph, submitted: epoch, adoptionTimeout: duration(words, "adoption", "30s"),
		slotRequestTimeout: duration(words, "slot-timeout", "5m"),
		jitter:             func() float64 { return 0 },
	}
}

func (b *bench) event(now time.Time, name string, words []string) string {
	var out []action
	var answer string
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	switch name {
	case "start", "takeover":
		b.cfg.latest = b.latest
		b.s, b.open = newSchedule(b.cfg), nil
		out = b.s.start(now, b.ledger, b.intent)
	case "tick":
		out = b.s.tick(now)
	case "rm":
		out = b.s.resourceManagerKnown(now, arg(1) != "lost")
	case "register":
		m := parseMember(arg(1))
		a, o, err := b.s.register(now, m, "tamias://"+arg(1)+":1/tm", b.report(words, m))
		out = o
		if err != nil {
			answer = "error: " + err.Error() + "\n"
		}
		if len(a.cancel) > 0 {
			answer += "answer: cancel " + showAttempts(a.cancel) + "\n"
		}
		if len(a.rejected) > 0 {
			answer += "answer: rejected slots " + showSlots(a.rejected) + "\n"
		}
	case "offer":
		rejected, o, err := b.s.offer(now, parseMember(arg(1)), parseSlots(option(words, "slots", "")))
		out = o
		if err != nil {
			answer = "error: " + err.Error() + "\n"
		}
		if len(rejected) > 0 {
			answer += "answer: rejected slots " + showSlots(rejected) + "\n"
		}
	case "report":
		m := parseMember(arg(1))
		o, err := b.s.report(now, m, states(words[2:], m))
		out = o
		if err != nil {
			answer = "error: " + err.Error() + "\n"
		}
	case "heartbeat":
		m := parseMember(arg(1))
		since, _ := strconv.ParseInt(option(words, "since", "99"), 10, 64)
		out = b.s.heartbeat(now, m, since, b.report(words, m))
	case "gone", "silent":
		out = b.s.lost(now, parseMember(arg(1)), name == "gone", name)
	case "answer":
		out = b.answer(now, true)
	case "store":
		out = b.answer(now, false)
	case "running", "drained":
		out = b.all(now, name)
	case "prepare-fails":
		out = b.s.prepared(now, b.s.ledger.Wave, parseMember(arg(1)), "", &protocol.Failure{Message: "no such binary"})
	case "deploy-fails":
		m := parseMember(arg(1))
		out = b.s.deployed(now, m, b.attemptsAt(m), &protocol.Failure{Message: "no memory"})
	case "storing":
		b.s.storingCheckpoint()
	case "stored":
		n, _ := strconv.ParseInt(arg(1), 10, 64)
		b.latest = &checkpoint.Completed{ID: n}
		out = b.s.checkpointStored(now, b.latest)
	case "final":
		out = b.s.finalCheckpoint(now)
	case "cancel":
		_, o, err := b.s.cancel(now)
		out = o
		if err != nil {
			answer = "error: " + err.Error() + "\n"
		}
	case "fail-all":
		out = b.s.failAll(now, protocol.Failure{Message: strings.Join(words[1:], " ")})
	default:
		b.t.Fatalf("no such event: %s", name)
	}
	return answer + b.show(out)
}

func (b *bench) report(words []string, m member) protocol.JobReport {
	return protocol.JobReport{
		Allocations: parseSlots(option(words, "slots", "")), Executions: states(words[2:], m),
	}
}

func (b *bench) attemptsAt(m member) (list []id.ExecutionAttempt) {
	for _, e := range b.s.executions {
		if e.at(m) {
			list = append(list, e.attempt)
		}
	}
	return list
}

// answer plays the store and, if all, the TaskManagers: everything that was asked for is done.
func (b *bench) answer(now time.Time, all bool) (out []action) {
	var left []action
	defer func() { b.open = append(left, b.open...) }()
	for len(b.open) > 0 {
		a := b.open[0]
		b.open = b.open[1:]
		switch a.(type) {
		case prepareJob, deployTasks:
			if !all {
				left = append(left, a)
				continue
			}
		}
		var more []action
		switch a := a.(type) {
		case writeLedger:
			b.ledger = &a.ledger
			more = b.s.ledgerWritten(now, a.ledger.Wave)
		case prepareJob:
			more = b.s.prepared(now, a.wave, a.to, a.to.String()+":data", nil)
		case deployTasks:
			var list []id.ExecutionAttempt
			for _, d := range a.tasks {
				list = append(list, d.Attempt)
			}
			more = b.s.deployed(now, a.to, list, nil)
		case storeIntent:
			b.intent = &a.intent
			more = b.s.intentStored(now, a.intent.Kind)
		case dropIntent:
			b.intent = nil
			more = b.s.intentDropped(now)
		}
		b.remember(more)
		out = append(out, more...)
	}
	return out
}

func (b *bench) remember(actions []action) {
	for _, a := range actions {
		switch a.(type) {
		case writeLedger, prepareJob, deployTasks, storeIntent, dropIntent:
			b.open = append(b.open, a)
		}
	}
}

// all has every TaskManager report its deployed attempts.
func (b *bench) all(now time.Time, how string) (out []action) {
	for _, m := range b.s.connected() {
		var list []protocol.Execution
		for _, e := range b.s.executions {
			if e.at(m) && (e.state == protocol.Deploying || e.state == protocol.Running) {
				list = append(list, protocol.Execution{Attempt: e.attempt, State: protocol.Running, Drained: how == "drained"})
			}
		}
		o, err := b.s.report(now, m, list)
		if err != nil {
			b.t.Fatal(err)
		}
		out = append(out, o...)
	}
	return out
}

// show prints actions, and keeps those that want an answer.
func (b *bench) show(actions []action) string {
	var s strings.Builder
	for _, a := range actions {
		switch a := a.(type) {
		case writeLedger:
			fmt.Fprintf(&s, "write ledger: wave %d:", a.ledger.Wave)
			for _, e := range a.ledger.Executions {
				fmt.Fprintf(&s, " %s@%s/%s", showAttempt(e.Attempt), member{e.TaskManager, e.Instance}, showSlots([]id.Allocation{e.Allocation}))
			}
			fmt.Fprintf(&s, ", restarts %d, adoptions %d\n", a.ledger.Restarts, a.ledger.Adoptions)
		case prepareJob:
			fmt.Fprintf(&s, "prepare %s\n", a.to)
		case deployTasks:
			fmt.Fprintf(&s, "deploy at %s:", a.to)
			for _, d := range a.tasks {
				fmt.Fprintf(&s, " %s", showAttempt(d.Attempt))
				if d.Restore != nil {
					fmt.Fprintf(&s, "<-%d", d.Restore.Checkpoint)
				}
			}
			s.WriteString("\n")
		case cancelTasks:
			fmt.Fprintf(&s, "cancel at %s: %s", a.to, showAttempts(a.attempts))
			if a.discard {
				fmt.Fprintf(&s, ", discard above %d", a.completed)
			}
			s.WriteString("\n")
		case finishTasks:
			fmt.Fprintf(&s, "finish at %s: %s\n", a.to, showAttempts(a.attempts))
		case releaseSlots:
			fmt.Fprintf(&s, "release slots at %s: %s\n", a.to, showSlots(a.allocations))
		case storeIntent:
			fmt.Fprintf(&s, "store intent %s\n", a.intent.Kind)
		case dropIntent:
			s.WriteString("drop intent\n")
		case declareSlots:
			need, held := b.s.requirements()
			fmt.Fprintf(&s, "declare %d slots, held %s\n", need, showSlots(held))
		case beginCheckpoints:
			fmt.Fprintf(&s, "begin checkpoints of %d tasks, first in %s\n", len(a.tasks), a.first)
		case suspendCheckpoints:
			fmt.Fprintf(&s, "suspend checkpoints: %s\n", a.reason)
		case lastCheckpoint:
			s.WriteString("last checkpoint\n")
		case adoptionOver:
			fmt.Fprintf(&s, "adopted after %s: %s\n", a.took, showAttempts(a.attempts))
		case jobEnded:
			fmt.Fprintf(&s, "job ended %s\n", a.state)
		default:
			b.t.Fatalf("action %T", a)
		}
	}
	b.remember(actions)
	if next, ok := b.s.next(); ok {
		fmt.Fprintf(&s, "next tick at %s\n", next.Sub(epoch))
	}
	return s.String()
}

func (b *bench) details(words []string) string {
	d := b.s.details(epoch.Add(duration(words, "at", "0s")))
	var s strings.Builder
	fmt.Fprintf(&s, "%s, restarts %d, adoptions %d", d.Overview.State, d.Overview.Restarts, d.Overview.Adoptions)
	for _, state := range slices.Sorted(maps.Keys(d.Overview.Tasks)) {
		fmt.Fprintf(&s, ", %d %s", d.Overview.Tasks[state], state)
	}
	s.WriteString("\n")
	if d.Waiting != "" {
		fmt.Fprintf(&s, "waiting: %s\n", d.Waiting)
	}
	for _, e := range d.Subtasks {
		fmt.Fprintf(&s, "%s ", showAttempt(e.Execution.Attempt))
	}
	s.WriteString("\n")
	for _, f := range d.Failures {
		fmt.Fprintf(&s, "failure %s %s: %s\n", f.Task, f.TaskManager, f.Failure.Message)
	}
	return s.String()
}

package jobmaster

import (
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// place is where an attempt was deployed, or is about to be. Zero: no ledger has ever named an attempt of
// this subtask.
type place struct {
	member
	allocation id.Allocation
	address    string
}

// execution is the current attempt of one subtask. Flink's ExecutionVertex and Execution in one.
type execution struct {
	vertex  *jobgraph.Vertex
	region  *region
	attempt id.ExecutionAttempt
	state   protocol.TaskState
	place   place
	// taken is the schedule's sequence when the TaskManager had certainly got this attempt, 0 before: a
	// report that was asked for later must contain it.
	taken   int64
	drained bool
	// mayFinish: it was told to commit and end, or an earlier leader may have told it.
	mayFinish bool
	// discarding: it was told to discard when it ends; discarded: it has ended so, and left nothing behind.
	discarding, discarded bool

	failure   *protocol.Failure
	startedAt time.Time
	endedAt   time.Time
	metrics   protocol.TaskMetrics
}

// settled reports whether nothing of the execution runs anywhere, as far as this leader is concerned.
func (e *execution) settled() bool { return e.state.Terminal() || e.state == protocol.Created }

// at reports whether the execution's attempt belongs to m.
func (e *execution) at(m member) bool { return e.place.member == m }

// phase is what happens to a region as a whole.
type phase int

const (
	// up: its attempts were deployed or adopted; their states tell the rest.
	up phase = iota
	// waiting for slots and for its turn in a deployment wave.
	waiting
	// deploying: it is in the wave that is being prepared.
	deploying
	// stopping: what is left of it is cancelled; then it waits until restartAt.
	stopping
)

// region is a connected component of executions under pipelined exchanges: it fails and restarts as a
// whole, without touching others. Flink's PipelinedRegion.
type region struct {
	executions []*execution
	phase      phase
	restartAt  time.Time
}

// executionsOf lists the subtasks of g, by vertex and subtask, in regions.
func executionsOf(g *jobgraph.JobGraph) (all []*execution, regions []*region) {
	first := map[id.Vertex]int{}
	for i := range g.Vertices {
		v := &g.Vertices[i]
		first[v.ID] = len(all)
		for s := range v.Parallelism {
			all = append(all, &execution{
				vertex: v, state: protocol.Created, attempt: id.ExecutionAttempt{Vertex: v.ID, Subtask: s},
			})
		}
	}
	parent := make([]int, len(all))
	for i := range parent {
		parent[i] = i
	}
	find := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	for _, e := range g.Edges {
		from, to := g.Vertex(e.From), g.Vertex(e.To)
		for s := range from.Parallelism {
			for _, d := range receivers(e, s, to.Parallelism) {
				parent[find(first[e.To]+d)] = find(first[e.From] + s)
			}
		}
	}
	byRoot := map[int]*region{}
	for i, e := range all {
		r := byRoot[find(i)]
		if r == nil {
			r = &region{phase: waiting}
			byRoot[find(i)] = r
			regions = append(regions, r)
		}
		r.executions = append(r.executions, e)
		e.region = r
	}
	return all, regions
}

// receivers are the subtasks at the far side of edge e, of given parallelism, that subtask s is
// connected to. It is the same in both directions.
func receivers(e jobgraph.Edge, s, parallelism int) []int {
	if e.Partition == jobgraph.Forward {
		return []int{s}
	}
	all := make([]int, parallelism)
	for i := range all {
		all[i] = i
	}
	return all
}

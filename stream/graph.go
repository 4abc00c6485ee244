package stream

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/shuffle"
)

// node is an operator of the job. Flink's StreamNode.
type node struct {
	env         *Env
	kind        string // "Source", "Map", ...: the default name
	name, uid   string
	parallelism int
	explicit    bool // parallelism was set: else it is the job's
	finalOnly   bool
	source      bool
	commits     bool // takes part in two-phase commit
	inputs      []*edge
	outputs     []*edge
	// start makes the operator of one subtask. next are the receivers of what it emits; in is a receiver of
	// its input, nil for sources.
	start func(next []any) (in any, op operator)
}

// edge is a way from one operator to another.
type edge struct {
	from, to  *node
	partition jobgraph.Partition // empty: forward if possible, else rebalance
	chained   bool               // within a vertex
	output    int                // when not chained: number among the outgoing edges of its vertex
	// writer makes a receiver that encodes records into an output; reader makes the decoder at the far end.
	// Both are typed inside.
	writer func(out *shuffle.Output, p partitioning) any
	reader func(in any) frameReader
	// codec is why records cannot cross an exchange, or nil.
	codec error
}

// partitioning is what a writer needs to know to choose consumers.
type partitioning struct {
	partition      jobgraph.Partition
	subtask        int // of the producer
	maxParallelism int
}

// frameReader decodes a frame and passes its records on.
type frameReader func(ctx context.Context, frame []byte) error

// add adds an operator to the job.
func (e *Env) add(n *node, opts []Option) *node {
	n.env = e
	for _, o := range opts {
		o(n)
	}
	if n.name == "" {
		n.name = n.kind
	}
	if !n.explicit {
		n.parallelism = e.parallelism
	}
	switch {
	case n.parallelism < 1 && n.explicit:
		e.errorf("%s has parallelism %d, it must be at least 1", n.title(), n.parallelism)
	case n.parallelism > e.maxParallelism:
		e.errorf("%s has parallelism %d, more than the max parallelism %d", n.title(), n.parallelism, e.maxParallelism)
	}
	e.nodes = append(e.nodes, n)
	return n
}

// title is the operator as users see it.
func (n *node) title() string {
	if n.kind == n.name {
		return n.kind
	}
	if n.kind == "Source" || n.kind == "Sink" {
		return n.kind + ": " + n.name
	}
	return n.name
}

// head reports whether the operator begins a vertex.
func (n *node) head() bool { return len(n.inputs) != 1 || !n.inputs[0].chained }

// vertex is a chain of operators: a tree that begins at its head.
type vertex struct {
	head    *node
	members []*node // in the order in which they were added to the job
	outputs []*edge // in the order of JobGraph.Edges
}

// plan is a finished job: what the job graph is made of.
type plan struct {
	env      *Env
	vertices map[id.Vertex]*vertex
	graph    *jobgraph.JobGraph
}

// plan chains operators to vertices and checks the job. Calling it again gives the same plan.
func (e *Env) plan(name string) (*plan, error) {
	if len(e.nodes) == 0 {
		e.errorf("the job has no operators")
	}
	if err := e.err(); err != nil {
		return nil, err
	}
	e.nameStates()
	e.chain()
	p := &plan{env: e, vertices: map[id.Vertex]*vertex{}, graph: &jobgraph.JobGraph{
		ID: id.NewJob(), Name: name, MaxParallelism: e.maxParallelism, Checkpointing: e.checkpointing,
		Restart: e.restart, BufferTimeout: e.bufferTimeout, DefaultParallelism: e.parallelism,
	}}
	p.build()
	if err := e.err(); err != nil {
		return nil, err
	}
	return p, nil
}

// nameStates gives every operator a UID.
func (e *Env) nameStates() {
	taken := map[string]*node{}
	for _, n := range e.nodes {
		if n.uid == "" {
			continue
		}
		if other := taken[n.uid]; other != nil {
			e.errorf("%s and %s have the same UID %q", other.title(), n.title(), n.uid)
		}
		taken[n.uid] = n
	}
	count := map[string]int{}
	for _, n := range e.nodes {
		if n.uid != "" {
			continue
		}
		base := strings.ToLower(strings.ReplaceAll(n.title(), " ", "-"))
		count[base]++
		n.uid = fmt.Sprintf("%s-%d", base, count[base])
		if other := taken[n.uid]; other != nil {
			e.errorf("%s has the UID %q, which %s would get by default; choose another", other.title(), n.uid, n.title())
		}
	}
}

// chain decides which operators run in one task: those that forward to a single input with the same
// parallelism.
func (e *Env) chain() {
	for _, n := range e.nodes {
		for _, edge := range n.inputs {
			same := edge.from.parallelism == n.parallelism
			if edge.partition == "" && same {
				edge.chained = len(n.inputs) == 1
			}
			if !edge.chained && edge.codec != nil {
				e.errorf("records cannot be sent from %s to %s: %w", edge.from.title(), n.title(), edge.codec)
			}
		}
	}
}

// partition of an edge that is not chained.
func (e *edge) exchange() jobgraph.Partition {
	switch {
	case e.partition != "":
		return e.partition
	case e.from.parallelism == e.to.parallelism:
		return jobgraph.Forward
	default:
		return jobgraph.Rebalance
	}
}

// build makes vertices and edges. An operator is added after its inputs, so the order of heads is
// topological.
func (p *plan) build() {
	of := map[*node]id.Vertex{}
	for _, n := range p.env.nodes {
		if !n.head() {
			continue
		}
		v := &vertex{head: n, members: members(n)}
		key := v.id()
		p.vertices[key] = v
		jv := jobgraph.Vertex{ID: key, Name: v.name(), Parallelism: n.parallelism, Source: n.source}
		for _, m := range v.members {
			of[m] = key
			jv.Operators = append(jv.Operators, jobgraph.Operator{UID: m.uid, Name: m.title()})
			jv.Commits = jv.Commits || m.commits
		}
		p.graph.Vertices = append(p.graph.Vertices, jv)
	}
	for _, n := range p.env.nodes {
		for i, e := range n.inputs {
			if e.chained {
				continue
			}
			from := p.vertices[of[e.from]]
			e.output = len(from.outputs)
			from.outputs = append(from.outputs, e)
			p.graph.Edges = append(p.graph.Edges, jobgraph.Edge{
				From: of[e.from], To: of[n], Input: i, Partition: e.exchange(),
			})
		}
	}
}

// members lists a chain, each operator before those it feeds.
func members(n *node) []*node {
	list := []*node{n}
	for _, e := range n.outputs {
		if e.chained {
			list = append(list, members(e.to)...)
		}
	}
	return list
}

// id is a hash of the operators' UIDs, so that the same program has the same vertices on every run.
func (v *vertex) id() id.Vertex {
	h := sha256.New()
	for _, m := range v.members {
		fmt.Fprintf(h, "%d:%s", len(m.uid), m.uid)
	}
	return id.Vertex(h.Sum(nil)[:16])
}

// name shows the chain as Flink does: "Source: a -> Map -> (Filter, Sink: b)".
func (v *vertex) name() string { return chainName(v.head) }

func chainName(n *node) string {
	var next []string
	for _, e := range n.outputs {
		if e.chained {
			next = append(next, chainName(e.to))
		}
	}
	switch len(next) {
	case 0:
		return n.title()
	case 1:
		return n.title() + " -> " + next[0]
	default:
		return n.title() + " -> (" + strings.Join(next, ", ") + ")"
	}
}

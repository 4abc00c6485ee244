package dispatcher

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

const (
	defaultMaxParallelism    = 128
	highestMaxParallelism    = 1 << 15
	defaultCheckpointTimeout = 10 * time.Minute
)

// complete fills in what the client left open. Completing a completed graph changes nothing.
func complete(g jobgraph.JobGraph, checkpointDir string) jobgraph.JobGraph {
	g.Name = cmp.Or(g.Name, "unnamed job")
	g.MaxParallelism = cmp.Or(g.MaxParallelism, defaultMaxParallelism)
	c := &g.Checkpointing
	c.Timeout = cmp.Or(c.Timeout, defaultCheckpointTimeout)
	c.Retained = max(1, c.Retained)
	c.Dir = cmp.Or(c.Dir, checkpointDir)
	return g
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", protocol.ErrInvalidJob, fmt.Sprintf(format, args...))
}

// validate says why a completed graph cannot run.
func validate(g jobgraph.JobGraph) error {
	if g.ID.IsZero() {
		return invalid("it has no job ID")
	}
	if key, err := hex.DecodeString(g.Binary.Key); err != nil || len(key) != 32 {
		return invalid("it names no binary (key %q is not a SHA-256 in hex)", g.Binary.Key)
	}
	if g.MaxParallelism < 1 || g.MaxParallelism > highestMaxParallelism {
		return invalid("maximum parallelism %d is not in 1..%d", g.MaxParallelism, highestMaxParallelism)
	}
	for _, check := range []func(jobgraph.JobGraph) error{validateVertices, validateEdges, validateSettings} {
		if err := check(g); err != nil {
			return err
		}
	}
	return nil
}

func validateVertices(g jobgraph.JobGraph) error {
	if len(g.Vertices) == 0 {
		return invalid("its graph is empty: the program defined no source")
	}
	seen, uids := map[id.Vertex]bool{}, map[string]bool{}
	for _, v := range g.Vertices {
		switch {
		case seen[v.ID]:
			return invalid("two vertices have the ID %s", v.ID)
		case v.Parallelism < 1 || v.Parallelism > g.MaxParallelism:
			return invalid("vertex %q has parallelism %d; 1..%d (pipeline.max-parallelism) is possible", v.Name, v.Parallelism, g.MaxParallelism)
		case len(v.Operators) == 0:
			return invalid("vertex %q has no operators", v.Name)
		}
		seen[v.ID] = true
		for _, o := range v.Operators {
			if o.UID == "" || uids[o.UID] {
				return invalid("operator %q of vertex %q has the UID %q, which must not be empty or used twice", o.Name, v.Name, o.UID)
			}
			uids[o.UID] = true
		}
	}
	return nil
}

func validateEdges(g jobgraph.JobGraph) error {
	place := map[id.Vertex]int{}
	for i, v := range g.Vertices {
		place[v.ID] = i
	}
	inputs := make([]int, len(g.Vertices))
	for i, e := range g.Edges {
		from, okFrom := place[e.From]
		to, okTo := place[e.To]
		switch {
		case !okFrom || !okTo:
			return invalid("edge %d leads from %s to %s, and the graph does not have both", i, e.From, e.To)
		case from >= to:
			return invalid("edge %d leads backwards, from %q to %q: a job graph has no cycles, and its vertices are in topological order",
				i, g.Vertices[from].Name, g.Vertices[to].Name)
		case e.Input != inputs[to]:
			return invalid("edge %d is input %d of %q, expected %d", i, e.Input, g.Vertices[to].Name, inputs[to])
		}
		inputs[to]++
		switch e.Partition {
		case jobgraph.Forward:
			if g.Vertices[from].Parallelism != g.Vertices[to].Parallelism {
				return invalid("edge %d forwards from %q with parallelism %d to %q with %d: they must be equal", i,
					g.Vertices[from].Name, g.Vertices[from].Parallelism, g.Vertices[to].Name, g.Vertices[to].Parallelism)
			}
		case jobgraph.Hash, jobgraph.Rebalance, jobgraph.Broadcast:
		default:
			return invalid("edge %d has the partitioning %q, which is not known here", i, e.Partition)
		}
	}
	for i, v := range g.Vertices {
		if v.Source != (inputs[i] == 0) {
			return invalid("vertex %q has %d inputs and source is %t", v.Name, inputs[i], v.Source)
		}
	}
	return nil
}

func validateSettings(g jobgraph.JobGraph) error {
	c, r := g.Checkpointing, g.Restart
	switch {
	case c.Interval < 0 || c.Timeout < 0 || c.MinPause < 0 || c.TolerableFailures < 0:
		return invalid("a checkpointing setting is negative: %+v", c)
	case c.Interval > 0 && c.Dir == "":
		return invalid("checkpointing is on (every %s) but has no directory: set execution.checkpointing.dir in the cluster's configuration or for the job", c.Interval)
	}
	switch c.Retention {
	case jobgraph.RetainNothing, jobgraph.DeleteOnCancellation, jobgraph.RetainOnCancellation:
	default:
		return invalid("checkpoint retention %q is not known here", c.Retention)
	}
	switch r.Kind {
	case jobgraph.RestartDefault, jobgraph.RestartNone, jobgraph.RestartFixedDelay, jobgraph.RestartFailureRate,
		jobgraph.RestartExponentialDelay:
	default:
		return invalid("restart strategy %q is not known here", r.Kind)
	}
	if r.Attempts < 0 || r.Delay < 0 || r.MaxPerInterval < 0 || r.Interval < 0 || r.InitialBackoff < 0 || r.MaxBackoff < 0 || r.Multiplier < 0 || r.ResetAfter < 0 || r.Jitter < 0 {
		return invalid("a restart setting is negative: %+v", r)
	}
	return nil
}

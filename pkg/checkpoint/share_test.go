package checkpoint_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tamias-project/tamias/pkg/checkpoint"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// saved is a checkpoint of an operator "count" at parallelism 2 (128 key groups) and of a source.
func saved() *checkpoint.Completed {
	keyed := func(subtask, first, last int) protocol.OperatorState {
		return protocol.OperatorState{
			UID: "count", Subtask: subtask, Raw: fmt.Appendf(nil, "raw%d", subtask),
			Keyed: []protocol.KeyedState{{File: fmt.Sprintf("f%d", subtask), First: first, Last: last}},
		}
	}
	return &checkpoint.Completed{ID: 9, Vertices: []checkpoint.VertexState{
		{Vertex: vertex("a"), Parallelism: 1, Operators: []protocol.OperatorState{{UID: "source", Raw: []byte("offset")}}},
		{Vertex: vertex("b"), Parallelism: 2, Operators: []protocol.OperatorState{keyed(0, 0, 63), keyed(1, 64, 127)}},
	}}
}

func TestShareFollowsKeyGroups(t *testing.T) {
	for _, tc := range []struct {
		parallelism, subtask int
		want                 string
	}{
		{2, 0, "count/0 f0 raw0"},
		{2, 1, "count/1 f1 raw1"},
		{1, 0, "count/0 f0 raw0, count/1 f1 raw1"},
		{3, 0, "count/0 f0 raw0"},
		{3, 1, "count/0 f0, count/1 f1 raw1"},
		{3, 2, "count/1 f1"},
		{4, 3, "count/1 f1"},
	} {
		v := &jobgraph.Vertex{Parallelism: tc.parallelism, Operators: []jobgraph.Operator{{UID: "count"}, {UID: "new"}}}
		got := saved().Share(v, tc.subtask, 128)
		if got.Checkpoint != 9 {
			t.Errorf("checkpoint %d, want 9", got.Checkpoint)
		}
		var parts []string
		for _, o := range got.Operators {
			part := fmt.Sprintf("%s/%d", o.UID, o.Subtask)
			for _, k := range o.Keyed {
				part += " " + k.File
			}
			if len(o.Raw) > 0 {
				part += " " + string(o.Raw)
			}
			parts = append(parts, part)
		}
		if got := strings.Join(parts, ", "); got != tc.want {
			t.Errorf("subtask %d of %d: Share = %q, want %q", tc.subtask, tc.parallelism, got, tc.want)
		}
	}
}

func TestShareOfNothing(t *testing.T) {
	v := &jobgraph.Vertex{Parallelism: 1, Operators: []jobgraph.Operator{{UID: "other"}}}
	if got := (*checkpoint.Completed)(nil).Share(v, 0, 128); got != nil {
		t.Errorf("Share of no checkpoint = %v, want nil", got)
	}
	if got := saved().Share(v, 0, 128); got == nil || len(got.Operators) != 0 {
		t.Errorf("Share for a new operator = %v, want an empty share", got)
	}
}

// TestShareCoversEveryKeyGroupOnce: over all parallelisms, the ranges of subtasks split the key groups.
func TestShareCoversEveryKeyGroupOnce(t *testing.T) {
	const groups = 16
	c := &checkpoint.Completed{ID: 1, Vertices: []checkpoint.VertexState{{Operators: nil}}}
	for g := range groups {
		c.Vertices[0].Operators = append(c.Vertices[0].Operators, protocol.OperatorState{
			UID: "x", Subtask: g, Keyed: []protocol.KeyedState{{File: fmt.Sprint(g), First: g, Last: g}},
		})
	}
	for p := 1; p <= groups; p++ {
		owners := map[string]int{}
		for s := range p {
			v := &jobgraph.Vertex{Parallelism: p, Operators: []jobgraph.Operator{{UID: "x"}}}
			for _, o := range c.Share(v, s, groups).Operators {
				for _, k := range o.Keyed {
					owners[k.File]++
				}
			}
		}
		for g := range groups {
			if n := owners[fmt.Sprint(g)]; n != 1 {
				t.Errorf("parallelism %d: key group %d has %d owners, want 1", p, g, n)
			}
		}
	}
}

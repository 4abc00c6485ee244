package checkpoint

import (
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/state"
)

// Share returns what subtask of v restores from c: nil when c is nil. The parallelism of v may differ from
// the one at which c was taken; maxParallelism, the number of key groups, may not.
//
// Operators are found by UID, so one that moved to another chain keeps its state. Keyed state: every
// file whose key groups overlap those of the subtask; the reader keeps only its own groups. Raw state is
// opaque, so it moves whole: what subtask i saved goes to subtask i modulo the new parallelism. After a
// scale-down a subtask gets several entries of one operator, ordered by the subtask that saved them;
// after a scale-up the subtasks beyond the old parallelism get none.
func (c *Completed) Share(v *jobgraph.Vertex, subtask, maxParallelism int) *protocol.RestoredState {
	if c == nil {
		return nil
	}
	wanted := map[string]bool{}
	for _, o := range v.Operators {
		wanted[o.UID] = true
	}
	own := state.RangeOf(subtask, v.Parallelism, maxParallelism)
	restored := &protocol.RestoredState{Checkpoint: c.ID}
	for _, vs := range c.Vertices {
		for _, saved := range vs.Operators {
			if !wanted[saved.UID] {
				continue
			}
			part := protocol.OperatorState{UID: saved.UID, Subtask: saved.Subtask}
			for _, k := range saved.Keyed {
				if k.First <= own.Last && k.Last >= own.First {
					part.Keyed = append(part.Keyed, k)
				}
			}
			if saved.Subtask%v.Parallelism == subtask {
				part.Raw = saved.Raw
			}
			if len(part.Keyed) > 0 || len(part.Raw) > 0 {
				restored.Operators = append(restored.Operators, part)
			}
		}
	}
	return restored
}

package checkpoint

import "github.com/tamias-project/tamias/pkg/protocol"

// historyLength is how many ended checkpoints users can see. Flink's web.checkpoints.history.
const historyLength = 10

// history counts what became of checkpoints under this leader.
type history struct {
	completed, failed, restored int
	latest                      *protocol.CheckpointInfo
	ended                       []protocol.CheckpointInfo // newest first
}

func (h *history) add(info protocol.CheckpointInfo) {
	if info.Status == "COMPLETED" {
		h.completed++
		h.latest = &info
	} else {
		h.failed++
	}
	h.ended = append([]protocol.CheckpointInfo{info}, h.ended...)
	if len(h.ended) > historyLength {
		h.ended = h.ended[:historyLength]
	}
}

// Restored counts a restart of tasks from a checkpoint.
func (c *Coordinator) Restored() { c.history.restored++ }

// Summary says how checkpoints went, for users: counts under this leader, the newest completed one of any
// leader, one that is in progress, and the newest ended ones.
func (c *Coordinator) Summary() protocol.CheckpointsSummary {
	s := protocol.CheckpointsSummary{
		Completed: c.history.completed, Failed: c.history.failed, Restored: c.history.restored,
	}
	if l := c.history.latest; l != nil {
		latest := *l
		s.Latest = &latest
	}
	if c.phase == pending || c.phase == storing {
		s.InProgress = 1
		s.History = append(s.History, c.current.info)
	}
	s.History = append(s.History, c.history.ended...)
	return s
}

func infoOf(c *Completed) *protocol.CheckpointInfo {
	return &protocol.CheckpointInfo{
		ID: c.ID, Status: "COMPLETED", Triggered: c.Triggered, Ended: c.Completed, Bytes: c.Bytes, Path: c.Path,
	}
}

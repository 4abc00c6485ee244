package checkpoint

import (
	"time"

	"github.com/tamias-project/tamias/pkg/protocol"
)

// historyLength is how many ended checkpoints users can see. Flink's web.checkpoints.history.
const historyLength = 10

// history counts what became of checkpoints under this leader.
type history struct {
	completed, failed, restored int
	latest                      *protocol.CheckpointInfo
	restoredFrom                *protocol.RestoredCheckpoint
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

// Restored notes a start of tasks from checkpoint n, 0 for a start from nothing.
func (c *Coordinator) Restored(now time.Time, n int64) {
	c.history.restoredFrom = nil
	if n > 0 {
		c.history.restored++
		c.history.restoredFrom = c.restoredFrom(now, n)
	}
}

func (c *Coordinator) restoredFrom(at time.Time, n int64) *protocol.RestoredCheckpoint {
	return &protocol.RestoredCheckpoint{ID: n, At: at, Path: Directory(c.cfg.Checkpointing.Dir, c.cfg.Job, n)}
}

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
	if r := c.history.restoredFrom; r != nil {
		from := *r
		s.LatestRestored = &from
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

// Package state holds the keyed state of one subtask in memory, and writes and reads the files that
// checkpoints keep it in. A Backend and its tables belong to the task's goroutine; only a Snapshot is used
// on another one, while the task goes on.
//
// Keys are spread over a fixed number of key groups by their hash. A subtask owns a range of groups, so a job
// that restarts with another parallelism reads from each file only the groups it wants.
package state

import (
	"fmt"
	"math/bits"
)

// KeyGroups is a range of key groups, both ends inclusive. Flink's KeyGroupRange.
type KeyGroups struct{ First, Last int }

// Contains reports whether the group is in the range.
func (g KeyGroups) Contains(group int) bool { return g.First <= group && group <= g.Last }

// Len is the number of groups in the range.
func (g KeyGroups) Len() int { return max(0, g.Last-g.First+1) }

// Intersect is what two ranges have in common; its Len is 0 if that is nothing.
func (g KeyGroups) Intersect(other KeyGroups) KeyGroups {
	return KeyGroups{First: max(g.First, other.First), Last: min(g.Last, other.Last)}
}

func (g KeyGroups) String() string { return fmt.Sprintf("%d-%d", g.First, g.Last) }

// GroupOf is the key group of a hash, max being their number (1 to 32768). Groups are equal, contiguous
// ranges of hashes.
func GroupOf(hash uint64, max int) int {
	group, _ := bits.Mul64(hash, uint64(max))
	return int(group)
}

// SubtaskOf is the subtask that owns a group. Flink's computeOperatorIndexForKeyGroup.
func SubtaskOf(group, parallelism, max int) int { return group * parallelism / max }

// RangeOf is what a subtask owns; no groups if parallelism is above max.
func RangeOf(subtask, parallelism, max int) KeyGroups {
	return KeyGroups{
		First: (subtask*max + parallelism - 1) / parallelism,
		Last:  ((subtask+1)*max - 1) / parallelism,
	}
}

// hashRange returns the lowest hash of the range, and by how many bits hashes less that lowest one can be
// shifted up without losing any.
func (g KeyGroups) hashRange(max int) (lowest uint64, norm uint) {
	lowest = lowestHash(g.First, max)
	width := lowestHash(g.Last+1, max) - lowest // 0 for all of 2^64
	if width == 0 {
		return lowest, 0
	}
	return lowest, uint(bits.LeadingZeros64(width - 1))
}

// lowestHash is the lowest hash of a group, modulo 2^64: that of max is 0.
func lowestHash(group, max int) uint64 {
	if group >= max {
		return 0
	}
	hash, rest := bits.Div64(uint64(group), 0, uint64(max))
	if rest != 0 {
		hash++
	}
	return hash
}

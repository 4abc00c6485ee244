package drill

import (
	"slices"
	"time"
)

// series are times when something happened, in order, by who did it: when one of several subtasks pauses, the
// others hide nothing.
type series map[string][]time.Time

// longestGap between two successive times of one subtask of which the later one falls between from and to.
func (s series) longestGap(from, to time.Time) (longest time.Duration) {
	for _, times := range s {
		first, _ := slices.BinarySearchFunc(times, from, func(t, from time.Time) int {
			if t.After(from) {
				return 1
			}
			return -1
		})
		for i := max(first, 1); i < len(times) && !times[i].After(to); i++ {
			longest = max(longest, times[i].Sub(times[i-1]))
		}
	}
	return longest
}

package state

import "testing"

func TestEachGroupHasOneOwner(t *testing.T) {
	for _, max := range []int{1, 2, 7, 128, 1000, 32768} {
		for _, parallelism := range []int{1, 2, 3, 5, 7, 64, 127, 128} {
			next := 0
			for subtask := range parallelism {
				g := RangeOf(subtask, parallelism, max)
				if g.Len() == 0 {
					continue
				}
				if g.First != next || SubtaskOf(g.First, parallelism, max) != subtask || SubtaskOf(g.Last, parallelism, max) != subtask {
					t.Fatalf("max %d, parallelism %d: subtask %d owns %s, want it to begin at %d", max, parallelism, subtask, g, next)
				}
				next = g.Last + 1
			}
			if next != max {
				t.Fatalf("max %d, parallelism %d: groups from %d on have no owner", max, parallelism, next)
			}
		}
	}
}

func TestGroupsAreRangesOfHashes(t *testing.T) {
	for _, max := range []int{1, 2, 3, 7, 128, 1000} {
		for group := range max {
			low := lowestHash(group, max)
			if GroupOf(low, max) != group || group > 0 && GroupOf(low-1, max) != group-1 {
				t.Fatalf("max %d: group %d begins at %#x, which is in group %d", max, group, low, GroupOf(low, max))
			}
		}
		if got := GroupOf(^uint64(0), max); got != max-1 {
			t.Fatalf("max %d: the highest hash is in group %d", max, got)
		}
		for first := range max {
			for last := first; last < max; last++ {
				g := KeyGroups{first, last}
				low, norm := g.hashRange(max)
				width := lowestHash(last+1, max) - 1 - low
				if width<<norm>>norm != width || norm < 63 && width>>(63-norm) == 0 {
					t.Fatalf("max %d, groups %s: width %#x shifted by %d", max, g, width, norm)
				}
			}
		}
	}
}

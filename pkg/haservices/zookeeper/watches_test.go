package zookeeper

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
)

// TestFollowedAgainAtOnce: who begins to follow a node while the last one who did is just leaving is told of the
// next change as well.
func TestFollowedAgainAtOnce(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a := c.process()
	c.put(c.lead(a, dispatcher), "jobgraphs/a", "")
	outside, w := c.outside(), a.client.watches
	for i := range 100 {
		path := fmt.Sprintf("%s/followed-%d", c.root, i)
		if err := create(outside, path, "first"); err != nil {
			t.Fatal(err)
		}
		leaving := w.follow(path, false)
		var left sync.WaitGroup
		left.Go(leaving.end)
		for ending := false; !ending; { // busily: it ends within microseconds
			w.mu.Lock()
			ending = leaving.follower.subscribers == 0
			w.mu.Unlock()
			runtime.Gosched()
		}
		follower := w.follow(path, false)
		left.Wait()
		for _, want := range []string{"first", "second"} {
			eventually(t, fmt.Sprintf("node %d is told to hold %q", i, want), func() bool {
				r, _ := follower.read()
				return string(r.data) == want
			})
			if _, err := outside.Set(path, []byte("second"), -1); err != nil {
				t.Fatal(err)
			}
		}
		follower.end()
	}
}

package zookeeper

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
)

// hurried is a context that ends while a request is being handed to the client library: the first look at it finds
// it alive, and whoever waits for it next finds that it has ended.
type hurried struct {
	context.Context
	looked bool
}

func (h *hurried) Done() <-chan struct{} {
	ended := make(chan struct{})
	close(ended)
	return ended
}

func (h *hurried) Err() error {
	if !h.looked {
		h.looked = true
		return nil
	}
	return context.Canceled
}

// TestCallerLeavesBeforeTheRequest: the latch node is deleted as well when its creation reaches the server only
// after our first look for it. Left behind, it would keep everybody waiting for a process that lives and does not
// contend.
func TestCallerLeavesBeforeTheRequest(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	a := c.process()
	job := haservices.JobMaster(id.NewJob())
	c.lead(a, job).Resign(c.context()) // the parents exist from here on
	inner, leave, err := a.enter(c.context())
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	s, err := a.client.ready(inner)
	if err != nil {
		t.Fatal(err)
	}
	outside := c.outside()
	var discarding sync.WaitGroup
	for range 200 {
		k := &candidacy{driver: a.Driver, session: s, component: job, me: a.me, latch: a.latchPath(job), guid: uuid.NewString()}
		if err := k.join(&hurried{Context: inner}); err == nil {
			t.Fatal("join succeeded for a caller that left")
		}
		discarding.Go(func() { k.discard(inner) })
	}
	discarding.Wait()
	if left := c.contenders(outside, job); len(left) > 0 {
		t.Errorf("%d latch nodes are left, the first is %s", len(left), left[0].name)
	}
}

// TestPublishWhileAServerGreets: a connection of the session begins while a leader looks whether its node is of that
// session. It is the race detector that fails here.
func TestPublishWhileAServerGreets(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	term := c.lead(c.process(), dispatcher)
	s := term.session
	stop := make(chan struct{})
	var greeting sync.WaitGroup
	greeting.Go(func() {
		owner, timeout := s.owner(), 20*time.Second
		for {
			select {
			case <-stop:
				return
			default:
				s.onGreet(owner, timeout, time.Now())
			}
		}
	})
	for i := range 20 {
		if err := term.Publish(c.context(), fmt.Sprintf("tamias://a:%d/dispatcher", i)); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	greeting.Wait()
}

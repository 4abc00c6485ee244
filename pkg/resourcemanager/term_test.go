package resourcemanager_test

import (
	"context"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/resourcemanager"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
)

// Leadership is lost while the main thread is still busy with what was before: nothing of the term must begin when
// it is over, or the process would take itself for the leader.
func TestATermThatIsOverDoesNotBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, rpctest.Faults{})
		c.resourceManager("jm-1")
		c.leader("jm-1")
		s := rpc.NewService(c.net.Node("jm-2:1"))
		ha := haservices.New(haservices.Config{Driver: c.ha.Driver("jm-2")})
		rm := resourcemanager.New(resourcemanager.Config{Election: ha.LeaderElection(component), RPC: s, Log: zap.NewNop()})
		c.run("jm-2", s, rm.Run, func() { ha.Close(context.Background()) })
		busy := make(chan struct{})
		rm.MainThread().Post(t.Context(), func() { <-busy })
		synctest.Wait()

		ctx, lose := context.WithCancel(t.Context())
		over := make(chan error, 1)
		go func() { over <- rm.Lead(ctx, id.NewFencingToken(7)) }()
		synctest.Wait()
		lose()
		synctest.Wait()
		close(busy)
		if err := <-over; err == nil {
			t.Error("a term that was lost at once ended without an error")
		}
		if _, leading := rm.Overview(t.Context()); leading {
			t.Error("the ResourceManager leads although its term is over")
		}
	})
}

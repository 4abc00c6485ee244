package rpctest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/rpc"
)

// serve lets a node answer with h until the end of the test.
func serve(t *testing.T, n *Node, h rpc.Handler) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- n.Serve(t.Context(), h) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
}

// TestKillBreaksCalls: whoever waits for an answer of a process learns of its end at once, as from a real connection.
func TestKillBreaksCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(Faults{})
		a, b := n.Node("a"), n.Node("b")
		inside := make(chan struct{})
		serve(t, b, func(context.Context, *rpc.Request) *rpc.Response {
			close(inside)
			<-t.Context().Done()
			return nil
		})
		answered := make(chan error, 1)
		go func() {
			_, err := a.Call(t.Context(), "b", &rpc.Request{})
			answered <- err
		}()
		<-inside
		synctest.Wait()
		n.Kill("b")
		if err := <-answered; !errors.Is(err, rpc.ErrUnreachable) {
			t.Errorf("Call = %v, want %v", err, rpc.ErrUnreachable)
		}
	})
}

// TestSilenceBeginsWithTheFreeze, however long the watch has lasted.
func TestSilenceBeginsWithTheFreeze(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(Faults{})
		a, b := n.Node("a"), n.Node("b")
		serve(t, b, nothing)
		ended := make(chan error, 1)
		go func() { ended <- a.AwaitGone(t.Context(), "b", b.Process(), time.Second) }()
		<-time.After(time.Minute)
		n.Freeze("b")
		frozen := time.Now()
		if err := <-ended; !errors.Is(err, rpc.ErrSilent) || time.Since(frozen) != time.Second {
			t.Errorf("AwaitGone = %v %s after the freeze, want %v after 1s", err, time.Since(frozen), rpc.ErrSilent)
		}
	})
}

func nothing(context.Context, *rpc.Request) *rpc.Response { return nil }

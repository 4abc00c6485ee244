package rpc_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
)

// TestStatistics: what was refused is counted, and the time of main threads is kept when they are gone.
func TestStatistics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := rpctest.NewNetwork(rpctest.Faults{})
		service := rpc.NewService(network.Node("a:1"))
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go service.Run(ctx)

		work := protocol.Call[protocol.Empty, protocol.Empty]{Method: "Work"}
		token := id.NewFencingToken(2)
		begin := func(name string) (end func()) {
			main := rpc.NewMainThread()
			var fence rpc.LeaderFence
			fence.Grant(token)
			e := rpc.NewEndpoint(name, main)
			rpc.Handle(e, work, &fence, func(protocol.Empty) (protocol.Empty, error) {
				<-time.After(time.Second) // virtual time: this is a bubble
				return protocol.Empty{}, nil
			})
			running, stop := context.WithCancel(ctx)
			go main.Run(running)
			service.Add(e)
			return func() { service.Remove(e); stop() }
		}
		endFirst := begin("job_manager/1")
		begin("job_manager/2")
		begin("dispatcher")
		synctest.Wait() // the service serves

		client := rpc.NewService(network.Node("b:1"))
		invoke := func(endpoint string, token id.FencingToken) error {
			g, err := client.Gateway(service.Address(endpoint), token)
			if err != nil {
				t.Fatal(err)
			}
			_, err = rpc.Invoke(t.Context(), g, work, protocol.Empty{})
			return err
		}
		for range 3 {
			if err := invoke("job_manager/1", token); err != nil {
				t.Fatal(err)
			}
		}
		if err := invoke("job_manager/2", token); err != nil {
			t.Fatal(err)
		}
		if err := invoke("dispatcher", id.NewFencingToken(1)); !errors.Is(err, rpc.ErrFenced) {
			t.Fatalf("a call of the past = %v, want ErrFenced", err)
		}
		if err := invoke("nobody", token); !errors.Is(err, rpc.ErrNoEndpoint) {
			t.Fatalf("a call to nobody = %v, want ErrNoEndpoint", err)
		}
		if n := service.FencedMessages(); n != 1 {
			t.Errorf("%d fenced messages, want 1", n)
		}
		for _, when := range []string{"running", "removed"} {
			synctest.Wait()
			busy := service.Busy()
			if busy["job_manager"] != 4*time.Second || busy["dispatcher"] != 0 || len(busy) != 2 {
				t.Errorf("%s: busy = %v, want job_manager 4s, dispatcher 0s", when, busy)
			}
			endFirst()
		}
		stop()
	})
}

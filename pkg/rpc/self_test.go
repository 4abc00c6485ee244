package rpc_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/rpc"
)

// nowhere is a host that no packet reaches (RFC 5737).
const nowhere = "192.0.2.1"

// TestCallsToOneselfNeedNoNetwork: they reach the handler under the announced address, wherever that leads, and
// end as calls over the network do.
func TestCallsToOneselfNeedNoNetwork(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	process := rpc.NewTransport(listen(t), nowhere)
	inside, left := make(chan struct{}), make(chan struct{}, 2) // room for both calls that wait
	served := make(chan error, 1)
	go func() {
		served <- process.Serve(ctx, func(ctx context.Context, r *rpc.Request) *rpc.Response {
			if r.Method == "wait" {
				inside <- struct{}{}
				<-ctx.Done()
				left <- struct{}{}
			}
			return &rpc.Response{Message: r.Method}
		})
	}()
	answer, err := callBriefly(t, process)
	for range 100 { // it may still be starting
		if err == nil {
			break
		}
		answer, err = callBriefly(t, process)
	}
	if err != nil || answer.Message != "hello" {
		t.Fatalf("answer is %v, %v, want hello", answer, err)
	}

	call := func(ctx context.Context) <-chan error {
		result := make(chan error, 1)
		go func() {
			_, err := process.Call(ctx, process.Address(), &rpc.Request{Method: "wait"})
			result <- err
		}()
		<-inside
		return result
	}
	impatient, leave := context.WithCancel(t.Context())
	first, second := call(impatient), call(t.Context())
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("call of one who left = %v, want %v", err, context.Canceled)
	}
	<-left
	stop()
	if err := <-second; !errors.Is(err, rpc.ErrUnreachable) {
		t.Errorf("call that the end of the process caught = %v, want %v", err, rpc.ErrUnreachable)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	select {
	case <-left:
	default:
		t.Error("Serve returned while a handler ran")
	}
	if answer, err := callBriefly(t, process); err == nil {
		t.Errorf("a call after the end was answered: %v", answer)
	}
}

// callBriefly says hello to process, in less time than it takes to find out that nothing answers over the network.
func callBriefly(t *testing.T, process *rpc.GRPC) (*rpc.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	return process.Call(ctx, process.Address(), &rpc.Request{Method: "hello"})
}

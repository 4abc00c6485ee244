package rpc_test

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/tamias-project/tamias/pkg/rpc"
)

// TestLastCallOfAMainThread: the answer of a function that has run is not lost although the thread stops before the
// caller looks.
func TestLastCallOfAMainThread(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // whoever runs goes on until it waits
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			main := rpc.NewMainThread()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			for range 256 { // the inbox is full, so that the caller waits for room
				main.Post(ctx, func() {})
			}
			answered := make(chan struct{})
			go func() {
				defer close(answered)
				got, err := rpc.Call(t.Context(), main, func() (int, error) {
					stop()
					return 7, nil
				})
				if got != 7 || err != nil {
					t.Errorf("Call = %d, %v, want 7", got, err)
				}
			}()
			synctest.Wait()
			if err := main.Run(ctx); err != nil {
				t.Error(err)
			}
			<-answered
		})
	}
}

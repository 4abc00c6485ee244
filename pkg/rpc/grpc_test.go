package rpc_test

import (
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/rpc"
)

// TestServeEndsWithItsListener: a process that cannot be called any more says so, and does not seem to serve.
func TestServeEndsWithItsListener(t *testing.T) {
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- rpc.NewTransport(l, "127.0.0.1").Serve(t.Context(), nil) }()
	l.Close()
	select {
	case err := <-served:
		if err == nil {
			t.Error("Serve returned nil while its ctx lasts")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Serve goes on without a listener")
	}
}

package rpc_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/rpc"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestWatchersOfOneProcessShareAStream: who leaves takes nothing from those who stay.
func TestWatchersOfOneProcessShareAStream(t *testing.T) {
	serverCtx, kill := context.WithCancel(t.Context())
	server, client := rpc.NewTransport(listen(t), "127.0.0.1"), rpc.NewTransport(listen(t), "127.0.0.1")
	go server.Serve(serverCtx, func(context.Context, *rpc.Request) *rpc.Response { return &rpc.Response{} })
	watch := func(ctx context.Context) <-chan error {
		gone := make(chan error, 1)
		go func() { gone <- client.AwaitGone(ctx, server.Address(), server.Process(), time.Minute) }()
		return gone
	}
	impatient, leave := context.WithCancel(t.Context())
	first, second, third := watch(impatient), watch(t.Context()), watch(impatient)
	leave()
	for _, left := range []<-chan error{first, third} {
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("AwaitGone of one who left = %v, want %v", err, context.Canceled)
		}
	}
	if _, err := client.Call(t.Context(), server.Address(), &rpc.Request{}); err != nil {
		t.Errorf("Call beside a watch = %v", err)
	}
	select {
	case err := <-second:
		t.Errorf("AwaitGone of one who stayed = %v while the process lives", err)
	default:
	}
	kill()
	if err := <-second; !errors.Is(err, rpc.ErrGone) {
		t.Errorf("AwaitGone of one who stayed = %v, want %v", err, rpc.ErrGone)
	}
	if err := <-watch(t.Context()); !errors.Is(err, rpc.ErrGone) {
		t.Errorf("AwaitGone of one who came after the end = %v, want %v", err, rpc.ErrGone)
	}
}

// TestSilenceIsNoProof: a process that accepts connections and never answers may live.
func TestSilenceIsNoProof(t *testing.T) {
	mute := listen(t)
	defer mute.Close()
	client := rpc.NewTransport(listen(t), "127.0.0.1")
	for range 2 { // the second does not inherit the connection of the first
		err := client.AwaitGone(t.Context(), mute.Addr().String(), client.Process(), 50*time.Millisecond)
		if !errors.Is(err, rpc.ErrSilent) {
			t.Errorf("AwaitGone of a mute process = %v, want %v", err, rpc.ErrSilent)
		} else if want := "it accepts connections"; !strings.Contains(err.Error(), want) {
			t.Errorf("AwaitGone of a mute process = %q, which does not say %q", err, want)
		}
	}
}

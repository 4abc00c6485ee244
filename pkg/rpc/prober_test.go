package rpc

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/tamias-project/tamias/pkg/id"
)

// TestWatchersAskForTheirInterval: four beats in each silence, unless there is another interval.
func TestWatchersAskForTheirInterval(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan time.Duration, 1)
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var req watchRequest
		err := stream.RecvMsg(&req)
		asked <- req.Interval
		return errors.Join(err, stream.SendMsg(&beat{id.NewInstance()}))
	}))
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	own, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	watcher := NewTransport(own, "127.0.0.1")
	defer watcher.closeConns()
	for want, awaitGone := range map[time.Duration]func(context.Context, string, id.Instance, time.Duration) error{
		15 * time.Second: watcher.AwaitGone,
		time.Second:      watcher.Prober(time.Second),
		7 * time.Second:  watcher.Prober(7 * time.Second),
	} {
		// Another process answers than the one that is watched.
		if err := awaitGone(t.Context(), l.Addr().String(), id.NewInstance(), time.Minute); !errors.Is(err, ErrGone) {
			t.Errorf("watch = %v, want ErrGone", err)
		}
		if got := <-asked; got != want {
			t.Errorf("asked for a beat every %s, want every %s", got, want)
		}
	}
	server.Stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

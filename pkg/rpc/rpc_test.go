package rpc_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
)

// leader is an endpoint that leads under token and answers CancelJob.
func leader(t *testing.T, ctx context.Context, transport rpc.Transport, token id.FencingToken) *rpc.Service {
	t.Helper()
	main := rpc.NewMainThread()
	go main.Run(ctx)
	fence := &rpc.LeaderFence{}
	fence.Grant(token)
	e := rpc.NewEndpoint(protocol.DispatcherEndpoint, main)
	rpc.Handle(e, protocol.CancelJob, fence, func(r protocol.CancelJobRequest) (protocol.Empty, error) {
		if r.Job.IsZero() {
			return protocol.Empty{}, protocol.ErrUnknownJob
		}
		return protocol.Empty{}, nil
	})
	s := rpc.NewService(transport)
	s.Add(e)
	go s.Run(ctx)
	return s
}

// conform is what both transports promise.
func conform(t *testing.T, ctx context.Context, server, client rpc.Transport, kill func()) {
	token := id.NewFencingToken(7)
	s := leader(t, ctx, server, token)
	for _, tc := range []struct {
		name     string
		token    id.FencingToken
		job      id.Job
		endpoint string
		want     error
	}{
		{"token of this term", token, id.NewJob(), protocol.DispatcherEndpoint, nil},
		{"token of the last term", id.NewFencingToken(6), id.NewJob(), protocol.DispatcherEndpoint, rpc.ErrFenced},
		{"no token", id.FencingToken{}, id.NewJob(), protocol.DispatcherEndpoint, rpc.ErrFenced},
		{"an error of the component", token, id.Job{}, protocol.DispatcherEndpoint, protocol.ErrUnknownJob},
		{"an endpoint that is not there", token, id.NewJob(), "nobody", rpc.ErrNoEndpoint},
	} {
		g := rpc.NewGateway(client, rpc.Address{HostPort: server.Address(), Endpoint: tc.endpoint}, tc.token)
		var err error
		for { // the server may still be starting
			_, err = rpc.Invoke(ctx, g, protocol.CancelJob, protocol.CancelJobRequest{Job: tc.job})
			if !errors.Is(err, rpc.ErrUnreachable) {
				break
			}
		}
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: Invoke = %v, want %v", tc.name, err, tc.want)
		}
	}
	if got := s.Address("x"); got != "tamias://"+server.Address()+"/x" {
		t.Errorf("Address = %s", got)
	}
	if err := client.AwaitGone(ctx, server.Address(), id.NewInstance(), time.Second); !errors.Is(err, rpc.ErrGone) {
		t.Errorf("AwaitGone of an earlier process = %v, want %v", err, rpc.ErrGone)
	}
	gone := make(chan error, 1)
	go func() { gone <- client.AwaitGone(ctx, server.Address(), server.Process(), time.Minute) }()
	kill()
	if err := <-gone; !errors.Is(err, rpc.ErrGone) {
		t.Errorf("AwaitGone after the end = %v, want %v", err, rpc.ErrGone)
	}
	g := rpc.NewGateway(client, rpc.Address{HostPort: server.Address(), Endpoint: protocol.DispatcherEndpoint}, token)
	if _, err := rpc.Invoke(ctx, g, protocol.CancelJob, protocol.CancelJobRequest{}); !errors.Is(err, rpc.ErrUnreachable) {
		t.Errorf("Invoke after the end = %v, want %v", err, rpc.ErrUnreachable)
	}
}

func TestGRPC(t *testing.T) {
	listen := func() *rpc.GRPC {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return rpc.NewTransport(l, "127.0.0.1")
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	client := listen()
	conform(t, t.Context(), stopping{listen(), ctx}, client, stop)
}

// stopping ends a transport's Serve with a context of its own.
type stopping struct {
	*rpc.GRPC
	until context.Context
}

func (s stopping) Serve(_ context.Context, h rpc.Handler) error { return s.GRPC.Serve(s.until, h) }

func TestInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		n := rpctest.NewNetwork(rpctest.Faults{Delay: rpctest.RandomDelay(1, 3*time.Millisecond)})
		conform(t, ctx, n.Node("a:1"), n.Node("b:1"), func() { n.Kill("a:1") })
		stop()
	})
}

func TestInMemoryFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		n := rpctest.NewNetwork(rpctest.Faults{})
		a, b := n.Node("a:1"), n.Node("b:1")
		token := id.NewFencingToken(1)
		leader(t, ctx, a, token)
		synctest.Wait()
		call := func(timeout time.Duration) error {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			_, err := rpc.Invoke(ctx, rpc.NewGateway(b, rpc.Address{HostPort: "a:1", Endpoint: protocol.DispatcherEndpoint}, token),
				protocol.CancelJob, protocol.CancelJobRequest{Job: id.NewJob()})
			return err
		}
		n.Cut("a:1", "b:1")
		if err := call(time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("over a cut link: %v", err)
		}
		n.HealAll()
		n.Freeze("a:1")
		if err := b.AwaitGone(ctx, "a:1", a.Process(), time.Second); !errors.Is(err, rpc.ErrSilent) {
			t.Errorf("AwaitGone of a frozen process = %v, want %v", err, rpc.ErrSilent)
		}
		time.AfterFunc(time.Second, func() { n.Thaw("a:1") })
		if err := call(time.Minute); err != nil {
			t.Errorf("after the thaw: %v", err)
		}
	})
}

func TestFollowerFenceOrdersLeaders(t *testing.T) {
	first, second, rival := id.NewFencingToken(1), id.NewFencingToken(2), id.NewFencingToken(2)
	var f rpc.FollowerFence
	for _, tc := range []struct {
		name  string
		token id.FencingToken
		want  error
	}{
		{"first leader", first, nil},
		{"again", first, nil},
		{"second leader", second, nil},
		{"first leader, late", first, rpc.ErrFenced},
		{"same epoch, other session", rival, rpc.ErrFenced},
		{"no token", id.FencingToken{}, rpc.ErrFenced},
	} {
		if err := f.Observe(tc.token); !errors.Is(err, tc.want) {
			t.Errorf("%s: Observe = %v, want %v", tc.name, err, tc.want)
		}
	}
}

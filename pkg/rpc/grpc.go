package rpc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"

	"github.com/tamias-project/tamias/pkg/id"
)

func init() { encoding.RegisterCodec(codec{}) }

const (
	grpcService = "tamias.Rpc"
	callMethod  = "/" + grpcService + "/Call"
	watchMethod = "/" + grpcService + "/Watch"
	dialTimeout = 2 * time.Second
	// maxMessage bounds a message in bytes: the largest are job graphs and deployments.
	maxMessage = 64 << 20
)

// GRPC is the Transport between processes: one HTTP/2 connection for each pair.
type GRPC struct {
	listener net.Listener
	host     string
	process  id.Instance

	connsMu sync.Mutex
	conns   map[string]*grpc.ClientConn
}

// NewTransport returns a transport that will serve on l and announces itself as host with l's port.
func NewTransport(l net.Listener, host string) *GRPC {
	return &GRPC{listener: l, host: host, process: id.NewInstance(), conns: map[string]*grpc.ClientConn{}}
}

// Address is host:port as announced to peers.
func (t *GRPC) Address() string {
	_, port, _ := net.SplitHostPort(t.listener.Addr().String()) // a listener's address always has a port
	return net.JoinHostPort(t.host, port)
}

// Process is drawn at random when the transport is made.
func (t *GRPC) Process() id.Instance { return t.process }

// Serve answers requests until ctx ends; calls in progress get up to a second to end.
func (t *GRPC) Serve(ctx context.Context, h Handler) error {
	s := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(math.MaxInt32))
	RegisterServer(s, h, t.process)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		// Watch streams last as long as the process, so a graceful stop would wait for ever: bound it.
		force := time.AfterFunc(100*time.Millisecond, s.Stop)
		defer force.Stop()
		s.GracefulStop()
	}()
	err := s.Serve(t.listener)
	<-stopped
	t.closeConns()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve RPC on %s: %w", t.listener.Addr(), err)
}

// Call sends r to the process at address.
func (t *GRPC) Call(ctx context.Context, address string, r *Request) (*Response, error) {
	conn, err := t.conn(address)
	if err != nil {
		return nil, unreachable(address, err)
	}
	answer, err := (&Conn{conn}).Call(ctx, address, r)
	if errors.Is(err, ErrUnreachable) {
		t.drop(address, conn) // so that the next call dials at once instead of waiting out a back-off
	}
	return answer, err
}

// Conn is a Caller over one given gRPC connection, whatever the address.
type Conn struct{ cc *grpc.ClientConn }

// NewConn returns a Caller over cc.
func NewConn(cc *grpc.ClientConn) *Conn { return &Conn{cc} }

// Call sends r over the connection; address only appears in errors.
func (c *Conn) Call(ctx context.Context, address string, r *Request) (*Response, error) {
	answer := &Response{}
	err := c.cc.Invoke(ctx, callMethod, r, answer, grpc.CallContentSubtype(codec{}.Name()),
		grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(math.MaxInt32))
	switch {
	case err == nil:
		return answer, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		return nil, unreachable(address, errors.New(status.Convert(err).Message()))
	}
}

func (t *GRPC) conn(address string) (*grpc.ClientConn, error) {
	t.connsMu.Lock()
	defer t.connsMu.Unlock()
	if c := t.conns[address]; c != nil {
		return c, nil
	}
	// passthrough: the dialer resolves the name anew at each attempt.
	c, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			d := net.Dialer{Timeout: dialTimeout}
			return d.DialContext(ctx, "tcp", addr)
		}))
	if err != nil {
		return nil, err
	}
	t.conns[address] = c
	return c, nil
}

// drop closes c, unless a newer connection to address has replaced it already.
func (t *GRPC) drop(address string, c *grpc.ClientConn) {
	t.connsMu.Lock()
	if t.conns[address] == c {
		delete(t.conns, address)
	}
	t.connsMu.Unlock()
	c.Close()
}

func (t *GRPC) closeConns() {
	t.connsMu.Lock()
	defer t.connsMu.Unlock()
	for address, c := range t.conns {
		c.Close()
		delete(t.conns, address)
	}
}

// watchRequest asks a process for a sign of life every Interval.
type watchRequest struct {
	Interval time.Duration `cbor:"1,keyasint"`
}

// beat is a sign of life.
type beat struct {
	Process id.Instance `cbor:"1,keyasint"`
}

// RegisterServer serves h on a gRPC server, as process.
func RegisterServer(s *grpc.Server, h Handler, process id.Instance) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: grpcService,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Call",
			Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				r := &Request{}
				if err := decode(r); err != nil {
					return nil, status.Error(codes.InvalidArgument, err.Error())
				}
				return h(ctx, r), nil
			},
		}},
		Streams: []grpc.StreamDesc{{
			StreamName:    "Watch",
			ServerStreams: true,
			Handler:       func(_ any, stream grpc.ServerStream) error { return serveWatch(stream, process) },
		}},
	}, nil)
}

func serveWatch(stream grpc.ServerStream, process id.Instance) error {
	var req watchRequest
	if err := stream.RecvMsg(&req); err != nil {
		return err
	}
	tick := time.NewTicker(max(req.Interval, 10*time.Millisecond))
	defer tick.Stop()
	for {
		if err := stream.SendMsg(&beat{process}); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-tick.C:
		}
	}
}

// AwaitGone holds a stream on which the process beats four times in each silence. A broken stream is
// followed by a dial: only a refusal, or another process, proves that the watched one is gone.
func (t *GRPC) AwaitGone(ctx context.Context, address string, process id.Instance, silence time.Duration) error {
	heard := time.Now()
	for {
		switch err := dialable(ctx, address, silence-time.Since(heard)); {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, syscall.ECONNREFUSED):
			return fmt.Errorf("%w: %s refuses connections", ErrGone, address)
		case err == nil:
			at, err := t.watch(ctx, address, process, silence-time.Since(heard), silence)
			if errors.Is(err, ErrGone) {
				return err
			}
			if at.After(heard) {
				heard = at
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(heard) >= silence {
			return fmt.Errorf("%w: nothing heard from %s for %s", ErrSilent, address, time.Since(heard).Round(time.Millisecond))
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Millisecond): // a broken stream precedes the refusal by a moment
		}
	}
}

// dialable opens and closes a TCP connection.
func dialable(ctx context.Context, address string, timeout time.Duration) error {
	d := net.Dialer{Timeout: max(timeout, time.Millisecond)}
	c, err := d.DialContext(ctx, "tcp", address)
	if err == nil {
		c.Close()
	}
	return err
}

// watch follows one stream until it breaks or is silent, and returns when it was last heard.
func (t *GRPC) watch(ctx context.Context, address string, process id.Instance, first, silence time.Duration) (heard time.Time, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cc, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return heard, err
	}
	defer cc.Close()
	quiet := time.AfterFunc(max(first, time.Millisecond), cancel)
	defer quiet.Stop()
	stream, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, watchMethod, grpc.CallContentSubtype(codec{}.Name()))
	if err != nil {
		return heard, err
	}
	if err := stream.SendMsg(&watchRequest{Interval: silence / 4}); err != nil {
		return heard, err
	}
	if err := stream.CloseSend(); err != nil {
		return heard, err
	}
	for {
		var b beat
		if err := stream.RecvMsg(&b); err != nil {
			return heard, err
		}
		if b.Process != process {
			return heard, fmt.Errorf("%w: another process answers at %s", ErrGone, address)
		}
		heard = time.Now()
		quiet.Reset(silence)
	}
}

package rpc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
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
	// window is how many bytes may be under way in a stream or connection. A fixed one spares the pings by
	// which gRPC would find out, one for each burst of data: every heartbeat is one.
	window = 1 << 20
	// buffer is how many bytes a connection reads or writes at a time, at most. Messages are small, and
	// thousands of connections wake up together when heartbeats are due.
	buffer = 4 << 10
)

// GRPC is the Transport between processes: one HTTP/2 connection for each pair.
type GRPC struct {
	listener net.Listener
	address  string
	process  id.Instance
	self     self

	connsMu sync.Mutex
	conns   map[string]*grpc.ClientConn

	watchesMu sync.Mutex
	watches   map[watched]*watch
}

// NewTransport returns a transport that will serve on l and announces itself as host with l's port.
func NewTransport(l net.Listener, host string) *GRPC {
	_, port, _ := net.SplitHostPort(l.Addr().String()) // a listener's address always has a port
	return &GRPC{
		listener: l, address: net.JoinHostPort(host, port), process: id.NewInstance(),
		conns: map[string]*grpc.ClientConn{}, watches: map[watched]*watch{},
	}
}

// Address is host:port as announced to peers.
func (t *GRPC) Address() string { return t.address }

// Process is drawn at random when the transport is made.
func (t *GRPC) Process() id.Instance { return t.process }

// Serve answers requests until ctx ends; calls in progress get 100 ms to end.
func (t *GRPC) Serve(ctx context.Context, h Handler) error {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	s := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.StaticStreamWindowSize(window), grpc.StaticConnWindowSize(window),
		grpc.ReadBufferSize(buffer), grpc.WriteBufferSize(buffer))
	RegisterServer(s, h, t.process)
	t.self.begin(serving, h)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-serving.Done()
		// Watch streams last as long as the process, so a graceful stop would wait for ever: bound it.
		force := time.AfterFunc(100*time.Millisecond, s.Stop)
		defer force.Stop()
		s.GracefulStop()
	}()
	err := s.Serve(t.listener)
	stop() // if that was for another reason
	<-stopped
	t.self.end()
	t.closeConns()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve RPC on %s: %w", t.listener.Addr(), err)
}

// Call sends r to the process at address, which may be this one.
func (t *GRPC) Call(ctx context.Context, address string, r *Request) (*Response, error) {
	if address == t.address {
		if answer, ok, err := t.self.call(ctx, r); ok {
			return answer, err
		}
	}
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
		grpc.WithStaticStreamWindowSize(window), grpc.WithStaticConnWindowSize(window),
		grpc.WithReadBufferSize(buffer), grpc.WithWriteBufferSize(buffer),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithDisableHealthCheck(), // what is not used costs all the same
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

package rpc

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// Request is one call on the wire.
type Request struct {
	// Version is the sender's protocol.Version.
	Version  int             `cbor:"1,keyasint"`
	Endpoint string          `cbor:"2,keyasint"`
	Method   string          `cbor:"3,keyasint"`
	Token    id.FencingToken `cbor:"4,keyasint"`
	Payload  cbor.RawMessage `cbor:"5,keyasint"`
	// MinVersion is the oldest protocol.Version of a receiver that understands this request; 0 for any.
	MinVersion int `cbor:"6,keyasint"`
}

// Response answers a Request: a payload, or an error's code and text. It needs no version: who answers has
// found that the two processes understand each other, and fields that the other one does not know are ignored.
type Response struct {
	Code    string          `cbor:"1,keyasint,omitempty"`
	Message string          `cbor:"2,keyasint,omitempty"`
	Payload cbor.RawMessage `cbor:"3,keyasint,omitempty"`
}

// Handler serves requests. It may be called on many goroutines.
type Handler func(ctx context.Context, r *Request) *Response

// Caller sends requests. An error wraps ErrUnreachable, or is ctx's: then nobody knows whether the
// request was carried out.
type Caller interface {
	Call(ctx context.Context, address string, r *Request) (*Response, error)
}

// Transport is a process's access to the network. The two implementations are gRPC (NewTransport) and
// rpctest.Network.
type Transport interface {
	Caller
	// Address is the host:port that peers dial.
	Address() string
	// Process tells this process's life from the next one at the same address.
	Process() id.Instance
	// Serve answers requests until ctx ends, and returns when no handler runs any more.
	Serve(ctx context.Context, h Handler) error
	// AwaitGone watches the process at address. It returns ErrGone when that process has certainly ended
	// (its address refuses connections, or another process answers), ErrSilent when it has not been heard
	// for silence, or ctx's error. Silence is no proof of death.
	AwaitGone(ctx context.Context, address string, process id.Instance, silence time.Duration) error
}

// Service is the RPC service of one process: endpoints come and go by name.
type Service struct {
	transport Transport

	endpointsMu sync.RWMutex
	endpoints   map[string]*Endpoint
	// retired is the busy time of endpoints that are gone, by component.
	retired map[string]time.Duration

	fenced atomic.Int64
}

// NewService returns a service without endpoints.
func NewService(t Transport) *Service {
	return &Service{transport: t, endpoints: map[string]*Endpoint{}}
}

// Run serves until ctx ends.
func (s *Service) Run(ctx context.Context) error { return s.transport.Serve(ctx, s.Serve) }

// Transport is what the service runs on.
func (s *Service) Transport() Transport { return s.transport }

// Address is the full address of the endpoint with that name in this process.
func (s *Service) Address(endpoint string) string {
	return Address{HostPort: s.transport.Address(), Endpoint: endpoint}.String()
}

// Add makes e reachable. A second endpoint of the same name replaces the first.
func (s *Service) Add(e *Endpoint) {
	s.endpointsMu.Lock()
	defer s.endpointsMu.Unlock()
	if old := s.endpoints[e.name]; old != nil && old.main != e.main {
		s.retire(old)
	}
	s.endpoints[e.name] = e
}

// Remove makes e unreachable, unless another endpoint has taken its name.
func (s *Service) Remove(e *Endpoint) {
	s.endpointsMu.Lock()
	defer s.endpointsMu.Unlock()
	if s.endpoints[e.name] == e {
		delete(s.endpoints, e.name)
		s.retire(e)
	}
}

// Serve is the Handler of all endpoints.
func (s *Service) Serve(ctx context.Context, r *Request) *Response {
	s.endpointsMu.RLock()
	e := s.endpoints[r.Endpoint]
	s.endpointsMu.RUnlock()
	if e == nil {
		return failure(fmt.Errorf("%w: %s at %s", ErrNoEndpoint, r.Endpoint, s.transport.Address()))
	}
	return s.note(e.serve(ctx, r))
}

// Gateway returns a gateway to address under token. The address is not dialled yet.
func (s *Service) Gateway(address string, token id.FencingToken) (Gateway, error) {
	a, err := ParseAddress(address)
	if err != nil {
		return Gateway{}, err
	}
	return NewGateway(s.transport, a, token), nil
}

// Gateway is a way to one endpoint as seen under one leader session.
type Gateway struct {
	caller  Caller
	address Address
	token   id.FencingToken
}

// NewGateway returns a gateway that sends through c.
func NewGateway(c Caller, a Address, token id.FencingToken) Gateway {
	return Gateway{caller: c, address: a, token: token}
}

// Token is the fencing token that every call of g carries.
func (g Gateway) Token() id.FencingToken { return g.token }

// Address is where g leads.
func (g Gateway) Address() Address { return g.address }

// Invoke makes a call and waits for the answer or for ctx. Errors of the far side keep their identity
// (errors.Is); ErrUnreachable and ctx's errors leave open whether the call was carried out.
func Invoke[Req, Resp any](ctx context.Context, g Gateway, call protocol.Call[Req, Resp], req Req) (resp Resp, err error) {
	payload, err := Marshal(req)
	if err != nil {
		return resp, fmt.Errorf("encode %s request: %w", call.Method, err)
	}
	oldest := protocol.MinVersion
	if d, ok := any(req).(protocol.Demanding); ok {
		oldest = max(oldest, d.OldestReceiver())
	}
	answer, err := g.caller.Call(ctx, g.address.HostPort, &Request{
		Version: protocol.Version, MinVersion: oldest,
		Endpoint: g.address.Endpoint, Method: call.Method, Token: g.token, Payload: payload,
	})
	if err != nil {
		return resp, fmt.Errorf("%s at %s: %w", call.Method, g.address, err)
	}
	if answer.Code != "" {
		return resp, fmt.Errorf("%s at %s: %w", call.Method, g.address, errorOf(answer.Code, answer.Message))
	}
	if err := Unmarshal(answer.Payload, &resp); err != nil {
		return resp, fmt.Errorf("decode %s answer of %s: %w", call.Method, g.address, err)
	}
	return resp, nil
}

// Address names an endpoint of a process: tamias://host:port/endpoint.
type Address struct {
	HostPort string
	Endpoint string
}

const scheme = "tamias://"

// ParseAddress is the inverse of Address.String.
func ParseAddress(s string) (Address, error) {
	rest, ok := strings.CutPrefix(s, scheme)
	hostPort, endpoint, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || hostPort == "" || endpoint == "" {
		return Address{}, fmt.Errorf("RPC address %q: expected %shost:port/endpoint", s, scheme)
	}
	return Address{HostPort: hostPort, Endpoint: endpoint}, nil
}

// String returns tamias://host:port/endpoint.
func (a Address) String() string { return scheme + a.HostPort + "/" + a.Endpoint }

package rpc

import (
	"context"
	"fmt"

	"github.com/tamias-project/tamias/pkg/protocol"
)

// Endpoint is the RPC side of one component: its name and its calls. Register all calls with Handle and
// HandleAsync before the endpoint is added to a Service.
type Endpoint struct {
	name     string
	main     *MainThread
	handlers map[string]func(ctx context.Context, r *Request) (any, error)
}

// NewEndpoint returns an endpoint whose guards and handlers run on main.
func NewEndpoint(name string, main *MainThread) *Endpoint {
	return &Endpoint{name: name, main: main, handlers: map[string]func(context.Context, *Request) (any, error){}}
}

// Name is the path part of the endpoint's address.
func (e *Endpoint) Name() string { return e.name }

// Handle registers a call that is decided at once: guard and f run on the main thread, one after the
// other, and must not block.
func Handle[Req, Resp any](e *Endpoint, call protocol.Call[Req, Resp], guard Guard, f func(Req) (Resp, error)) {
	e.handlers[call.Method] = func(ctx context.Context, r *Request) (any, error) {
		var req Req
		if err := Unmarshal(r.Payload, &req); err != nil {
			return nil, fmt.Errorf("decode %s: %w", call.Method, err)
		}
		return Call(ctx, e.main, func() (Resp, error) {
			if err := guard.Check(r.Token, req); err != nil {
				var none Resp
				return none, err
			}
			return f(req)
		})
	}
}

// HandleAsync registers a call that takes time: guard runs on the main thread, f then on the caller's
// goroutine, where it may wait. It gets back to the component's state with Call, and must check there
// that the term it began in still lasts. Its ctx ends when the caller leaves or the process stops.
func HandleAsync[Req, Resp any](e *Endpoint, call protocol.Call[Req, Resp], guard Guard, f func(context.Context, Req) (Resp, error)) {
	e.handlers[call.Method] = func(ctx context.Context, r *Request) (any, error) {
		var req Req
		if err := Unmarshal(r.Payload, &req); err != nil {
			return nil, fmt.Errorf("decode %s: %w", call.Method, err)
		}
		_, err := Call(ctx, e.main, func() (struct{}, error) { return struct{}{}, guard.Check(r.Token, req) })
		if err != nil {
			return nil, err
		}
		return f(ctx, req)
	}
}

func (e *Endpoint) serve(ctx context.Context, r *Request) *Response {
	if err := understands(r); err != nil {
		return failure(err)
	}
	h := e.handlers[r.Method]
	if h == nil { // all calls were registered before the endpoint was added, so waiting would not help
		return failure(fmt.Errorf("%w: the process at this address is too old: its %s has no call %s; upgrade the process at this address",
			ErrVersion, e.name, r.Method))
	}
	answer, err := h(ctx, r)
	if err != nil {
		return failure(err)
	}
	payload, err := Marshal(answer)
	if err != nil {
		return failure(fmt.Errorf("encode %s answer: %w", r.Method, err))
	}
	return &Response{Payload: payload}
}

// understands returns an error for its sender when this build does not understand r. Nothing of r has been
// looked at then.
func understands(r *Request) error {
	switch {
	case r.Version < protocol.MinVersion:
		return fmt.Errorf("%w: the sender is too old: it speaks version %d, the process at this address needs %d or newer; upgrade the sender",
			ErrVersion, r.Version, protocol.MinVersion)
	case r.MinVersion > protocol.Version:
		return fmt.Errorf("%w: the process at this address is too old: it speaks version %d, the sender's %s needs %d or newer; upgrade the process at this address",
			ErrVersion, protocol.Version, r.Method, r.MinVersion)
	}
	return nil
}

func failure(err error) *Response { return &Response{Code: codeOf(err), Message: err.Error()} }

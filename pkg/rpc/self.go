package rpc

import (
	"context"
	"sync"
)

// self is a transport's way to its own process: calls between components that happen to share one need no
// network. The masters of a thousand jobs and the ResourceManager often do.
type self struct {
	mu      sync.Mutex      // guards all below; a leaf
	handler Handler         // nil before Serve and after
	serving context.Context // Serve's: no calls begin after its end
	ended   chan struct{}   // closed when handlers are to end
	calls   sync.WaitGroup  // handlers that run
}

// begin lets calls in until ctx ends.
func (s *self) begin(ctx context.Context, h Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler, s.serving, s.ended = h, ctx, make(chan struct{})
}

// end ends what still runs, and returns when nothing does.
func (s *self) end() {
	s.mu.Lock()
	s.handler = nil
	close(s.ended)
	s.mu.Unlock()
	s.calls.Wait()
}

// enter returns the handler for one call, which has to report to calls; nil when this process does not serve.
func (s *self) enter() (h Handler, ended <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handler == nil || s.serving.Err() != nil {
		return nil, nil
	}
	s.calls.Add(1)
	return s.handler, s.ended
}

// call is Caller.Call; ok is false when this process does not serve. As over the network, a caller whose ctx
// ends does not wait for the handler, and the handler's ctx ends with the caller's.
func (s *self) call(ctx context.Context, r *Request) (answer *Response, ok bool, err error) {
	h, ended := s.enter()
	if h == nil {
		return nil, false, nil
	}
	handlerCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	answered := make(chan *Response, 1) // room for one: the handler never waits for a caller that left
	go func() {
		defer s.calls.Done()
		answered <- h(handlerCtx, r)
	}()
	select {
	case answer := <-answered:
		return answer, true, nil
	case <-ended:
		return nil, true, unreachable(r.Endpoint+" of this process", ErrStopped)
	case <-ctx.Done():
		return nil, true, ctx.Err()
	}
}

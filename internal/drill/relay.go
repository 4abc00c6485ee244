package drill

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// relay passes TCP connections on to a target, until it is cut. Then nothing passes in either direction and
// nobody is told, as on a network that loses every packet: connections stay open and silent, new ones are
// accepted and lead nowhere. When it is healed, what was held back passes on, as TCP would send it again.
type relay struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu    sync.Mutex // guards all below
	conns map[net.Conn]bool
	// severed says which callers are cut off, by their address; nil = nobody.
	severed func(caller net.Addr) bool
	changed chan struct{} // closed and replaced when severed changes
	closed  bool
}

// startRelay listens at address. The caller calls close.
func startRelay(address, target string) (*relay, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	r := &relay{listener: l, target: target, conns: map[net.Conn]bool{}, changed: make(chan struct{})}
	r.running.Go(r.serve)
	return r, nil
}

func (r *relay) address() string { return r.listener.Addr().String() }

// sever cuts off the callers that cut names, and heals the others; nil heals all.
func (r *relay) sever(cut func(caller net.Addr) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.severed = cut
	close(r.changed)
	r.changed = make(chan struct{})
}

// close refuses connections from now on and ends those that there are.
func (r *relay) close() {
	r.mu.Lock()
	r.closed = true
	for c := range r.conns {
		c.Close()
	}
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
	r.listener.Close()
	r.running.Wait()
}

func (r *relay) serve() {
	for {
		c, err := r.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if r.add(c) {
			r.running.Go(func() { r.pass(c) })
		}
	}
}

// pass serves one connection.
func (r *relay) pass(caller net.Conn) {
	defer r.drop(caller)
	if !r.await(caller.RemoteAddr()) {
		return
	}
	callee, err := net.DialTimeout("tcp", r.target, 5*time.Second)
	if err != nil {
		reset(caller)
		return
	}
	if !r.add(callee) {
		return
	}
	defer r.drop(callee)
	back := make(chan struct{})
	go func() {
		defer close(back)
		r.copy(caller, callee, caller.RemoteAddr())
	}()
	r.copy(callee, caller, caller.RemoteAddr())
	<-back
}

// copy passes bytes on in one direction until one end is closed, and closes both then.
func (r *relay) copy(to, from net.Conn, caller net.Addr) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !r.await(caller) {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			// The news that an end has closed does not pass a cut either.
			if errors.Is(err, io.EOF) {
				r.await(caller)
			}
			return
		}
	}
}

// await returns true when caller is not cut off, or false when the relay is closed.
func (r *relay) await(caller net.Addr) bool {
	for {
		r.mu.Lock()
		closed, severed, changed := r.closed, r.severed, r.changed
		r.mu.Unlock()
		switch {
		case closed:
			return false
		case severed == nil || !severed(caller):
			return true
		}
		<-changed
	}
}

func (r *relay) add(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		c.Close()
		return false
	}
	r.conns[c] = true
	return true
}

func (r *relay) drop(c net.Conn) {
	c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

// reset ends a connection so that its other end sees an error, not an orderly close.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

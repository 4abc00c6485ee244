// Package rpctest is a network in memory for tests and simulations: processes with addresses, and faults
// between them. It works inside a testing/synctest bubble: it uses channels and timers only. Messages
// are encoded and decoded as on the real wire.
package rpctest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// Faults says what the network does to one message. All functions must be safe for concurrent use.
type Faults struct {
	// Delay of a message from one address to another, each way; nil = none.
	Delay func(from, to string) time.Duration
	// LoseAnswer carries a request out but breaks the connection before the answer; nil = never.
	LoseAnswer func(from, to, method string) bool
}

// Network connects Nodes.
type Network struct {
	faults Faults

	mu    sync.Mutex // guards all below
	nodes map[string]*Node
	cut   map[[2]string]bool
	// changed is closed and replaced when reachability changes.
	changed chan struct{}
}

// NewNetwork returns a network without nodes.
func NewNetwork(f Faults) *Network {
	return &Network{faults: f, nodes: map[string]*Node{}, cut: map[[2]string]bool{}, changed: make(chan struct{})}
}

// RandomDelay returns a Faults.Delay of up to most, drawn from a seed.
func RandomDelay(seed uint64, most time.Duration) func(from, to string) time.Duration {
	var mu sync.Mutex // guards r
	r := rand.New(rand.NewPCG(seed, 0x5eed))
	return func(string, string) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(r.Int64N(int64(most) + 1))
	}
}

// Node is the Transport of one simulated process.
type Node struct {
	network *Network
	address string
	process id.Instance
	thawed  chan struct{} // closed unless frozen; guarded by network.mu
	handler rpc.Handler   // nil until Serve and after; guarded by network.mu
	dead    bool          // guarded by network.mu
}

// Node returns the transport of a new process at address; the process that was there before is gone.
func (n *Network) Node(address string) *Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	if old := n.nodes[address]; old != nil {
		old.dead = true
	}
	thawed := make(chan struct{})
	close(thawed)
	node := &Node{network: n, address: address, process: id.NewInstance(), thawed: thawed}
	n.nodes[address] = node
	n.notify()
	return node
}

// Kill makes address refuse connections, now and until the next Node there.
func (n *Network) Kill(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if node := n.nodes[address]; node != nil {
		node.dead = true
		delete(n.nodes, address)
	}
	n.notify()
}

// Freeze holds every message from and to address until Thaw, as SIGSTOP would.
func (n *Network) Freeze(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if node := n.nodes[address]; node != nil && node.running() {
		node.thawed = make(chan struct{})
		n.notify()
	}
}

// Thaw ends Freeze.
func (n *Network) Thaw(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if node := n.nodes[address]; node != nil && !node.running() {
		close(node.thawed)
		n.notify()
	}
}

// Cut loses everything between two addresses, silently, until Heal.
func (n *Network) Cut(a, b string) { n.setCut(a, b, true) }

// Heal ends Cut.
func (n *Network) Heal(a, b string) { n.setCut(a, b, false) }

// HealAll ends every Cut.
func (n *Network) HealAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	n.notify()
}

func (n *Network) setCut(a, b string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{a, b}], n.cut[[2]string{b, a}] = cut, cut
	n.notify()
}

// notify wakes everyone who waits for a change. Called with mu held.
func (n *Network) notify() {
	close(n.changed)
	n.changed = make(chan struct{})
}

func (d *Node) running() bool {
	select {
	case <-d.thawed:
		return true
	default:
		return false
	}
}

// Address is the node's name.
func (d *Node) Address() string { return d.address }

// Process differs between two nodes at one address.
func (d *Node) Process() id.Instance { return d.process }

// Serve answers requests with h until ctx ends.
func (d *Node) Serve(ctx context.Context, h rpc.Handler) error {
	d.network.mu.Lock()
	d.handler = h
	d.network.notify()
	d.network.mu.Unlock()
	<-ctx.Done()
	d.network.mu.Lock()
	d.handler = nil
	d.network.notify()
	d.network.mu.Unlock()
	return nil
}

var errRefused = errors.New("connection refused")

// route waits until a message can pass from d to address and returns the node there.
func (d *Node) route(ctx context.Context, address string) (*Node, error) {
	n := d.network
	for {
		n.mu.Lock()
		changed, to := n.changed, n.nodes[address]
		blocked := !d.running() || n.cut[[2]string{d.address, address}] || to != nil && !to.running()
		refused := to == nil || to.dead || to.handler == nil
		dead := d.dead
		n.mu.Unlock()
		switch {
		case dead:
			<-ctx.Done() // a killed process does nothing any more
			return nil, ctx.Err()
		case !blocked && refused:
			return nil, errRefused
		case !blocked:
			return to, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Call carries r to the node at address and its answer back.
func (d *Node) Call(ctx context.Context, address string, r *rpc.Request) (*rpc.Response, error) {
	if err := d.pause(ctx, d.address, address); err != nil {
		return nil, err
	}
	to, err := d.route(ctx, address)
	if err != nil {
		return nil, d.failed(ctx, address, err)
	}
	answered := make(chan *rpc.Response, 1) // room for one: the caller may have left
	go func() {
		// The handler's own process may be killed meanwhile; its answer is dropped then.
		d.network.mu.Lock()
		h := to.handler
		d.network.mu.Unlock()
		if h != nil {
			answered <- h(ctx, r)
		}
	}()
	for {
		d.network.mu.Lock()
		changed, gone := d.network.changed, to.dead || to.handler == nil
		d.network.mu.Unlock()
		if gone {
			return nil, d.failed(ctx, address, errors.New("connection reset"))
		}
		select {
		case answer := <-answered:
			return d.answer(ctx, to, address, r, answer)
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

func (d *Node) answer(ctx context.Context, to *Node, address string, r *rpc.Request, answer *rpc.Response) (*rpc.Response, error) {
	if err := d.pause(ctx, address, d.address); err != nil {
		return nil, err
	}
	// The way back: out of the far node, into this one.
	if _, err := to.route(ctx, d.address); err != nil && !errors.Is(err, errRefused) {
		return nil, d.failed(ctx, address, err)
	}
	if lose := d.network.faults.LoseAnswer; lose != nil && lose(d.address, address, r.Method) {
		return nil, d.failed(ctx, address, errors.New("connection reset"))
	}
	return answer, nil
}

func (d *Node) failed(ctx context.Context, address string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %s: %w", rpc.ErrUnreachable, address, err)
}

func (d *Node) pause(ctx context.Context, from, to string) error {
	if d.network.faults.Delay == nil {
		return ctx.Err()
	}
	t := time.NewTimer(d.network.faults.Delay(from, to))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// AwaitGone watches the node at address as rpc.Transport says.
func (d *Node) AwaitGone(ctx context.Context, address string, process id.Instance, silence time.Duration) error {
	n := d.network
	quiet := time.NewTimer(silence)
	defer quiet.Stop()
	heard := false
	for {
		n.mu.Lock()
		changed, to := n.changed, n.nodes[address]
		blocked := !d.running() || n.cut[[2]string{d.address, address}] || to != nil && !to.running()
		gone := to == nil || to.dead || to.handler == nil || to.process != process
		n.mu.Unlock()
		switch {
		case !blocked && gone:
			return fmt.Errorf("%w: %s", rpc.ErrGone, address)
		case blocked && heard: // until now
			quiet.Reset(silence)
		}
		heard = !blocked
		var silent <-chan time.Time
		if blocked {
			silent = quiet.C
		}
		select {
		case <-changed:
		case <-silent:
			return fmt.Errorf("%w: nothing heard from %s for %s", rpc.ErrSilent, address, silence)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

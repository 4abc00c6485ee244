package shuffle

import (
	"context"
	"fmt"
	"sync"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// Gate is where a task's input arrives: the consumers' ends of all its channels. Its methods belong to
// the task's goroutine, but Wake, which any goroutine may call.
type Gate struct {
	exchange *Exchange
	attempt  id.ExecutionAttempt
	inputOf  []int         // input number of each channel
	wake     chan struct{} // room for one: a token says that something may have changed

	mu       sync.Mutex // guards the rest
	channels []inbound
	ready    []int // channels that have items and are not blocked, in order of arrival
	err      error
	closed   bool
}

// inbound is the consumer's end of a channel. Guarded by Gate.mu.
type inbound struct {
	peer    protocol.Channel
	origin  origin // nil until the producer has connected
	queue   []Item
	blocked bool
	listed  bool // in Gate.ready
	ended   bool // the producer has ended or closed the channel: losing it is no failure
}

// origin is the way back from a gate to a producer.
type origin interface {
	// grant allows the producer n more frames. It does not block.
	grant(n int)
}

func newGate(x *Exchange, attempt id.ExecutionAttempt, inputs [][]protocol.Channel) *Gate {
	g := &Gate{exchange: x, attempt: attempt, wake: make(chan struct{}, 1)}
	for i, channels := range inputs {
		for _, ch := range channels {
			g.inputOf = append(g.inputOf, i)
			g.channels = append(g.channels, inbound{peer: ch})
		}
	}
	return g
}

// Channels is the number of channels of all inputs.
func (g *Gate) Channels() int { return len(g.inputOf) }

// credit is how many frames each producer may have under way.
func (g *Gate) credit() int { return min(max(gateFrames/len(g.inputOf), leastCredit), Credit) }

// Input is the input number that a channel belongs to.
func (g *Gate) Input(channel int) int { return g.inputOf[channel] }

// Next returns the next item of a channel that is not blocked, or false when there is none now. It fails
// when a connection broke. Items before a failure are not returned any more.
func (g *Gate) Next() (Item, bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return Item{}, false, g.err
	}
	for len(g.ready) > 0 {
		n := g.ready[0]
		g.ready = g.ready[:copy(g.ready, g.ready[1:])]
		ch := &g.channels[n]
		ch.listed = false
		if ch.blocked || len(ch.queue) == 0 {
			continue
		}
		item := ch.queue[0]
		ch.queue[0] = Item{}
		ch.queue = ch.queue[:copy(ch.queue, ch.queue[1:])]
		g.list(n)
		item.Channel = n
		return item, true, nil
	}
	return Item{}, false, nil
}

// Release gives the item's frame back and lets its producer send another one.
func (g *Gate) Release(item Item) {
	if item.Frame == nil {
		return
	}
	item.Frame.recycle()
	g.mu.Lock()
	o := g.channels[item.Channel].origin
	g.mu.Unlock()
	if o != nil {
		o.grant(1)
	}
}

// Wait returns when there may be something new: an item, a failure, or a call of Wake. It returns ctx's
// error when ctx ends.
func (g *Gate) Wait(ctx context.Context) error {
	select {
	case <-g.wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Wake ends the present or the next Wait. Any goroutine may call it.
func (g *Gate) Wake() {
	select {
	case g.wake <- struct{}{}:
	default: // a token is there already
	}
}

// Block holds back a channel's items until Unblock.
func (g *Gate) Block(channel int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.channels[channel].blocked = true
}

// Unblock lets all blocked channels go on.
func (g *Gate) Unblock() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for n := range g.channels {
		if g.channels[n].blocked {
			g.channels[n].blocked = false
			g.list(n)
		}
	}
}

// Close drops what has arrived and refuses everything from now on.
func (g *Gate) Close() {
	g.exchange.forget(g)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.ready = nil
	for n := range g.channels {
		for _, item := range g.channels[n].queue {
			if item.Frame != nil {
				item.Frame.recycle()
			}
		}
		g.channels[n].queue = nil
	}
}

// list puts a channel in line if it has something to give. The caller holds mu.
func (g *Gate) list(n int) {
	ch := &g.channels[n]
	if !ch.listed && !ch.blocked && len(ch.queue) > 0 {
		ch.listed = true
		g.ready = append(g.ready, n)
	}
}

// attach connects a producer. The error says why it is not the one that the consumer waits for.
func (g *Gate) attach(k channelKey, o origin) (channel int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return 0, fmt.Errorf("consumer %s has ended", g.attempt)
	}
	for n := range g.channels {
		ch := &g.channels[n]
		if g.inputOf[n] != k.input || ch.peer.Peer.Vertex != k.producer.Vertex || ch.peer.Peer.Subtask != k.producer.Subtask {
			continue
		}
		if ch.peer.Peer.Attempt != k.producer.Attempt {
			return 0, fmt.Errorf("consumer %s expects attempt %d of this producer, not %d", g.attempt, ch.peer.Peer.Attempt, k.producer.Attempt)
		}
		if ch.origin != nil {
			return 0, fmt.Errorf("consumer %s is connected with this producer already", g.attempt)
		}
		ch.origin = o
		return n, nil
	}
	return 0, fmt.Errorf("consumer %s has no channel from %s on input %d", g.attempt, k.producer, k.input)
}

// push adds an item. It is called on the producer's goroutine or on that of a connection; it never
// blocks, because credit bounds what can come.
func (g *Gate) push(channel int, item Item) {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		if item.Frame != nil {
			item.Frame.recycle()
		}
		return
	}
	ch := &g.channels[channel]
	ch.ended = ch.ended || item.Kind == EndEvent
	ch.queue = append(ch.queue, item)
	idle := len(g.ready) == 0
	g.list(channel)
	wake := idle && len(g.ready) > 0
	g.mu.Unlock()
	if wake {
		g.Wake()
	}
}

// leave notes that a channel's producer has closed it. The consumer is not failed: the process of the
// producer is alive and tells itself why.
func (g *Gate) leave(channel int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.channels[channel].ended = true
}

// lose notes that a channel's connection broke. That fails the gate unless the channel had ended.
func (g *Gate) lose(channel int, err error) {
	g.mu.Lock()
	ch := &g.channels[channel]
	if !g.closed && !ch.ended && g.err == nil {
		g.err = &PeerError{fmt.Errorf("lost the connection from producer %s at %s: %w", ch.peer.Peer, ch.peer.Address, err)}
	}
	g.mu.Unlock()
	g.Wake()
}

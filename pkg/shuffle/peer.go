package shuffle

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
)

// dialTimeout bounds one attempt to connect. Peers listen before tasks are deployed, so a refusal is
// final.
const dialTimeout = 10 * time.Second

// peer is the connection to one other process for records from here to there. One goroutine writes, one
// reads.
type peer struct {
	exchange *Exchange
	address  string
	wake     chan struct{} // room for one: a token says that queue has grown

	mu      sync.Mutex // guards the rest
	queue   []message
	senders map[uint32]*Sender
	last    uint32 // the highest channel number given out
	err     error  // why the connection is of no use any more
}

// message is what the writer sends. Credit bounds the data among them.
type message struct {
	header  header
	payload []byte
	frame   *Frame // recycled when sent
}

// connect opens a channel for s through the connection to address, making that if need be.
func (x *Exchange) connect(address string, s *Sender) {
	x.mu.Lock()
	p := x.peers[address]
	fresh := p == nil
	if fresh {
		p = &peer{exchange: x, address: address, wake: make(chan struct{}, 1), senders: map[uint32]*Sender{}}
		x.peers[address] = p
	}
	x.mu.Unlock()
	p.add(s)
	if fresh && !x.spawn(p.run) {
		p.fail(errors.New("this process is stopping"))
	}
}

// add asks the far side for a channel.
func (p *peer) add(s *Sender) {
	p.mu.Lock()
	if err := p.err; err != nil {
		p.mu.Unlock()
		s.fail(err)
		return
	}
	p.last++
	p.senders[p.last] = s
	p.post(message{header: header{channel: p.last, kind: kindOpen}, payload: appendOpen(nil, s.key)})
	p.mu.Unlock()
}

// post queues a message. The caller holds mu.
func (p *peer) post(m message) {
	m.header.length = uint32(len(m.payload))
	p.queue = append(p.queue, m)
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run dials and serves the connection until ctx ends or it breaks.
func (p *peer) run(ctx context.Context) {
	err := p.serve(ctx)
	if ctx.Err() != nil {
		err = errors.New("this process is stopping")
	} else {
		p.exchange.cfg.Log.Warn("connection to another job process was lost", zap.String("address", p.address), zap.Error(err))
	}
	p.fail(err)
}

func (p *peer) serve(ctx context.Context) error {
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if _, err := c.Write(appendPreamble(nil, p.exchange.cfg.Job)); err != nil {
		return fmt.Errorf("connection to %s: %w", p.address, err)
	}
	gone := make(chan struct{}) // closed when the reader has ended
	var readErr error
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(gone)
		readErr = p.read(c)
	})
	writeErr := p.write(c, gone)
	c.Close()
	reading.Wait()
	if writeErr == nil || errors.As(readErr, new(refusal)) {
		writeErr = readErr
	}
	return fmt.Errorf("connection to %s: %w", p.address, writeErr)
}

// fail ends the peer: the next channel to this address makes a new connection.
func (p *peer) fail(err error) {
	x := p.exchange
	x.mu.Lock()
	if x.peers[p.address] == p {
		delete(x.peers, p.address)
	}
	x.mu.Unlock()
	p.mu.Lock()
	p.err = err
	senders, queue := p.senders, p.queue
	p.senders, p.queue = map[uint32]*Sender{}, nil
	p.mu.Unlock()
	for _, m := range queue {
		if m.frame != nil {
			m.frame.recycle()
		}
	}
	for _, s := range senders {
		s.fail(err)
	}
}

// write sends what is queued, all of it with as few system calls as the kernel takes, until the
// connection breaks.
func (p *peer) write(c net.Conn, gone <-chan struct{}) error {
	var batch []message
	var headers []byte
	var bufs net.Buffers
	for {
		select {
		case <-p.wake:
		case <-gone:
			return nil
		}
		p.mu.Lock()
		batch, p.queue = p.queue, batch[:0]
		p.mu.Unlock()
		headers, bufs = headers[:0], bufs[:0]
		if need := len(batch) * headerSize; cap(headers) < need {
			headers = make([]byte, 0, 2*need) // grown before use: bufs refers to it
		}
		for _, m := range batch {
			n := len(headers)
			headers = m.header.append(headers)
			bufs = append(bufs, headers[n:])
			if len(m.payload) > 0 {
				bufs = append(bufs, m.payload)
			}
		}
		out := bufs // WriteTo consumes its receiver
		_, err := out.WriteTo(c)
		for i, m := range batch {
			if m.frame != nil {
				m.frame.recycle()
			}
			batch[i] = message{}
		}
		if err != nil {
			return err
		}
	}
}

// refusal is the far side's reason to refuse the whole connection.
type refusal string

func (r refusal) Error() string { return string(r) }

// read takes the answers of the far side.
func (p *peer) read(c net.Conn) error {
	r := bufio.NewReaderSize(c, 4<<10)
	scratch := make([]byte, headerSize)
	for {
		h, err := readHeader(r, scratch)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("closed by the other process")
			}
			return err
		}
		body, err := readBody(r, h, nil)
		if err != nil {
			return err
		}
		if h.kind == kindRefuse && h.channel == 0 {
			return refusal(body)
		}
		p.mu.Lock()
		s := p.senders[h.channel]
		p.mu.Unlock()
		if s == nil {
			continue // given up meanwhile
		}
		switch h.kind {
		case kindAccept:
			s.accept(remote{p, h.channel}, int(h.records))
		case kindCredit:
			s.grant(int(h.records))
		case kindRefuse:
			s.fail(refusal(body))
		default:
			return fmt.Errorf("unknown message kind %d", h.kind)
		}
	}
}

// remote is a link through a connection.
type remote struct {
	peer    *peer
	channel uint32
}

func (l remote) deliver(item Item) {
	m := message{header: header{channel: l.channel, kind: byte(item.Kind)}}
	switch item.Kind {
	case Data:
		m.header.records = uint32(item.Frame.Records)
		m.payload, m.frame = item.Frame.Data, item.Frame
	case BarrierEvent:
		m.payload = appendBarrier(nil, item.Barrier)
	}
	l.peer.mu.Lock()
	defer l.peer.mu.Unlock()
	if l.peer.err != nil {
		if m.frame != nil {
			m.frame.recycle()
		}
		return // the sender is told by fail
	}
	l.peer.post(m)
}

func (l remote) leave() {
	l.peer.mu.Lock()
	defer l.peer.mu.Unlock()
	delete(l.peer.senders, l.channel)
	if l.peer.err == nil {
		l.peer.post(message{header: header{channel: l.channel, kind: kindLeave}})
	}
}

package shuffle

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"go.uber.org/zap"
)

// inConn is a connection from another process. One goroutine reads records and never waits for a
// consumer; one writes answers.
type inConn struct {
	exchange *Exchange
	conn     net.Conn
	wake     chan struct{} // room for one: a token says that answers has grown

	mu       sync.Mutex // guards the rest
	answers  []byte
	channels map[uint32]inChannel
	closed   bool
	err      error // why, when closed
}

// inChannel is where the data of a channel number goes.
type inChannel struct {
	gate    *Gate
	channel int
}

// remoteOrigin grants credit through a connection, in portions of half of it.
type remoteOrigin struct {
	conn    *inConn
	channel uint32
	// Guarded by conn.mu.
	portion, owed int
}

func (x *Exchange) serve(ctx context.Context, c net.Conn) {
	in := &inConn{exchange: x, conn: c, wake: make(chan struct{}, 1), channels: map[uint32]inChannel{}}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	gone := make(chan struct{}) // closed when the reader has ended
	var writing sync.WaitGroup
	writing.Go(func() { in.write(gone) })
	err := in.read()
	close(gone)
	c.Close() // nobody may be there to take what is being written
	writing.Wait()
	if ctx.Err() == nil && !errors.Is(err, io.EOF) {
		x.cfg.Log.Warn("connection from another job process was lost", zap.Stringer("address", c.RemoteAddr()), zap.Error(err))
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("closed by the other process")
	}
	in.close(err)
}

// close tells every consumer that hangs on the connection.
func (c *inConn) close(err error) {
	c.mu.Lock()
	c.closed, c.err = true, err
	channels := c.channels
	c.channels = nil
	c.mu.Unlock()
	c.exchange.withdraw(c)
	for _, ch := range channels {
		ch.gate.lose(ch.channel, err)
	}
}

func (c *inConn) read() error {
	preamble := make([]byte, preambleSize)
	if _, err := io.ReadFull(c.conn, preamble); err != nil {
		return err
	}
	if err := checkPreamble(preamble, c.exchange.cfg.Job); err != nil {
		refused := header{length: uint32(len(err.Error())), kind: kindRefuse}.append(nil)
		c.conn.Write(append(refused, err.Error()...)) // a courtesy: the connection ends either way
		return err
	}
	// Small: payloads that are larger are read straight into their frames.
	r := bufio.NewReaderSize(c.conn, 4<<10)
	scratch := make([]byte, headerSize)
	for {
		h, err := readHeader(r, scratch)
		if err != nil {
			return err
		}
		if h.kind == byte(Data) {
			err = c.data(r, h)
		} else {
			err = c.event(r, h)
		}
		if err != nil {
			return err
		}
	}
}

func (c *inConn) data(r io.Reader, h header) (err error) {
	f := newFrame()
	f.Records = int(h.records)
	if f.Data, err = readBody(r, h, f.Data); err != nil {
		return err
	}
	if ch, ok := c.channel(h.channel); ok {
		ch.gate.push(ch.channel, Item{Kind: Data, Frame: f})
	} else {
		f.recycle()
	}
	return nil
}

func (c *inConn) event(r io.Reader, h header) error {
	body, err := readBody(r, h, nil)
	if err != nil {
		return err
	}
	ch, ok := c.channel(h.channel)
	switch {
	case h.kind == kindOpen:
		key, err := openIn(body)
		if err != nil {
			return err
		}
		c.open(h.channel, key)
	case !ok: // its consumer was never there, or the channel has been left
	case h.kind == byte(BarrierEvent):
		b, err := barrierIn(body)
		if err != nil {
			return err
		}
		ch.gate.push(ch.channel, Item{Kind: BarrierEvent, Barrier: b})
	case h.kind == byte(EndEvent):
		ch.gate.push(ch.channel, Item{Kind: EndEvent})
	case h.kind == kindLeave:
		c.mu.Lock()
		delete(c.channels, h.channel)
		c.mu.Unlock()
		ch.gate.leave(ch.channel)
	default:
		return fmt.Errorf("unknown message kind %d", h.kind)
	}
	return nil
}

func (c *inConn) channel(n uint32) (inChannel, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch, ok := c.channels[n]
	return ch, ok
}

func (c *inConn) open(n uint32, key channelKey) {
	origin := &remoteOrigin{conn: c, channel: n}
	c.exchange.open(opening{
		key: key, origin: origin,
		accepted: func(g *Gate, channel int) { c.accepted(origin, g, channel) },
		refused: func(reason string) {
			c.answer(header{length: uint32(len(reason)), channel: n, kind: kindRefuse}, reason)
		},
	})
}

func (c *inConn) accepted(origin *remoteOrigin, g *Gate, channel int) {
	credit := g.credit()
	c.mu.Lock()
	closed, err := c.closed, c.err
	if !closed {
		c.channels[origin.channel] = inChannel{g, channel}
		origin.portion = credit / 2
	}
	c.mu.Unlock()
	if closed {
		g.lose(channel, err)
		return
	}
	c.answer(header{channel: origin.channel, records: uint32(credit), kind: kindAccept}, "")
}

// answer queues a message to the producing process.
func (c *inConn) answer(h header, body string) {
	c.mu.Lock()
	c.answers = append(h.append(c.answers), body...)
	c.mu.Unlock()
	c.signal()
}

func (c *inConn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write sends answers until the reader has ended. A failure shows at the reader too.
func (c *inConn) write(gone <-chan struct{}) {
	var out []byte
	for {
		select {
		case <-c.wake:
		case <-gone:
			return
		}
		c.mu.Lock()
		out, c.answers = c.answers, out[:0]
		c.mu.Unlock()
		if _, err := c.conn.Write(out); err != nil {
			c.conn.Close()
			return
		}
	}
}

// grant is called by the consumer's task.
func (o *remoteOrigin) grant(n int) {
	c := o.conn
	c.mu.Lock()
	o.owed += n
	due := o.owed
	if due < o.portion {
		c.mu.Unlock()
		return
	}
	o.owed = 0
	c.answers = header{channel: o.channel, records: uint32(due), kind: kindCredit}.append(c.answers)
	c.mu.Unlock()
	c.signal()
}

package zookeeper

import (
	"bytes"
	"encoding/binary"
	"net"
	"sync"
	"time"
)

// watchEventXID marks packets that a server sends unasked; all others answer a request.
const watchEventXID = -1

// link is one TCP connection to a server. It reads along to learn what the client library does not tell:
// the negotiated session timeout, and when the newest answered request was sent. It bounds the greeting,
// for which the library would wait up to ten session timeouts, and asks for watches.
type link struct {
	net.Conn
	greetBy time.Time
	onGreet func(session int64, timeout time.Duration, sent time.Time)
	onHeard func(sent time.Time)
	watched func(path string) bool

	mu      sync.Mutex // guards the fields below
	greeted bool
	sent    []time.Time // requests that have no answer yet, oldest first

	packets packetReader // owned by the reading goroutine
}

// Write implements net.Conn. The library writes one request at a time, whole.
func (l *link) Write(b []byte) (int, error) {
	l.mu.Lock()
	l.sent = append(l.sent, time.Now())
	greeted := l.greeted
	l.mu.Unlock()
	if greeted {
		b = l.withWatch(b)
	}
	return l.Conn.Write(b)
}

// Requests that end with a flag which asks for a watch.
const (
	opExists  = 3
	opGetData = 4
)

// withWatch sets that flag in requests for nodes that are followed. See watches.
func (l *link) withWatch(b []byte) []byte {
	const head = 4 + 4 + 4 + 4 // length, xid, opcode, length of the path
	if len(b) <= head {
		return b
	}
	opcode, size := binary.BigEndian.Uint32(b[8:]), int(binary.BigEndian.Uint32(b[12:]))
	if opcode != opExists && opcode != opGetData || len(b) != head+size+1 || !l.watched(string(b[head:head+size])) {
		return b
	}
	b = bytes.Clone(b)
	b[len(b)-1] = 1
	return b
}

// Read implements net.Conn.
func (l *link) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	l.packets.feed(b[:n], l.received)
	return n, err
}

// received is told the first bytes of each packet. Answers come in the order of their requests, so the
// oldest open request is the one answered; if it were another, we would think worse of the server than
// it deserves, never better.
func (l *link) received(head []byte) {
	l.mu.Lock()
	first := !l.greeted
	if !first && int32(binary.BigEndian.Uint32(head)) == watchEventXID || len(l.sent) == 0 {
		l.mu.Unlock()
		return
	}
	sent := l.sent[0]
	l.sent = l.sent[1:]
	l.greeted = true
	l.mu.Unlock()
	if !first {
		l.onHeard(sent)
		return
	}
	// protocol version, session timeout in ms, session ID
	timeout := time.Duration(binary.BigEndian.Uint32(head[4:])) * time.Millisecond
	l.onGreet(int64(binary.BigEndian.Uint64(head[8:])), timeout, sent)
}

// SetReadDeadline implements net.Conn.
func (l *link) SetReadDeadline(t time.Time) error { return l.Conn.SetReadDeadline(l.capped(t)) }

// SetWriteDeadline implements net.Conn.
func (l *link) SetWriteDeadline(t time.Time) error { return l.Conn.SetWriteDeadline(l.capped(t)) }

func (l *link) capped(t time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.greeted && (t.IsZero() || t.After(l.greetBy)) {
		return l.greetBy
	}
	return t
}

// headSize is as much of a packet as received wants to see; no packet of a server is shorter.
const headSize = 16

// packetReader finds the beginnings of packets (length, then body) in a stream.
type packetReader struct {
	head []byte // length and first bytes of the body, while incomplete
	skip int    // bytes of the current packet still to pass over
}

func (p *packetReader) feed(b []byte, packet func(head []byte)) {
	for len(b) > 0 {
		if p.skip > 0 {
			n := min(p.skip, len(b))
			p.skip, b = p.skip-n, b[n:]
			continue
		}
		n := min(4+headSize-len(p.head), len(b))
		p.head, b = append(p.head, b[:n]...), b[n:]
		if len(p.head) == 4+headSize {
			packet(p.head[4:])
			p.skip = max(0, int(binary.BigEndian.Uint32(p.head))-headSize)
			p.head = p.head[:0]
		}
	}
}

package zkserver

import (
	"encoding/binary"
	"net"
	"testing"
	"time"
)

// opClose is -11, as it looks on the wire.
const opClose uint32 = 0xfffffff5

// Expire ends the session of the client behind the proxy on the server, as if it had timed out, while the
// client cannot look. It reconnects afterwards and learns of it.
func (p *Proxy) Expire(t testing.TB) {
	t.Helper()
	hello := p.awaitSession(t)
	p.Cut()
	c, err := net.DialTimeout("tcp", p.target, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	goodbye := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8, 0, 0, 0, 1}, opClose)
	for _, packet := range [][]byte{hello, goodbye} {
		if _, err := c.Write(packet); err != nil {
			t.Fatal(err)
		}
		answer, err := readPacket(c)
		if err != nil {
			t.Fatalf("end the session of another client: %v", err)
		}
		if &packet[0] == &hello[0] && takeover(answer[4:]) == nil {
			break // it had ended before
		}
	}
	p.Heal(t)
}

// awaitSession returns the request that takes over the client's session, when it has one.
func (p *Proxy) awaitSession(t testing.TB) []byte {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		p.mu.Lock()
		hello := p.session
		p.mu.Unlock()
		switch {
		case hello != nil:
			return hello
		case time.Now().After(deadline):
			t.Fatal("no client has a session through the proxy")
		}
		<-time.After(5 * time.Millisecond)
	}
}

// takeover makes, of the answer to a client's connect request, the request with which anyone can take
// that client's session over: version, last transaction seen, timeout, session, password. It is nil for
// an answer that refuses a session.
func takeover(answer []byte) []byte {
	const head = 4 + 4 + 8 // version, timeout, session
	if len(answer) < head+4+16 || binary.BigEndian.Uint64(answer[8:]) == 0 {
		return nil
	}
	packet := make([]byte, 4, 64)
	packet = append(packet, answer[:4]...)
	packet = binary.BigEndian.AppendUint64(packet, 0)
	packet = append(packet, answer[4:head+4+16]...)
	binary.BigEndian.PutUint32(packet, uint32(len(packet)-4))
	return packet
}

package zkserver

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Opcodes of ZooKeeper's protocol, for Proxy.EatAnswer.
const (
	OpCreate  int32 = 1
	OpDelete  int32 = 2
	OpSetData int32 = 5
	OpMulti   int32 = 14
)

// maxFrame bounds a packet in bytes: more than ZooKeeper accepts.
const maxFrame = 8 << 20

// Proxy is a faulty network between a client and one server. It understands packets, not their content:
// it forwards them whole, and knows which answer belongs to which request.
type Proxy struct {
	target  string
	address string

	mu       sync.Mutex
	listener net.Listener // nil while connections are refused
	links    map[*link]bool
	held     chan struct{} // nil, or closed when packets may pass again
	delay    time.Duration
	session  []byte        // connect request that takes over the session of the newest connection
	eat      int32         // opcode whose next answer is eaten, 0 for none
	eaten    chan struct{} // closed when it has been eaten
	wg       sync.WaitGroup
}

// NewProxy listens on loopback and forwards to target until the end of the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p := &Proxy{target: target, links: map[*link]bool{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = l.Addr().String()
	p.serve(l)
	t.Cleanup(func() { p.Cut(); p.wg.Wait() })
	return p
}

// Address is the host:port for clients.
func (p *Proxy) Address() string { return p.address }

func (p *Proxy) serve(l net.Listener) {
	p.mu.Lock()
	p.listener = l
	p.mu.Unlock()
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed by Cut
			}
			p.connect(c)
		}
	})
}

// connect begins to forward between a client and the server.
func (p *Proxy) connect(client net.Conn) {
	server, err := net.DialTimeout("tcp", p.target, time.Second)
	if err != nil {
		client.Close()
		return
	}
	k := &link{proxy: p, client: client, server: server, closed: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil { // cut meanwhile
		k.close()
		return
	}
	p.links[k] = true
	p.wg.Go(func() { k.pump(client, server, k.onRequest) })
	p.wg.Go(func() { k.pump(server, client, k.onAnswer) })
}

// Disconnect breaks all connections; new ones are accepted at once.
func (p *Proxy) Disconnect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.links {
		k.close()
	}
}

// Cut breaks all connections and refuses new ones until Heal.
func (p *Proxy) Cut() {
	p.mu.Lock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	p.mu.Unlock()
	p.Disconnect()
}

// Hold lets no packet pass in either direction until Heal: connections stay, or are accepted, and are
// silent.
func (p *Proxy) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		p.held = make(chan struct{})
	}
}

// Heal ends Cut, Hold and Delay.
func (p *Proxy) Heal(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	if p.held != nil {
		close(p.held)
		p.held = nil
	}
	p.delay = 0
	refused := p.listener == nil
	p.mu.Unlock()
	if refused {
		l, err := net.Listen("tcp", p.address)
		if err != nil {
			t.Fatalf("heal the proxy: %v", err)
		}
		p.serve(l)
	}
}

// Delay makes each packet take d longer in each direction.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// EatAnswer lets the next request with this opcode pass, swallows the server's answer to it and then
// breaks that connection. The channel is closed when that has happened.
func (p *Proxy) EatAnswer(opcode int32) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.eat, p.eaten = opcode, make(chan struct{})
	return p.eaten
}

// link is one connection of a client and the connection to the server that belongs to it.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	closeOnce      sync.Once
	closed         chan struct{}

	// Guarded by proxy.mu.
	greeted bool  // the connect request, which has no opcode, has passed
	welcome bool  // the answer to it has passed
	victim  int32 // xid of the request whose answer is eaten, 0 for none
	eaten   chan struct{}
}

func (k *link) close() {
	k.closeOnce.Do(func() {
		close(k.closed)
		k.client.Close()
		k.server.Close()
	})
}

// pump forwards packets from one side to the other until the connection ends.
func (k *link) pump(from, to net.Conn, pass func(body []byte) bool) {
	defer func() {
		k.close()
		k.proxy.mu.Lock()
		delete(k.proxy.links, k)
		k.proxy.mu.Unlock()
	}()
	for {
		packet, err := readPacket(from)
		if err != nil || !k.wait() || !pass(packet[4:]) {
			return
		}
		if _, err := to.Write(packet); err != nil {
			return
		}
	}
}

func readPacket(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return nil, io.ErrUnexpectedEOF
	}
	packet := make([]byte, 4+n)
	copy(packet, head[:])
	_, err := io.ReadFull(r, packet[4:])
	return packet, err
}

// wait holds a packet back as long as Hold and Delay want it; false when the connection ended meanwhile.
func (k *link) wait() bool {
	k.proxy.mu.Lock()
	held, delay := k.proxy.held, k.proxy.delay
	k.proxy.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-k.closed:
			return false
		}
	}
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-k.closed:
			return false
		}
	}
	return true
}

func (k *link) onRequest(body []byte) bool {
	k.proxy.mu.Lock()
	defer k.proxy.mu.Unlock()
	if !k.greeted {
		k.greeted = true
		return true
	}
	if len(body) < 8 {
		return true
	}
	xid, opcode := int32(binary.BigEndian.Uint32(body)), int32(binary.BigEndian.Uint32(body[4:]))
	if k.proxy.eat != 0 && opcode == k.proxy.eat {
		k.victim, k.eaten, k.proxy.eat = xid, k.proxy.eaten, 0
	}
	return true
}

func (k *link) onAnswer(body []byte) bool {
	k.proxy.mu.Lock()
	defer k.proxy.mu.Unlock()
	if !k.welcome {
		k.welcome = true
		k.proxy.session = takeover(body)
		return true
	}
	if k.victim == 0 || len(body) < 4 || int32(binary.BigEndian.Uint32(body)) != k.victim {
		return true
	}
	close(k.eaten)
	return false
}

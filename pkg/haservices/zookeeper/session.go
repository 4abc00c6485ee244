package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
)

var (
	errExpired = errors.New("the server has ended the session")
	errSilent  = errors.New("no answer for a session timeout")
)

const (
	// firstPause and maxPause bound the pause between two rounds through the servers.
	firstPause = 20 * time.Millisecond
	maxPause   = time.Second

	// greetingPatience is how long a server may take to greet us in the first round, and twice as long in each
	// round after it: a server that is silent must not keep us from the others, slow ones must have a chance.
	greetingPatience = 2 * time.Second
)

// session is one ZooKeeper session and the only one that its zk.Conn will ever have. It is ready while
// calls can be sent, suspended while the connection is interrupted, and over for good when the server
// says so or when no request that was sent within the last session timeout has been answered. The
// server counts from a later moment than we do, so by its clock it lives at least as long.
type session struct {
	client  *client
	log     *zap.Logger
	servers int
	conn    *zk.Conn
	events  <-chan zk.Event // closed by the library when conn's goroutines have ended
	dialing context.Context // ends with the session
	stop    context.CancelFunc
	wake    chan struct{}  // room for one: wakes run after a change
	calls   sync.WaitGroup // calls of conn in progress

	// lost is closed when the session is over.
	lost chan struct{}

	// Guarded by client.mu.
	id          int64
	timeout     time.Duration // negotiated, 0 before the first greeting
	heard       time.Time     // when the newest answered request was sent
	connected   bool          // greeted, but perhaps not in step with the servers yet
	ready       bool
	connections int // how often it became ready
	over        bool
	closing     bool
	link        *link
	dials       int // since it was last ready
}

// newSession begins to connect. The caller runs run and then shut.
func newSession(c *client) (*session, error) {
	servers := c.cfg.servers()
	s := &session{
		client: c, log: c.cfg.Log, servers: len(servers),
		wake: make(chan struct{}, 1), lost: make(chan struct{}),
	}
	s.dialing, s.stop = context.WithCancel(context.Background())
	h := &hosts{lookUp: net.DefaultResolver.LookupHost, stopped: s.stopped, log: c.cfg.Log}
	var err error
	s.conn, s.events, err = zk.Connect(servers, c.cfg.SessionTimeout,
		zk.WithDialer(s.dial), zk.WithHostProvider(h), zk.WithEventCallback(s.onEvent),
		zk.WithLogger(libraryLog{c.cfg.Log}), zk.WithLogInfo(false))
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("connect to zookeeper: %w", err)
	}
	return s, nil
}

// libraryLog writes what the client library logs. It repeats what we log ourselves, so it is for debugging.
type libraryLog struct{ log *zap.Logger }

func (l libraryLog) Printf(format string, args ...any) {
	l.log.Debug("zookeeper client library", zap.String("message", fmt.Sprintf(format, args...)))
}

func (s *session) stopped() bool {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.over || s.closing
}

// dial connects to one server, after a pause if all have been tried in vain. The pause and the time for
// the greeting leave room to try every server before the session ends.
func (s *session) dial(network, address string, _ time.Duration) (net.Conn, error) {
	c := s.client
	c.mu.Lock()
	round := s.dials / s.servers
	s.dials++
	timeout := s.timeout
	c.mu.Unlock()
	if timeout == 0 {
		timeout = c.cfg.SessionTimeout
	}
	if err := s.pause(round); err != nil {
		return nil, err
	}
	limit := min(c.cfg.ConnectionTimeout, greetingPatience<<min(round, 5), max(timeout/time.Duration(s.servers+1), 100*time.Millisecond))
	ctx, cancel := context.WithTimeout(s.dialing, limit)
	defer cancel()
	tcp, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		if worthALine(round) {
			s.log.Warn("zookeeper server not reached", zap.String("server", address), zap.Error(err))
		}
		return nil, err
	}
	l := &link{Conn: tcp, greetBy: time.Now().Add(limit), onGreet: s.onGreet, onHeard: s.onHeard, watched: c.watches.wanted}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.over || s.closing {
		tcp.Close()
		return nil, zk.ErrClosing
	}
	s.link = l
	return l, nil
}

func (s *session) pause(round int) error {
	if round == 0 {
		return s.dialing.Err()
	}
	d := min(firstPause<<min(round-1, 10), maxPause)
	select {
	case <-time.After(d/2 + rand.N(d)):
		return nil
	case <-s.dialing.Done():
		return s.dialing.Err()
	}
}

// onGreet is called by the reading goroutine of a link. Session 0 means that the one asked for has expired;
// the library tells that to onEvent.
func (s *session) onGreet(session int64, timeout time.Duration, sent time.Time) {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	if session != 0 {
		s.id, s.timeout, s.heard = session, timeout, sent
	}
}

// onHeard is called by the reading goroutine of a link.
func (s *session) onHeard(sent time.Time) {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	if sent.After(s.heard) {
		s.heard = sent
	}
}

// onEvent is called by the library's goroutines, in order, and must not block. When the server has ended
// the session it is called before the library dials again, so no request leaves under another session.
func (s *session) onEvent(e zk.Event) {
	switch {
	case e.Type != zk.EventSession:
		s.client.watches.fired(e.Path)
	case e.State == zk.StateHasSession:
		s.setConnected(true)
	case e.State == zk.StateExpired:
		s.end(errExpired)
	case e.State == zk.StateAuthFailed:
		s.log.Error("zookeeper refused the authorization")
	default:
		s.setConnected(false)
	}
}

func (s *session) setConnected(yes bool) {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.over || s.connected == yes {
		return
	}
	s.connected = yes
	if !yes {
		if s.ready && !s.closing {
			s.log.Warn("zookeeper connection suspended", zap.String("session", s.name()), zap.Duration("session-timeout", s.timeout))
		}
		s.ready = false
		c.notify()
	}
	s.nudge()
}

func (s *session) nudge() {
	select {
	case s.wake <- struct{}{}:
	default: // run has not seen the last change yet, and will see both
	}
}

// name is the session ID as ZooKeeper prints it.
func (s *session) name() string { return fmt.Sprintf("0x%x", s.id) }

// end makes the session over. It does not block.
func (s *session) end(why error) {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.over {
		return
	}
	if s.id != 0 && !s.closing {
		s.log.Warn("zookeeper session lost", zap.String("session", s.name()), zap.Error(why))
	}
	s.over, s.connected, s.ready = true, false, false
	close(s.lost)
	s.stop()
	if s.link != nil {
		s.link.Close() // frees the library from waiting for a silent server
	}
	s.nudge()
	c.notify()
}

// owner is the session's ID, as it is in the ephemeral nodes that belong to it.
func (s *session) owner() int64 {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.id
}

// leaseEnd is when the session is over unless something is heard, by our clock; ok is false while it
// has not begun. It needs client.mu.
func (s *session) leaseEnd() (end time.Time, ok bool) {
	return s.heard.Add(s.timeout), s.timeout > 0
}

// run keeps the session's state until it is over or ctx ends.
func (s *session) run(ctx context.Context) {
	lease := time.NewTimer(time.Hour)
	defer lease.Stop()
	for {
		s.client.mu.Lock()
		connected, ready, over := s.connected, s.ready, s.over
		end, begun := s.leaseEnd()
		s.client.mu.Unlock()
		if over || ctx.Err() != nil {
			return
		}
		if begun {
			left := time.Until(end)
			if left <= 0 {
				s.end(errSilent)
				return
			}
			lease.Reset(left)
		}
		if connected && !ready && s.prepare(ctx, end) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-lease.C:
		}
	}
}

// prepare makes a new connection usable: it authenticates, and waits until the server has seen every
// write that was made anywhere before, so that no read goes back in time. It is false if that failed;
// then the connection is broken, or will be.
func (s *session) prepare(ctx context.Context, leaseEnd time.Time) bool {
	ctx, cancel := context.WithDeadline(ctx, leaseEnd)
	defer cancel()
	first := s.connections == 0 // written by this goroutine only
	_, err := roundTrip(ctx, s, func(c *zk.Conn) (string, error) {
		if first { // the library repeats it on later connections
			for scheme, secret := range s.client.cfg.Authorization {
				if err := c.AddAuth(scheme, []byte(secret)); err != nil {
					return "", fmt.Errorf("authorize with scheme %s: %w", scheme, err)
				}
			}
		}
		return c.Sync("/")
	})
	c := s.client
	c.watches.forget(connection{session: s, number: s.connections + 1})
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		s.log.Debug("zookeeper connection not usable", zap.Error(err))
		if s.connected && s.link != nil {
			s.link.Close()
		}
		return false
	}
	if !s.connected || s.over {
		return true // and look again
	}
	s.ready, s.dials = true, 0
	s.connections++
	c.owned[s.id] = true
	s.log.Info("zookeeper connected", zap.String("session", s.name()), zap.Duration("session-timeout", s.timeout),
		zap.String("server", s.link.RemoteAddr().String()), zap.Int("connection", s.connections))
	c.notify()
	return true
}

// roundTrip makes a call of the library, which knows no contexts, and waits for its end or for ctx's. If
// ctx ends, or the session, the request may have been carried out: errInFlight.
func roundTrip[T any](ctx context.Context, s *session, call func(*zk.Conn) (T, error)) (answer T, err error) {
	if !s.begin() {
		return answer, errUnsent
	}
	type result struct {
		answer T
		err    error
	}
	results := make(chan result, 1) // room for one: the call ends although nobody waits
	go func() {
		defer s.calls.Done()
		answer, err := call(s.conn)
		results <- result{answer, err}
	}()
	select {
	case r := <-results:
		return r.answer, classify(r.err)
	case <-ctx.Done():
		return answer, fmt.Errorf("%w: %w", errInFlight, ctx.Err())
	case <-s.lost:
		return answer, errInFlight
	}
}

// begin counts a call in, unless the session is over.
func (s *session) begin() bool {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	if s.over || s.closing {
		return false
	}
	s.calls.Add(1)
	return true
}

// shut closes the session on the server if it can be reached (which deletes its ephemeral nodes at once)
// and waits for everything that belongs to it, about a second when the server is away.
func (s *session) shut() {
	c := s.client
	c.mu.Lock()
	s.closing = true
	c.mu.Unlock()
	s.conn.Close()
	s.end(haservices.ErrClosed)
	for range s.events {
		// Closed by the library at its end.
	}
	s.calls.Wait()
}

package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/hatest"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/rpc"
)

func TestMain(m *testing.M) { os.Exit(zkserver.Run(m)) }

// patience bounds every wait of these tests.
const patience = 30 * time.Second

var dispatcher = haservices.Component{Kind: haservices.Dispatcher}

// logger shows what the driver logs when TAMIAS_TEST_LOG is set.
func logger(t *testing.T) *zap.Logger {
	if os.Getenv("TAMIAS_TEST_LOG") == "" {
		return zap.NewNop()
	}
	return zaptest.NewLogger(t)
}

var roots struct {
	sync.Mutex
	n int
}

// freshRoot is a cluster of its own on a shared server.
func freshRoot() string {
	roots.Lock()
	defer roots.Unlock()
	roots.n++
	return fmt.Sprintf("/tamias-test/%d", roots.n)
}

// liveness plays the part of the RPC service: it knows which processes have been killed.
type liveness struct {
	mu     sync.Mutex
	gone   map[id.Instance]chan struct{}
	silent map[id.Instance]bool
}

func newLiveness() *liveness {
	return &liveness{gone: map[id.Instance]chan struct{}{}, silent: map[id.Instance]bool{}}
}

func (l *liveness) of(p id.Instance) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone[p] == nil {
		l.gone[p] = make(chan struct{})
	}
	return l.gone[p]
}

func (l *liveness) kill(p id.Instance) { close(l.of(p)) }

// mute makes p silent: alive, but not heard.
func (l *liveness) mute(p id.Instance) { l.setSilent(p, true) }

func (l *liveness) setSilent(p id.Instance, yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent[p] = yes
}

func (l *liveness) isSilent(p id.Instance) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.silent[p]
}

func (l *liveness) awaitGone(ctx context.Context, _ string, p id.Instance, silence time.Duration) error {
	var timeout <-chan time.Time
	if l.isSilent(p) {
		timeout = time.After(silence)
	}
	select {
	case <-l.of(p):
		return rpc.ErrGone
	case <-timeout:
		return rpc.ErrSilent
	case <-ctx.Done():
		return ctx.Err()
	}
}

// process is a driver behind a network of its own.
type process struct {
	*Driver
	proxy *zkserver.Proxy
	me    haservices.Contender
}

// cluster makes processes that share a server and a root.
type cluster struct {
	t        *testing.T
	server   string
	root     string
	liveness *liveness
	// change adjusts the configuration of each process.
	change func(*Config)
	n      int
}

func newCluster(t *testing.T, server string) *cluster {
	return &cluster{t: t, server: server, root: freshRoot(), liveness: newLiveness(), change: func(*Config) {}}
}

// process starts another process, which ends with the test.
func (c *cluster) process() *process {
	c.t.Helper()
	p := c.open()
	c.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			c.t.Errorf("Close: %v", err)
		}
	})
	return p
}

func (c *cluster) open() *process {
	c.t.Helper()
	c.n++
	proxy := zkserver.NewProxy(c.t, c.server)
	cfg := Config{
		Quorum: proxy.Address(), Root: c.root, SessionTimeout: 20 * time.Second, TolerateSuspended: true,
		AwaitGone: c.liveness.awaitGone, ProbeTimeout: time.Second, Log: logger(c.t).Named(fmt.Sprintf("jm-%d", c.n)),
	}
	c.change(&cfg)
	d, err := New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	return &process{
		Driver: d, proxy: proxy,
		me: haservices.Contender{Process: id.NewInstance(), Host: "localhost", PID: os.Getpid(), Address: fmt.Sprintf("jm-%d:6123", c.n)},
	}
}

func (c *cluster) context() context.Context {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	c.t.Cleanup(cancel)
	return ctx
}

// lead campaigns until p leads the component.
func (c *cluster) lead(p *process, component haservices.Component) *Term {
	c.t.Helper()
	term, err := p.Campaign(c.context(), component, p.me)
	if err != nil {
		c.t.Fatalf("Campaign: %v", err)
	}
	return term.(*Term)
}

// contend campaigns in the background.
func (c *cluster) contend(p *process, component haservices.Component) <-chan *Term {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.context())
	won, done := make(chan *Term, 1), make(chan struct{})
	c.t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		if term, err := p.Campaign(ctx, component, p.me); err == nil {
			won <- term.(*Term)
		}
	}()
	return won
}

func (c *cluster) put(term *Term, path, data string) {
	c.t.Helper()
	w := haservices.Write{Operation: haservices.Put, Path: path, Data: []byte(data)}
	ctx := c.context()
	for {
		switch err := term.Write(ctx, w); {
		case err == nil:
			return
		case ctx.Err() != nil || !errors.Is(err, haservices.ErrUnavailable):
			c.t.Fatalf("Put %s: %v", path, err)
		} // unavailable: nothing was written, and a busy machine takes its time to connect
	}
}

// observe collects what p is told about the leader of component.
func (c *cluster) observe(p *process, component haservices.Component) <-chan haservices.LeaderInformation {
	told, done := make(chan haservices.LeaderInformation, 1000), make(chan struct{})
	ctx, cancel := context.WithCancel(c.t.Context())
	c.t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		if err := p.Observe(ctx, component, func(l haservices.LeaderInformation) { told <- l }); ctx.Err() == nil {
			c.t.Errorf("Observe: %v", err)
		}
	}()
	return told
}

// await receives from a channel, or ends the test.
func await[T any](t *testing.T, from <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatalf("%s did not happen within %s", what, patience)
	}
	return v
}

// eventually waits until ok, or ends the test.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func leads(t *testing.T, term *Term) {
	t.Helper()
	select {
	case <-term.Lost():
		t.Fatal("Lost is closed while the term lasts")
	default:
	}
}

// outside is a client that has nothing to do with the driver.
func (c *cluster) outside() *zk.Conn {
	c.t.Helper()
	conn, _, err := zk.Connect([]string{c.server}, 4*time.Second, zk.WithLogger(libraryLog{zap.NewNop()}))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(conn.Close)
	return conn
}

// contenders lists the latch of a component.
func (c *cluster) contenders(conn *zk.Conn, component haservices.Component) []place {
	c.t.Helper()
	names, _, err := conn.Children(c.root + "/leaderlatch/" + component.Path())
	if err != nil {
		c.t.Fatal(err)
	}
	return line(names)
}

func TestConformance(t *testing.T) {
	server := zkserver.Shared(t)
	hatest.Conformance(t, func(t *testing.T) hatest.Fixture {
		c := newCluster(t, server.Address())
		if strings.Contains(t.Name(), "long_disconnection") {
			// This one waits for the end of a session. The others must not see it, on a slow machine either.
			c.change = func(cfg *Config) { cfg.SessionTimeout = 2 * time.Second }
		}
		var all sync.Map // haservices.Driver to *process
		of := func(d haservices.Driver) *process {
			p, _ := all.Load(d)
			return p.(*process)
		}
		return hatest.Fixture{
			New: func() haservices.Driver {
				p := c.open()
				all.Store(p.Driver, p)
				return p.Driver
			},
			Contender: func(d haservices.Driver) haservices.Contender { return of(d).me },
			Kill: func(d haservices.Driver) {
				of(d).proxy.Cut()
				c.liveness.kill(of(d).me.Process)
			},
			Expire:     func(d haservices.Driver) { of(d).proxy.Expire(t) },
			Disconnect: func(d haservices.Driver) { of(d).proxy.Cut() },
			Reconnect:  func(d haservices.Driver) { of(d).proxy.Heal(t) },
		}
	})
}

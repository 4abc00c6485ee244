package zookeeper

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tamias-project/tamias/internal/testkit/zkserver"
	"github.com/tamias-project/tamias/pkg/haservices"
)

func cancelled(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), patience)
}

// TestFrozenServer: the client library never says that a session has expired while no server answers.
// The leader's own clock does.
func TestFrozenServer(t *testing.T) {
	server := zkserver.Start(t)
	c := newCluster(t, server.Address())
	c.change = func(cfg *Config) { cfg.SessionTimeout = time.Second }
	a, b := c.process(), c.process()
	term := c.lead(a, dispatcher)
	if err := term.Publish(c.context(), "tamias://a:1/dispatcher"); err != nil {
		t.Fatal(err)
	}
	told := c.observe(b, dispatcher)
	await(t, told, "news of the leader")
	server.Freeze()
	await(t, term.Lost(), "the end of the term")
	if l := await(t, told, "news of its end"); !l.IsEmpty() {
		t.Errorf("told %v, want no leader", l)
	}
	w := haservices.Write{Operation: haservices.Put, Path: "jobgraphs/a", Data: []byte("late")}
	if err := term.Write(c.context(), w); !errors.Is(err, haservices.ErrNotLeader) {
		t.Errorf("Write after the session was lost = %v, want ErrNotLeader", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Read(ctx, "jobgraphs/a"); !errors.Is(err, haservices.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Read from a frozen server = %v, want ErrUnavailable at the deadline", err)
	}
	server.Thaw()
	if next := c.lead(a, dispatcher); next.Token().Epoch() <= term.Token().Epoch() {
		t.Errorf("epoch %d after %d", next.Token().Epoch(), term.Token().Epoch())
	}
}

// TestServerRestart: leadership, observers and waiting contenders outlive the loss of every server.
func TestServerRestart(t *testing.T) {
	server := zkserver.Start(t)
	c := newCluster(t, server.Address())
	c.change = func(cfg *Config) { cfg.SessionTimeout = 30 * time.Second }
	a, b := c.process(), c.process()
	told := c.observe(b, dispatcher)
	term := c.lead(a, dispatcher)
	next := c.contend(b, dispatcher)
	if err := term.Publish(c.context(), "tamias://a:1/dispatcher"); err != nil {
		t.Fatal(err)
	}
	await(t, told, "news of the leader")
	server.Kill()
	server.Start(t)
	c.put(term, "jobgraphs/a", "after the restart")
	if n, err := b.Read(c.context(), "jobgraphs/a"); err != nil || string(n.Data) != "after the restart" {
		t.Errorf("Read = %q, %v", n.Data, err)
	}
	leads(t, term)
	select {
	case l := <-told:
		t.Errorf("told %v, but nothing has changed", l)
	case <-next:
		t.Error("another contender leads")
	default:
	}
	term.Resign(c.context())
	await(t, next, "the next term")
}

// TestRollingRestart: every server of a quorum is replaced, the leading one among them, and no leader
// changes.
func TestRollingRestart(t *testing.T) {
	ensemble := zkserver.StartEnsemble(t, 3)
	c := newCluster(t, "")
	c.change = func(cfg *Config) { cfg.Quorum, cfg.SessionTimeout = ensemble.Quorum(), 30*time.Second }
	a, b := c.process(), c.process()
	told := c.observe(b, dispatcher)
	term := c.lead(a, dispatcher)
	next := c.contend(b, dispatcher)
	if err := term.Publish(c.context(), "tamias://a:1/dispatcher"); err != nil {
		t.Fatal(err)
	}
	await(t, told, "news of the leader")
	for i, server := range ensemble.Servers {
		server.Stop()
		server.Start(t)
		value := []byte{byte('0' + i)}
		eventually(t, "a write after the restart", func() bool {
			return term.Write(c.context(), haservices.Write{Operation: haservices.Put, Path: "jobgraphs/a", Data: value}) == nil
		})
		if n, err := a.Read(c.context(), "jobgraphs/a"); err != nil || string(n.Data) != string(value) {
			t.Errorf("Read = %q, %v, want %q", n.Data, err, value)
		}
	}
	leads(t, term)
	select {
	case l := <-told:
		t.Errorf("told %v, but nothing has changed", l)
	case <-next:
		t.Error("another contender leads")
	default:
	}
}

// TestSuspendedConnection: by Flink's default an interrupted connection ends leadership and what
// observers know.
func TestSuspendedConnection(t *testing.T) {
	c := newCluster(t, zkserver.Shared(t).Address())
	c.change = func(cfg *Config) { cfg.TolerateSuspended = false }
	a, b := c.process(), c.process()
	told, cut := c.observe(b, dispatcher), c.observe(a, dispatcher)
	term := c.lead(a, dispatcher)
	if err := term.Publish(c.context(), "tamias://a:1/dispatcher"); err != nil {
		t.Fatal(err)
	}
	await(t, told, "news of the leader")
	await(t, cut, "news of the leader")
	a.proxy.Cut()
	await(t, term.Lost(), "the end of the term")
	if l := await(t, cut, "news of the cut"); !l.IsEmpty() {
		t.Errorf("the process without connection was told %v, want no leader", l)
	}
	next := c.contend(b, dispatcher)
	a.proxy.Heal(t)
	second := await(t, next, "the next term") // the first one's nodes are deleted, not left to expire
	if err := second.Publish(c.context(), "tamias://b:1/dispatcher"); err != nil {
		t.Fatal(err)
	}
	for l := range told {
		if l.Token == second.Token() {
			break
		}
	}
	for l := range cut {
		if l.Token == second.Token() {
			break
		}
	}
}

// silentListener accepts connections and never answers.
func silentListener(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var all []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			all = append(all, c)
		}
		for _, c := range all {
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func TestQuorumWithABlackHole(t *testing.T) {
	server, hole := zkserver.Shared(t), silentListener(t)
	for _, tc := range []struct {
		name, quorum string
	}{
		{"one server is silent", hole + ", " + server.Address()},
		{"two servers are silent", hole + "," + silentListener(t) + "," + server.Address()},
		{"one name is wrong", "no-such-server.invalid:2181," + server.Address()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t, server.Address())
			c.change = func(cfg *Config) { cfg.Quorum, cfg.SessionTimeout = tc.quorum, 4*time.Second }
			c.put(c.lead(c.process(), dispatcher), "jobgraphs/a", "1")
		})
	}
}

func TestNoServer(t *testing.T) {
	c := newCluster(t, "")
	c.change = func(cfg *Config) { cfg.Quorum, cfg.ConnectionTimeout = silentListener(t), 200*time.Millisecond }
	a := c.process()
	if _, err := a.Read(t.Context(), "jobgraphs/a"); !errors.Is(err, haservices.ErrUnavailable) {
		t.Errorf("Read without a server = %v, want ErrUnavailable", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Campaign(ctx, dispatcher, a.me); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Campaign without a server = %v, want the context's error", err)
	}
}

// TestServerMoves: a name of the quorum gets another address, as in Kubernetes when a pod moves.
func TestServerMoves(t *testing.T) {
	moved := false
	h := &hosts{log: logger(t), stopped: func() bool { return false }, lookUp: func(_ context.Context, host string) ([]string, error) {
		switch {
		case host == "unknown":
			return nil, errors.New("no such host")
		case moved:
			return []string{"10.0.0.2"}, nil
		}
		return []string{"10.0.0.1"}, nil
	}}
	if err := h.Init([]string{"unknown:2181", "zk-0:2181"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"10.0.0.1:2181", "10.0.0.2:2181"} {
		if got, _ := h.Next(); got != want {
			t.Errorf("Next = %s, want %s", got, want)
		}
		moved = true
	}
	h.lookUp = func(context.Context, string) ([]string, error) { return nil, errors.New("no network") }
	if got, over := h.Next(); !strings.HasSuffix(got, ":2181") || over {
		t.Errorf("Next without name service = %s, %v, want one of the names", got, over)
	}
}

// TestWrongNameDoesNotFillTheLog: what fails for hours is told again and again, but more and more seldom.
func TestWrongNameDoesNotFillTheLog(t *testing.T) {
	core, lines := observer.New(zap.WarnLevel)
	known := false
	h := &hosts{log: zap.New(core), stopped: func() bool { return false }, lookUp: func(context.Context, string) ([]string, error) {
		if known {
			return []string{"10.0.0.1"}, nil
		}
		return nil, errors.New("no such host")
	}}
	if err := h.Init([]string{"unknown:2181"}); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		h.Next()
	}
	if n := lines.Len(); n != 10 { // 1, 2, 4, ... 512
		t.Errorf("%d lines about 1000 failures, want 10", n)
	}
	for _, known = range []bool{true, false} {
		h.Next()
	}
	if n := lines.Len(); n != 11 {
		t.Errorf("%d lines after the next failure, want 11", n)
	}
}

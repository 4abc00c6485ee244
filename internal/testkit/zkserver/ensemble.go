package zkserver

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// Ensemble is a quorum of servers.
type Ensemble struct {
	Servers []*Server
}

// StartEnsemble runs n servers that form a quorum until the end of the test, and returns when all of them
// serve.
func StartEnsemble(t testing.TB, n int) *Ensemble {
	t.Helper()
	e := &Ensemble{}
	dir := t.TempDir()
	var peers strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&peers, "server.%d=127.0.0.1:%d:%d\n", i, freePort(t), freePort(t))
		e.Servers = append(e.Servers, &Server{
			name: fmt.Sprintf("zookeeper %d", i), dir: filepath.Join(dir, fmt.Sprint(i)), port: freePort(t), id: i,
		})
	}
	for _, s := range e.Servers {
		s.peers = peers.String()
		t.Cleanup(s.Kill)
	}
	e.Start(t)
	return e
}

// Start runs all servers, none of which runs, and returns when all of them serve. Alone none would.
func (e *Ensemble) Start(t testing.TB) {
	t.Helper()
	for _, s := range e.Servers {
		s.launch(t)
	}
	for _, s := range e.Servers {
		s.await(t)
	}
}

// Kill ends all servers with SIGKILL.
func (e *Ensemble) Kill() {
	for _, s := range e.Servers {
		s.Kill()
	}
}

// Addresses are the host:port of all servers.
func (e *Ensemble) Addresses() []string {
	var all []string
	for _, s := range e.Servers {
		all = append(all, s.Address())
	}
	return all
}

// Quorum is the value of high-availability.zookeeper.quorum.
func (e *Ensemble) Quorum() string { return strings.Join(e.Addresses(), ",") }

// Leader is the server that leads the quorum, nil if there is none.
func (e *Ensemble) Leader() *Server {
	for _, s := range e.Servers {
		if s.Mode() == "leader" {
			return s
		}
	}
	return nil
}

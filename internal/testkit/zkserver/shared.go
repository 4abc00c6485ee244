package zkserver

import (
	"os"
	"sync"
	"testing"
)

var (
	shared     *Server
	sharedOnce sync.Once
)

// Run runs the tests of a package and then ends the server that Shared started:
//
//	func TestMain(m *testing.M) { os.Exit(zkserver.Run(m)) }
func Run(m *testing.M) int {
	defer func() {
		if shared != nil {
			shared.Kill()
			os.RemoveAll(shared.dir)
		}
	}()
	return m.Run()
}

// Shared returns one server for all tests of a package, which saves the start-up time. The package's
// TestMain must call Run. A test that freezes or stops a server starts its own; tests that share one keep
// apart by the root path of their nodes.
func Shared(t testing.TB) *Server {
	t.Helper()
	requireZooKeeper(t)
	sharedOnce.Do(func() {
		dir, err := os.MkdirTemp("", "zkserver-")
		if err != nil {
			t.Fatal(err)
		}
		s := &Server{name: "zookeeper", dir: dir, port: freePort(t)}
		shared = s
		s.Start(t)
	})
	if shared.Mode() == "" {
		t.Fatalf("the shared ZooKeeper server does not answer:\n%s", shared.log())
	}
	return shared
}

package drill

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/tamias-project/tamias/internal/localcluster"
)

// liveServer is a ZooKeeper server that scripts/zookeeper.sh has started.
type liveServer struct {
	*liveProcess
	script  string
	peer    string // its number
	address string // for clients
}

// newLiveServer reads the configuration that the script has made for the server, its last argument.
func newLiveServer(p *liveProcess, scripts string) (*liveServer, error) {
	conf := p.args[len(p.args)-1]
	properties, err := readProperties(conf)
	if err != nil {
		return nil, fmt.Errorf("configuration of the ZooKeeper server with pid %d: %w", p.pid, err)
	}
	peer, err := os.ReadFile(filepath.Join(properties["dataDir"], "myid"))
	if err != nil {
		return nil, fmt.Errorf("number of the ZooKeeper server with pid %d: %w", p.pid, err)
	}
	return &liveServer{
		liveProcess: p, script: filepath.Join(scripts, "zookeeper.sh"), peer: strings.TrimSpace(string(peer)),
		address: net.JoinHostPort(cmp.Or(properties["clientPortAddress"], "127.0.0.1"), properties["clientPort"]),
	}, nil
}

// readProperties reads lines key=value.
func readProperties(file string) (map[string]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	properties := map[string]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok {
			properties[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return properties, lines.Err()
}

// Start starts the server again, once it has ended.
func (s *liveServer) Start() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	s.WaitContext(ctx)
	env := os.Environ()
	for _, v := range s.env {
		if strings.HasPrefix(v, "TAMIAS_") || strings.HasPrefix(v, "JAVA_HOME=") {
			env = append(env, v)
		}
	}
	return runScript(ctx, s.script, env, "start", s.peer)
}

// Await returns when the server is in the quorum. To stop the next one before would be to stop a majority: ZooKeeper
// serves nobody then, and of a build with the fault ZOOKEEPER-4643 it can lose writes that it has acknowledged.
func (s *liveServer) Await(ctx context.Context) error {
	return poll(ctx, func() (bool, error) { return localcluster.ZooKeeperMode(s.address) != "", nil })
}

package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"
	"golang.org/x/sync/errgroup"
)

const (
	zooKeeperMain = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
	// debianZooKeeper names its dependencies in its manifest, apart from one that writes the log.
	debianZooKeeper = "/usr/share/java/zookeeper.jar"
	debianLog       = "/usr/share/java/slf4j-simple.jar"
)

// ErrNoZooKeeper: there is no ZooKeeper, or no Java, on this machine. The text says how to install them.
var ErrNoZooKeeper = errors.New("no ZooKeeper to run")

// ZooKeeper is an ensemble of servers on this machine, children of this process.
type ZooKeeper struct {
	Servers []*ZooKeeperServer
}

// ZooKeeperServer is one server: a JVM of about 70 MB. Started again, it has its old data and ports.
type ZooKeeperServer struct {
	*Process // the present one, or the last
	number   int
	dir      string
	port     string
	command  []string
}

// StartZooKeeper starts n servers that form an ensemble, with their data in dir, and does not wait until they
// serve. On an error nothing is left running. Session timeouts are between 1 s and 60 s.
func StartZooKeeper(dir string, n int) (*ZooKeeper, error) {
	command, err := findZooKeeper()
	if err != nil {
		return nil, err
	}
	ports, err := FreePorts(3 * n)
	if err != nil {
		return nil, err
	}
	var peers strings.Builder
	z := &ZooKeeper{}
	for i := range n {
		fmt.Fprintf(&peers, "server.%d=127.0.0.1:%s:%s\n", i+1, ports[n+2*i], ports[n+2*i+1])
		z.Servers = append(z.Servers, &ZooKeeperServer{
			number: i + 1, dir: filepath.Join(dir, fmt.Sprintf("zookeeper-%d", i+1)), port: ports[i], command: command,
		})
	}
	for _, s := range z.Servers {
		err := s.configure(peers.String())
		if err == nil {
			err = s.Start()
		}
		if err != nil {
			z.Stop()
			return nil, fmt.Errorf("start ZooKeeper server %d: %w", s.number, err)
		}
	}
	return z, nil
}

// findZooKeeper is the beginning of a server's command line.
func findZooKeeper() ([]string, error) {
	const install = "run scripts/install-zookeeper.sh, or set JAVA_HOME and TAMIAS_ZOOKEEPER_CLASSPATH"
	java := "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		java = filepath.Join(home, "bin", "java")
	}
	if _, err := exec.LookPath(java); err != nil {
		return nil, fmt.Errorf("%w: %s is missing: %s", ErrNoZooKeeper, java, install)
	}
	classpath := os.Getenv("TAMIAS_ZOOKEEPER_CLASSPATH")
	if classpath == "" {
		if _, err := os.Stat(debianZooKeeper); err != nil {
			return nil, fmt.Errorf("%w: %s is missing: %s", ErrNoZooKeeper, debianZooKeeper, install)
		}
		classpath = debianZooKeeper + ":" + debianLog
	}
	return []string{java,
		"-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
		"-Dzookeeper.admin.enableServer=false", "-Dzookeeper.jmx.log4j.disable=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", classpath, zooKeeperMain}, nil
}

func (s *ZooKeeperServer) configure(peers string) error {
	data := filepath.Join(s.dir, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return err
	}
	cfg := fmt.Sprintf("dataDir=%s\nclientPort=%s\nclientPortAddress=127.0.0.1\ntickTime=500\ninitLimit=20\nsyncLimit=10\n"+
		"maxClientCnxns=0\nmaxSessionTimeout=60000\npreAllocSize=4096\n4lw.commands.whitelist=srvr\n%s", data, s.port, peers)
	if err := os.WriteFile(filepath.Join(data, "myid"), fmt.Appendln(nil, s.number), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, "zoo.cfg"), []byte(cfg), 0o644)
}

// Address is host:port for clients. It stays the same over restarts.
func (s *ZooKeeperServer) Address() string { return net.JoinHostPort("127.0.0.1", s.port) }

// Start starts the server. Of one that has been killed it waits for the end first.
func (s *ZooKeeperServer) Start() error {
	if s.Process != nil {
		<-s.Done()
	}
	p, err := startProcess(fmt.Sprintf("zookeeper %d", s.number), filepath.Join(s.dir, "server.log"), nil,
		s.command[0], append(s.command[1:len(s.command):len(s.command)], filepath.Join(s.dir, "zoo.cfg"))...)
	if err == nil {
		s.Process = p
	}
	return err
}

// Mode is leader or follower, and "" when the server serves nobody.
func (s *ZooKeeperServer) Mode() string { return ZooKeeperMode(s.Address()) }

// ZooKeeperMode is what the server at host:port is, leader, follower or standalone, and "" when it serves nobody.
func ZooKeeperMode(address string) string {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return ""
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(c, "srvr"); err != nil {
		return ""
	}
	answer, _ := io.ReadAll(c) // the part that came before a deadline is as good as none
	for line := range strings.Lines(string(answer)) {
		if mode, ok := strings.CutPrefix(line, "Mode: "); ok {
			return strings.TrimSpace(mode)
		}
	}
	return ""
}

// Addresses are host:port of all servers.
func (z *ZooKeeper) Addresses() []string {
	var all []string
	for _, s := range z.Servers {
		all = append(all, s.Address())
	}
	return all
}

// Quorum is the value of high-availability.zookeeper.quorum.
func (z *ZooKeeper) Quorum() string { return strings.Join(z.Addresses(), ",") }

// Await returns when every server that runs serves clients, with an error when one has ended or ctx has.
func (z *ZooKeeper) Await(ctx context.Context) error {
	for _, s := range z.Servers {
		if err := s.Await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Await returns when the server serves clients, with an error when it has ended or ctx has.
func (s *ZooKeeperServer) Await(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for s.Mode() == "" {
		select {
		case <-s.Done():
			return fmt.Errorf("%s ended before it served; its log is %s", s.Name, s.Log)
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve; its log is %s: %w", s.Name, s.Log, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// warmRequests is how many requests of each kind WarmUp makes at each server.
const warmRequests = 1000

// WarmUp makes requests until the servers' code is compiled: a JVM that has just started is several times
// slower than the one that a cluster has in daily life. It takes a few seconds and leaves nothing.
func (z *ZooKeeper) WarmUp(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range z.Servers {
		g.Go(func() error { return s.warmUp(ctx) })
	}
	return g.Wait()
}

func (s *ZooKeeperServer) warmUp(ctx context.Context) error {
	conn, _, err := zk.Connect([]string{s.Address()}, 30*time.Second, zk.WithLogger(silent{}))
	if err != nil {
		return err
	}
	defer conn.Close()
	node := fmt.Sprintf("/tamias-warm-up-%d", s.number)
	everyone := zk.WorldACL(zk.PermAll)
	for range warmRequests {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err = conn.Multi(
			&zk.CreateRequest{Path: node, Acl: everyone, Flags: zk.FlagEphemeral},
			&zk.SetDataRequest{Path: node, Data: []byte(node), Version: 0},
			&zk.CheckVersionRequest{Path: node, Version: 1},
		); err == nil {
			_, _, _, err = conn.GetW(node)
		}
		if err == nil {
			_, _, err = conn.Children("/")
		}
		if err == nil {
			err = conn.Delete(node, 1)
		}
		if err != nil {
			return fmt.Errorf("warm up %s: %w", s.Name, err)
		}
	}
	return nil
}

type silent struct{}

func (silent) Printf(string, ...any) {}

// Stop kills all servers and waits for their ends. What they stored is of no use any more.
func (z *ZooKeeper) Stop() {
	for _, s := range z.Servers {
		if s.Process != nil {
			s.Kill()
		}
	}
	for _, s := range z.Servers {
		if s.Process != nil {
			<-s.Done()
		}
	}
}

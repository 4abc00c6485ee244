// Package zkserver runs real ZooKeeper servers on loopback for tests, one or an ensemble, and puts a
// faulty network in front of them (Proxy). Servers can be frozen, killed and restarted with their data.
// Everything started here ends with the test that started it, also when the test binary is killed.
//
// It installs nothing. It looks for java (in JAVA_HOME, or on the PATH) and for the jars of the Debian package
// libzookeeper-java, or those that TAMIAS_ZOOKEEPER_CLASSPATH names. When there is no ZooKeeper the test
// fails and says how to install it; with -short it is skipped instead.
package zkserver

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	mainClass = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
	// debianJar names its dependencies in its manifest, apart from one that writes the log.
	debianJar = "/usr/share/java/zookeeper.jar"
	debianLog = "/usr/share/java/slf4j-simple.jar"
	// startTimeout bounds the wait for a server's first answer: 1-2 s on an idle machine.
	startTimeout = 90 * time.Second
	// commandTimeout is long for a server, and short enough for tests that wait for no answer.
	commandTimeout = 3 * time.Second
	// TickTime is the unit of all timeouts of the servers; they accept session timeouts from two ticks.
	TickTime = 250 * time.Millisecond
)

// Server is one ZooKeeper server: a JVM of about 70 MB.
type Server struct {
	name  string // in error messages
	dir   string
	port  int
	id    int // 1.. in an ensemble, else 0
	peers string

	mu      sync.Mutex // guards process
	process *process
}

// Start runs a single server until the end of the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{name: "zookeeper", dir: t.TempDir(), port: freePort(t)}
	t.Cleanup(s.Kill)
	s.Start(t)
	return s
}

// Address is the host:port for clients. It stays the same over restarts.
func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Start runs the server, on the data it left behind if it has run before, and returns when it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.launch(t)
	s.await(t)
}

func (s *Server) launch(t testing.TB) {
	t.Helper()
	java, classpath := requireZooKeeper(t)
	if err := s.configure(); err != nil {
		t.Fatalf("configure %s: %v", s.name, err)
	}
	p, err := startProcess(filepath.Join(s.dir, "server.log"), java,
		"-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
		"-Dzookeeper.admin.enableServer=false", "-Dzookeeper.jmx.log4j.disable=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-Dzookeeper.forceSync=no", // tests cut processes, not power
		"-cp", classpath, mainClass, filepath.Join(s.dir, "zoo.cfg"))
	if err != nil {
		t.Fatalf("start %s: %v", s.name, err)
	}
	s.mu.Lock()
	s.process = p
	s.mu.Unlock()
}

func (s *Server) configure() error {
	data := filepath.Join(s.dir, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return err
	}
	cfg := fmt.Sprintf("dataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\ntickTime=%d\ninitLimit=40\nsyncLimit=8\n"+
		"maxClientCnxns=0\nmaxSessionTimeout=60000\n4lw.commands.whitelist=*\n%s",
		data, s.port, TickTime.Milliseconds(), s.peers)
	if s.id > 0 {
		if err := os.WriteFile(filepath.Join(data, "myid"), fmt.Appendln(nil, s.id), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(s.dir, "zoo.cfg"), []byte(cfg), 0o644)
}

// await returns when the server serves clients.
func (s *Server) await(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	for s.Mode() == "" {
		select {
		case <-s.current().ended:
			t.Fatalf("%s ended while it started:\n%s", s.name, s.log())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s did not answer on %s within %s:\n%s", s.name, s.Address(), startTimeout, s.log())
		}
	}
}

// Mode is standalone, leader or follower, and "" when the server serves nobody.
func (s *Server) Mode() string {
	for line := range strings.Lines(s.Command("srvr")) {
		if mode, ok := strings.CutPrefix(line, "Mode: "); ok {
			return strings.TrimSpace(mode)
		}
	}
	return ""
}

// Command sends one of ZooKeeper's four-letter commands (srvr, cons, wchs, dump) and returns the answer,
// "" when there is none within commandTimeout.
func (s *Server) Command(word string) string {
	c, err := net.DialTimeout("tcp", s.Address(), commandTimeout)
	if err != nil {
		return ""
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(commandTimeout))
	if _, err := io.WriteString(c, word); err != nil {
		return ""
	}
	answer, _ := io.ReadAll(c) // the part that came before a deadline is as good as none
	return string(answer)
}

func (s *Server) log() []byte {
	b, _ := os.ReadFile(filepath.Join(s.dir, "server.log"))
	if i := bytes.LastIndexByte(b[:max(0, len(b)-4000)], '\n'); i > 0 {
		return b[i+1:]
	}
	return b
}

func (s *Server) current() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// PID is the process ID of the JVM.
func (s *Server) PID() int { return s.current().cmd.Process.Pid }

// Stop ends the server as an administrator would (SIGTERM) and waits for its end.
func (s *Server) Stop() { s.current().end(syscall.SIGTERM) }

// Kill ends the server with SIGKILL and waits for its end. Killing a server that does not run is harmless.
func (s *Server) Kill() {
	if p := s.current(); p != nil {
		p.end(syscall.SIGKILL)
	}
}

// Freeze stops the server with SIGSTOP, and waits until no thread runs any more: its port still accepts
// connections, nothing answers.
func (s *Server) Freeze() {
	s.current().cmd.Process.Signal(syscall.SIGSTOP)
	for s.running() {
		runtime.Gosched()
	}
}

// running reports whether a thread of the server is neither stopped nor gone.
func (s *Server) running() bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.PID()))
	return slices.ContainsFunc(threads, func(path string) bool {
		stat, _ := os.ReadFile(path)
		_, state, named := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
		return named && !bytes.ContainsAny(state[:1], "TtZX")
	})
}

// Thaw lets a frozen server go on.
func (s *Server) Thaw() { s.current().cmd.Process.Signal(syscall.SIGCONT) }

// requireZooKeeper returns the java to use and the class path of ZooKeeper, or ends the test.
func requireZooKeeper(t testing.TB) (java, classpath string) {
	t.Helper()
	missing := func(what string) {
		t.Helper()
		if testing.Short() {
			t.Skipf("%s is missing", what)
		}
		t.Fatalf("%s is missing. Install ZooKeeper: run scripts/install-zookeeper.sh, or on Debian and Ubuntu\n"+
			"\tapt-get install -y --no-install-recommends libzookeeper-java default-jre-headless\n"+
			"or set TAMIAS_ZOOKEEPER_CLASSPATH to the jars of a ZooKeeper 3.5 or newer and put java on the PATH.", what)
	}
	java = "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		java = filepath.Join(home, "bin", "java")
	}
	if _, err := exec.LookPath(java); err != nil {
		missing(java)
	}
	if classpath = os.Getenv("TAMIAS_ZOOKEEPER_CLASSPATH"); classpath != "" {
		return java, classpath
	}
	if _, err := os.Stat(debianJar); err != nil {
		missing(debianJar)
	}
	return java, debianJar + ":" + debianLog
}

// freePort returns a port below the range from which the kernel takes ports for outgoing connections, so
// that nobody takes it between now and the start of the server, or while the server is down.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 15000 + rand.IntN(17000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port found in 15000-32000")
	return 0
}

package scripts_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestZooKeeperQuorumOnOneMachine(t *testing.T) {
	h := newHome(t, "")
	h.write("conf/zoo.cfg", `# comment
tickTime=1000
clientPort = 2181
clientPortAddress=127.0.0.1
dataDir=data
server.1=localhost:2888:3888
server.2=localhost:2889:3889
server.3=localhost:2890:3890;127.0.0.2:4000
server.x=nowhere
`, 0o644)
	const start = "Starting zookeeper daemon on host HOST.\n"
	h.expect(0, "[WARN] Parse error. Skipping config entry 'server.x=nowhere'.\n"+
		start+"[INFO] 1 instance(s) of zookeeper are already running on HOST.\n"+start+"[INFO] 2 instance(s) of zookeeper are already running on HOST.\n"+start, "start-zookeeper-quorum.sh")
	for server, want := range map[string]string{"1": "clientPort=2181\nclientPortAddress=127.0.0.1", "2": "clientPort=2182\nclientPortAddress=127.0.0.1",
		"3": "clientPort=4000\nclientPortAddress=127.0.0.2"} {
		want = fmt.Sprintf(`# Made by zookeeper.sh from %[1]s/conf/zoo.cfg at each start.
tickTime=1000
server.1=localhost:2888:3888
server.2=localhost:2889:3889
server.3=localhost:2890:3890
dataDir=%[1]s/data/%[2]s
%[3]s
`, h.dir, server, want)
		if got := h.read("data/" + server + "/zoo.cfg"); got != want {
			t.Errorf("configuration of server %s\n%s\nwant\n%s", server, got, want)
		}
		if got := h.read("data/" + server + "/myid"); got != server+"\n" {
			t.Errorf("myid %q, want %s", got, server)
		}
	}
	await(t, "the third server", func() bool {
		return strings.Contains(h.log("zookeeper", 2, ".out"), "org.apache.zookeeper.server.quorum.QuorumPeerMain "+h.dir+"/data/3/zoo.cfg")
	})
	pids := h.pids("zookeeper")
	out, code := h.run("stop-zookeeper-quorum.sh")
	if code != 0 || strings.Count(out, "Stopping zookeeper daemon") != 3 || slices.ContainsFunc(pids, running) {
		t.Errorf("stop: exit code %d, output\n%s", code, out)
	}
}

func TestZooKeeperWithoutOurPrograms(t *testing.T) {
	h := newHome(t, "")
	h.remove("bin/jobmanager")
	h.write("conf/zoo.cfg", "dataDir=data\nserver.7=localhost:2888:3888\n", 0o644)
	h.expect(0, "Starting zookeeper daemon on host HOST.", "zookeeper.sh", "start", "7")
	if got := h.read("data/zoo.cfg"); !strings.Contains(got, "clientPort=2181\n") {
		t.Errorf("configuration\n%s", got)
	}
	if out, code := h.run("zookeeper.sh", "stop-all"); code != 0 || !strings.HasPrefix(out, "Stopping zookeeper") {
		t.Errorf("stop: exit code %d\n%s", code, out)
	}
}

// TestRealZooKeeper: three servers from Debian's package find each other.
func TestRealZooKeeper(t *testing.T) {
	h := newHome(t, "")
	h.env = slices.DeleteFunc(h.env, func(s string) bool {
		return strings.HasPrefix(s, "JAVA_HOME=") || strings.HasPrefix(s, "TAMIAS_ZOOKEEPER_CLASSPATH=")
	})
	check := exec.Command("bash", "-c", ". ./tamias-config.sh && default_configuration && find_zookeeper")
	check.Env = h.env
	if out, err := check.CombinedOutput(); err != nil {
		t.Fatalf("ZooKeeper or Java is missing; make deps installs both: %s", out)
	}
	ports := freePorts(t, 9)
	conf := "tickTime=200\ninitLimit=20\nsyncLimit=10\ndataDir=data\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n4lw.commands.whitelist=srvr\n"
	for i := range 3 {
		conf += fmt.Sprintf("server.%d=127.0.0.1:%d:%d;%d\n", i+1, ports[3*i], ports[3*i+1], ports[3*i+2])
	}
	h.write("conf/zoo.cfg", conf, 0o644)
	if out, code := h.run("start-zookeeper-quorum.sh"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	await(t, "one leader and two followers", func() bool {
		modes := ""
		for i := range 3 {
			modes += mode(ports[3*i+2])
		}
		return strings.Count(modes, "leader") == 1 && strings.Count(modes, "follower") == 2
	})
	pids := h.pids("zookeeper")
	if out, code := h.run("stop-zookeeper-quorum.sh"); code != 0 || slices.ContainsFunc(pids, running) {
		t.Errorf("stop: exit code %d, output\n%s", code, out)
	}
}

func freePorts(t *testing.T, n int) []int {
	t.Helper()
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all at once, so that they differ
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports
}

// mode asks a ZooKeeper server what it is in its quorum.
func mode(port int) string {
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second)) // a failure shows in what follows
	if _, err := io.WriteString(c, "srvr"); err != nil {
		return ""
	}
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if m, ok := strings.CutPrefix(lines.Text(), "Mode: "); ok {
			return m
		}
	}
	return ""
}

package zkserver

import (
	"os/exec"
	"testing"
)

// CLI runs one command of ZooKeeper's own command line (what zkCli.sh runs) and returns its output. It
// takes about a second.
func (s *Server) CLI(t testing.TB, command ...string) string {
	t.Helper()
	java, classpath := requireZooKeeper(t)
	args := append([]string{"-Xmx64m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
		"-cp", classpath,
		"org.apache.zookeeper.ZooKeeperMain", "-server", s.Address()}, command...)
	out, err := exec.CommandContext(t.Context(), java, args...).CombinedOutput()
	if err != nil {
		t.Errorf("zkCli %q: %v\n%s", command, err, out)
	}
	return string(out)
}

package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// liveTarget is a cluster that runs already, on this machine. Its leaders are found through the HA services, its
// other JobManagers in the latches of ZooKeeper or in the pid files of the scripts, which also start again
// what was killed.
type liveTarget struct {
	ha      string
	conf    string // directory of the configuration, absolute
	dir     string
	scripts string
	pids    string // directory of the pid files
	ident   string // part of their names
	host    string // this machine's name
	client  *client
	// masters is how many JobManagers there were at the beginning.
	masters int
	// ended are those that were started again.
	ended []endedDaemon
}

// openLive finds the JobManagers of a live cluster.
func openLive(ctx context.Context, o Options, c *client, dir string) (*liveTarget, error) {
	conf, err := filepath.Abs(o.ConfigDir)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	t := &liveTarget{
		ha: string(config.HAType.In(o.Config)), conf: conf, dir: dir, host: host, client: c,
		scripts: filepath.Join(filepath.Dir(o.Bin), "scripts"),
		pids:    cmp.Or(os.Getenv("TAMIAS_PID_DIR"), os.Getenv("FLINK_PID_DIR"), config.PIDDir.In(o.Config)),
		ident:   identString(),
	}
	if _, err := c.dispatcher.await(ctx, 0); err != nil && t.ha != string(config.HANone) {
		return nil, fmt.Errorf("no Dispatcher leads: %w", err)
	}
	all, err := t.jobManagers(ctx)
	if err != nil {
		return nil, err
	}
	if len(all) > 0 {
		// The scripts that have started it may have had another environment than this command.
		known := all[0].(*liveProcess)
		t.pids, t.ident = cmp.Or(known.variable("TAMIAS_PID_DIR"), t.pids), cmp.Or(known.variable("TAMIAS_IDENT_STRING"), t.ident)
		if all, err = t.jobManagers(ctx); err != nil {
			return nil, err
		}
	}
	t.masters = len(all)
	if t.masters == 0 {
		return nil, fmt.Errorf("no JobManager of %s was found on this machine, neither through the HA services nor in %s", t.conf, t.pidFile("standalonesession"))
	}
	return t, nil
}

func (t *liveTarget) describe() string {
	return fmt.Sprintf("%d JobManagers (high-availability.type: %s)", t.masters, t.ha)
}

func (t *liveTarget) configDir() string { return t.conf }

func (t *liveTarget) workDir() string { return t.dir }

// jobManager refuses a leader on another machine.
func (t *liveTarget) jobManager(ctx context.Context, leader haservices.LeaderInformation) (process, error) {
	a, err := rpc.ParseAddress(leader.Address)
	if err != nil {
		return nil, err
	}
	how, err := t.client.services.Succession(ctx, haservices.Component{Kind: haservices.Dispatcher})
	if err != nil {
		return nil, fmt.Errorf("who leads: %w", err)
	}
	if how.Leader.Address != a.HostPort {
		return nil, fmt.Errorf("the leader changes: %s was published, %s has won", a.HostPort, how.Leader.Address)
	}
	return t.contender(how.Leader)
}

// contender is the process of a JobManager that contends.
func (t *liveTarget) contender(c haservices.Contender) (*liveProcess, error) {
	if c.Host != t.host {
		return nil, fmt.Errorf("the JobManager at %s runs on %s with pid %d, and this machine is %s: a drill signals processes of its own machine only",
			c.Address, c.Host, c.PID, t.host)
	}
	p, err := openProcess(c.PID, "jobmanager")
	if err != nil {
		return nil, fmt.Errorf("the JobManager at %s has pid %d: %w", c.Address, c.PID, err)
	}
	return p, nil
}

// jobManagers are those that contend in ZooKeeper; of other backends only the leader is known, and the pid files.
func (t *liveTarget) jobManagers(ctx context.Context) (list []process, err error) {
	found := map[int]process{}
	contenders, err := t.contenders(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range contenders {
		p, err := t.contender(c)
		switch {
		case err == nil:
			found[p.pid] = p
		case c.Host != t.host:
			return nil, err
		} // else it has ended, and its node not yet
	}
	if t.ha != string(config.HAZooKeeper) {
		for _, p := range t.fromPIDFile("standalonesession", "jobmanager") {
			if sameDirectory(option(p.args, "--configDir"), t.conf) {
				found[p.pid] = p
			}
		}
	}
	for _, p := range found {
		list = append(list, p)
	}
	return list, nil
}

// contenders are the JobManagers that the HA services know of.
func (t *liveTarget) contenders(ctx context.Context) (list []haservices.Contender, err error) {
	if t.ha == string(config.HAZooKeeper) {
		return t.client.contenders(ctx, "dispatcher_lock")
	}
	for _, kind := range []haservices.Kind{haservices.Dispatcher, haservices.ResourceManager, haservices.RestServer} {
		how, err := t.client.services.Succession(ctx, haservices.Component{Kind: kind})
		switch {
		case err == nil && how.Leader.PID != 0:
			list = append(list, how.Leader)
		case err != nil && !errors.Is(err, haservices.ErrNotFound):
			return nil, err
		}
	}
	return list, nil
}

func (t *liveTarget) addresses(ctx context.Context) (list []string) {
	contenders, err := t.contenders(ctx)
	if err != nil {
		return nil
	}
	seen := map[string]bool{}
	for _, c := range contenders {
		if !seen[c.Address] {
			seen[c.Address] = true
			list = append(list, c.Address)
		}
	}
	return list
}

// taskManager asks the process at the TaskManager's address who it is.
func (t *liveTarget) taskManager(ctx context.Context, info protocol.TaskManagerInfo) (process, error) {
	a, err := rpc.ParseAddress(info.Address)
	if err != nil {
		return nil, err
	}
	if !isLocal(a.HostPort) {
		return nil, fmt.Errorf("TaskManager %s is at %s, not on this machine (%s): a drill signals processes of its own machine only", info.ID, a.HostPort, t.host)
	}
	s, err := t.client.describeProcess(ctx, a.HostPort)
	if err != nil {
		return nil, fmt.Errorf("TaskManager %s: %w", info.ID, err)
	}
	return openProcess(s.PID, "taskmanager")
}

func (t *liveTarget) replaceJobManager(ctx context.Context, gone process) error {
	return t.startAgain(ctx, "jobmanager.sh", "standalonesession", gone)
}

func (t *liveTarget) replaceTaskManager(ctx context.Context, gone process) error {
	return t.startAgain(ctx, "taskmanager.sh", "taskexecutor", gone)
}

// startAgain starts a daemon as the one was that has gone, with the script.
func (t *liveTarget) startAgain(ctx context.Context, script, daemon string, gone process) error {
	p, ok := gone.(*liveProcess)
	if !ok {
		return errUnsupported
	}
	args := []string{"start"}
	env := append(os.Environ(), "TAMIAS_CONF_DIR="+cmp.Or(option(p.args, "--configDir"), t.conf), "TAMIAS_BIN_DIR="+filepath.Dir(p.args[0]))
	for _, kv := range properties(p.args) {
		if dir, ok := strings.CutPrefix(kv, "env.log.dir="); ok { // from the script itself
			env = append(env, "TAMIAS_LOG_DIR="+dir)
			continue
		}
		args = append(args, "-D", kv)
	}
	for _, name := range []string{"TAMIAS_PID_DIR", "TAMIAS_IDENT_STRING", "MAX_LOG_FILE_NUMBER", "STD_REDIRECT_TO_FILE"} {
		if v := p.variable(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	t.ended = append(t.ended, endedDaemon{p, daemon})
	return runScript(ctx, filepath.Join(t.scriptsOf(p), script), env, args...)
}

// scriptsOf is the directory of the scripts that have started a process.
func (t *liveTarget) scriptsOf(p *liveProcess) string {
	if home := p.variable("TAMIAS_HOME"); home != "" {
		return filepath.Join(home, "scripts")
	}
	return t.scripts
}

func (t *liveTarget) close(context.Context) error { return t.forgetEnded() }

func runScript(ctx context.Context, script string, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, script, args...)
	cmd.Env = env
	// Its output goes to a file: a pipe would stay open as long as the daemon.
	out, err := os.CreateTemp("", "tamias-drill-script-")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s %s: %w\n%s", script, strings.Join(args, " "), err, text)
	}
	return nil
}

func (t *liveTarget) serving(ctx context.Context) (bool, error) {
	all, err := t.jobManagers(ctx)
	return err == nil && len(all) >= t.masters, nil
}

func (t *liveTarget) canCut(string) bool { return false }

func (t *liveTarget) cut(string, process) error { return errUnsupported }

func (t *liveTarget) uncut() {}

// zooKeeper are the servers that scripts/zookeeper.sh has started on this machine.
func (t *liveTarget) zooKeeper() (list []zooKeeperServer, err error) {
	for _, p := range t.fromPIDFile("zookeeper", "org.apache.zookeeper.server.quorum.QuorumPeerMain") {
		s, err := newLiveServer(p, t.scriptsOf(p))
		if err != nil {
			return nil, err
		}
		list = append(list, s)
		t.ended = append(t.ended, endedDaemon{p, "zookeeper"}) // if it will be
	}
	if t.ha != string(config.HAZooKeeper) || len(list) == 0 {
		return nil, fmt.Errorf("%w: no ZooKeeper server that scripts/zookeeper.sh has started is in %s; --local --ha zookeeper has servers of its own",
			errUnsupported, t.pidFile("zookeeper"))
	}
	return list, nil
}

func (t *liveTarget) pidFile(daemon string) string { return pidFile(t.pids, t.ident, daemon) }

func pidFile(dir, ident, daemon string) string {
	return filepath.Join(dir, "tamias-"+ident+"-"+daemon+".pid")
}

// identString is part of the names of pid files.
func identString() string {
	ident := cmp.Or(os.Getenv("TAMIAS_IDENT_STRING"), os.Getenv("FLINK_IDENT_STRING"), os.Getenv("USER"))
	if ident == "" {
		if u, err := user.Current(); err == nil {
			ident = u.Username
		}
	}
	return ident
}

// fromPIDFile are the live processes in a pid file, a number on each line.
func (t *liveTarget) fromPIDFile(daemon, program string) (list []*liveProcess) {
	data, err := os.ReadFile(t.pidFile(daemon))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(data)) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			continue
		}
		if p, err := openProcess(pid, program); err == nil {
			list = append(list, p)
		}
	}
	return list
}

// isLocal says whether host:port is an address of this machine.
func isLocal(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return false
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, ip := range ips {
		if ip.IsLoopback() {
			return true
		}
		for _, a := range own {
			if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip) {
				return true
			}
		}
	}
	return false
}

func sameDirectory(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

package drill

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/tamias-project/tamias/internal/localcluster"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/protocol"
)

const (
	// slots of each TaskManager of a cluster of the drill's own.
	slots = 2
	// zooKeeperServers of such a cluster.
	zooKeeperServers = 3
	// cutSessionTimeout is high-availability.zookeeper.client.session-timeout where links are cut: it is how long
	// a leader leads that is cut off. Kills never wait for it.
	cutSessionTimeout = "4 s"
)

// localTarget is a cluster that the drill has started.
type localTarget struct {
	ha      string
	dir     string
	cluster *localcluster.Cluster
	servers *localcluster.ZooKeeper // nil unless they are the drill's own
	cuts    *links                  // nil unless links can be cut
	// replaced are processes that the drill has ended, and started others in their place.
	replaced map[process]bool

	stop    context.CancelFunc
	ctx     context.Context // ends with close
	closers sync.WaitGroup
}

// startLocal starts a cluster in dir. On an error nothing is left running.
func startLocal(ctx context.Context, o Options, s Scenario, dir string) (_ *localTarget, err error) {
	t := &localTarget{ha: o.HA, dir: dir, replaced: map[process]bool{}}
	t.ctx, t.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close(context.WithoutCancel(ctx)))
		}
	}()
	settings := map[string]string{"high-availability.zookeeper.quorum": o.Quorum}
	var servers []string
	if o.HA == "zookeeper" && o.Quorum != "" {
		servers = strings.Split(o.Quorum, ",")
	}
	if o.HA == "zookeeper" && o.Quorum == "" {
		if t.servers, err = localcluster.StartZooKeeper(dir, zooKeeperServers); err != nil {
			return nil, err
		}
		if err = t.servers.Await(ctx); err != nil {
			return nil, err
		}
		if err = t.servers.WarmUp(ctx); err != nil {
			return nil, err
		}
		settings["high-availability.zookeeper.quorum"] = t.servers.Quorum()
		servers = t.servers.Addresses()
	}
	cfg := localcluster.Config{
		Bin: o.Bin, Dir: dir, HA: o.HA, JobManagers: o.JobManagers, TaskManagers: o.TaskManagers, Slots: slots, Settings: settings,
	}
	if s.cuts {
		t.cuts = newLinks(servers, s.Name == partition)
		cfg.Arguments, cfg.JobManagerHost = t.cuts.arguments, t.cuts.host
		settings["high-availability.zookeeper.client.session-timeout"] = cutSessionTimeout
	}
	maps.Copy(settings, o.Settings)
	if t.cluster, err = localcluster.Start(cfg); err != nil {
		return nil, err
	}
	for _, p := range t.cluster.JobManagers {
		t.watch(p)
	}
	for _, p := range t.cluster.TaskManagers {
		t.watch(p)
	}
	return t, nil
}

// watch closes the relays of a process with it.
func (t *localTarget) watch(p *localcluster.Process) {
	if t.cuts != nil {
		t.closers.Go(func() { t.cuts.closeWith(t.ctx, p, p.Name, p.RPCAddress) })
	}
}

func (t *localTarget) describe() string {
	s := fmt.Sprintf("%d JobManagers and %d TaskManagers (high-availability.type: %s)", len(t.cluster.JobManagers), len(t.cluster.TaskManagers), t.ha)
	if t.servers != nil {
		s += fmt.Sprintf(" and %d ZooKeeper servers", len(t.servers.Servers))
	}
	return s
}

func (t *localTarget) configDir() string { return t.cluster.ConfigDir() }

func (t *localTarget) workDir() string { return t.dir }

func (t *localTarget) jobManager(_ context.Context, leader haservices.LeaderInformation) (process, error) {
	if p := t.cluster.JobManagerAt(leader.Address); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("the leader %q is none of the JobManagers of this cluster", leader.Address)
}

func (t *localTarget) jobManagers(context.Context) (list []process, _ error) {
	for _, p := range t.cluster.JobManagers {
		if p.Alive() {
			list = append(list, p)
		}
	}
	return list, nil
}

func (t *localTarget) addresses(context.Context) (list []string) {
	for _, p := range t.cluster.JobManagers {
		if p.Alive() {
			list = append(list, p.RPCAddress)
		}
	}
	return list
}

func (t *localTarget) taskManager(_ context.Context, info protocol.TaskManagerInfo) (process, error) {
	if p := t.cluster.TaskManager(info.ID); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("%s is none of the TaskManagers of this cluster", info.ID)
}

func (t *localTarget) replaceJobManager(_ context.Context, gone process) error {
	return t.replace(gone, t.cluster.StartJobManager)
}

func (t *localTarget) replaceTaskManager(_ context.Context, gone process) error {
	return t.replace(gone, t.cluster.StartTaskManager)
}

func (t *localTarget) replace(gone process, start func() (*localcluster.Process, error)) error {
	p, err := start()
	if err == nil {
		t.replaced[gone] = true
		t.watch(p)
	}
	return err
}

func (t *localTarget) serving(context.Context) (bool, error) {
	for _, p := range slices.Concat(t.cluster.JobManagers, t.cluster.TaskManagers) {
		if !p.Alive() && !t.replaced[p] {
			return false, fmt.Errorf("%s ended by itself: %v; its log is %s", p.Name, p.Err(), p.Log)
		}
	}
	for _, p := range t.cluster.JobManagers {
		if p.Alive() && !t.cluster.Serving(p) {
			return false, nil
		}
	}
	return true, nil
}

func (t *localTarget) zooKeeper() (list []zooKeeperServer, err error) {
	if t.servers == nil {
		return nil, fmt.Errorf("%w: only ZooKeeper servers of the drill's own can be stopped: use --local --ha zookeeper without --quorum", errUnsupported)
	}
	for _, s := range t.servers.Servers {
		list = append(list, s)
	}
	return list, nil
}

// canCut: a relay in front of each JobManager makes refused connections slower, so it is there only for the
// scenario that needs it.
func (t *localTarget) canCut(links string) bool {
	return t.cuts != nil && (t.cuts.inbound || strings.HasSuffix(links, "-zookeeper"))
}

func (t *localTarget) cut(links string, leader process) error {
	master, ok := leader.(*localcluster.Process)
	if !ok || t.cuts == nil {
		return errUnsupported
	}
	var masters, taskManagers []int
	for _, p := range t.cluster.JobManagers {
		switch {
		case !p.Alive():
		case p == master:
			if links == cutLeader {
				t.cuts.cutFromZooKeeper(p.Name)
			}
		default:
			masters = append(masters, p.PID())
			if links == "standbys-zookeeper" {
				t.cuts.cutFromZooKeeper(p.Name)
			}
		}
	}
	for _, p := range t.cluster.TaskManagers {
		if p.Alive() {
			taskManagers = append(taskManagers, p.PID())
			if links == "taskmanagers-zookeeper" {
				t.cuts.cutFromZooKeeper(p.Name)
			}
		}
	}
	switch links {
	case "leader-standbys":
		return t.cuts.cutFromMaster(master.RPCAddress, masters)
	case "leader-taskmanagers":
		return t.cuts.cutFromMaster(master.RPCAddress, taskManagers)
	}
	return nil
}

func (t *localTarget) uncut() {
	if t.cuts != nil {
		t.cuts.heal()
	}
}

func (t *localTarget) close(ctx context.Context) (err error) {
	if t.cluster != nil {
		err = t.cluster.Stop(ctx)
	}
	t.stop()
	t.closers.Wait()
	if t.cuts != nil {
		t.cuts.close()
	}
	if t.servers != nil {
		t.servers.Stop()
	}
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/internal/localcluster"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// testbed is a cluster: JobManager processes, fleets of TaskManagers, and a client.
type testbed struct {
	bench    *bench
	dir      string
	servers  *localcluster.ZooKeeper // nil with HA local
	cluster  *localcluster.Cluster
	killed   map[*localcluster.Process]bool
	fleets   []*fleetProcess
	services *haservices.Services
	client   *rpc.Service
	leaders  map[haservices.Kind]*leader
	watching sync.WaitGroup
	stop     context.CancelFunc
	size     int // TaskManagers
}

const (
	// patience bounds every wait of a testbed.
	patience = 2 * time.Minute
	// pollInterval is the pause between two questions to the fleets. They note the times themselves.
	pollInterval = 50 * time.Millisecond
)

// zooKeeperServers of a testbed with HA zookeeper.
const zooKeeperServers = 3

// withTestbed runs f on a cluster with one JobManager, which leads, and no TaskManagers. Nothing is left of it
// afterwards, but its files when something failed.
func withTestbed(ctx context.Context, b *bench, settings map[string]string, f func(context.Context, *testbed) error) (err error) {
	dir, err := os.MkdirTemp("", "tamias-controlplane-")
	if err != nil {
		return err
	}
	interrupted := ctx.Err
	ctx, stop := context.WithCancel(ctx)
	t := &testbed{bench: b, dir: dir, stop: stop, killed: map[*localcluster.Process]bool{}, leaders: map[haservices.Kind]*leader{}}
	defer func() {
		err = errors.Join(err, t.close())
		if b.keep || err != nil && interrupted() == nil {
			b.say("the cluster's files are in %s", dir)
		} else {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if err := t.start(ctx, settings); err != nil {
		return err
	}
	return f(ctx, t)
}

func (t *testbed) start(ctx context.Context, settings map[string]string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // nobody calls a client
	if err != nil {
		return err
	}
	t.client = rpc.NewService(rpc.NewTransport(listener, "127.0.0.1"))
	t.watching.Go(func() { t.client.Run(ctx) }) // gives up its connections in the end
	settings = maps.Clone(settings)
	if t.bench.ha == "zookeeper" {
		quorum, err := t.startZooKeeper(ctx)
		if err != nil {
			return err
		}
		if settings == nil {
			settings = map[string]string{}
		}
		settings["high-availability.zookeeper.quorum"] = quorum
	}
	bin, err := t.programs()
	if err != nil {
		return err
	}
	t.cluster, err = localcluster.Start(localcluster.Config{
		Bin: bin, Dir: t.dir, HA: t.bench.ha, JobManagers: 1, Slots: 1, Settings: settings, Env: []string{debugDir + "=" + t.dir},
	})
	if err != nil {
		return err
	}
	t.services, err = clusterServices(t.cluster.ConfigDir(), zap.NewNop(), func(d haservices.Driver) haservices.Driver { return d })
	if err != nil {
		return err
	}
	for _, kind := range []haservices.Kind{haservices.ResourceManager, haservices.Dispatcher} {
		l := &leader{}
		t.leaders[kind] = l
		t.watching.Go(func() { t.services.LeaderRetrieval(haservices.Component{Kind: kind}).Run(ctx, l) })
	}
	return t.awaitLeader(ctx, nil)
}

// startZooKeeper returns the quorum of servers that run.
func (t *testbed) startZooKeeper(ctx context.Context) (quorum string, err error) {
	if t.servers, err = localcluster.StartZooKeeper(t.dir, zooKeeperServers); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := t.servers.Await(ctx); err != nil {
		return "", err
	}
	return t.servers.Quorum(), t.servers.WarmUp(ctx)
}

// programs makes a directory in which this program is the JobManager's.
func (t *testbed) programs() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(t.dir, "bin")
	return bin, errors.Join(os.Mkdir(bin, 0o755), os.Symlink(self, filepath.Join(bin, "jobmanager")))
}

func (t *testbed) close() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if t.cluster != nil {
		err = t.cluster.Stop(ctx) // first, or it would miss thousands of TaskManagers one by one
	}
	for _, f := range t.fleets {
		f.end()
	}
	t.stop()
	t.watching.Wait()
	if t.services != nil {
		err = errors.Join(err, t.services.Close(ctx))
	}
	if t.servers != nil {
		t.servers.Stop()
	}
	return err
}

// kill ends a JobManager as a crash would.
func (t *testbed) kill(p *localcluster.Process) {
	t.killed[p] = true
	p.Kill()
}

// unexpectedEnd is an error when a JobManager has ended that nobody killed.
func (t *testbed) unexpectedEnd() error {
	for _, p := range t.cluster.JobManagers {
		if !p.Alive() && !t.killed[p] {
			return fmt.Errorf("%s has ended (%w); its log is %s", p.Name, p.Err(), p.Log)
		}
	}
	return nil
}

// leader is the newest leader of a component that the testbed was told, and when.
type leader struct {
	mu   sync.Mutex // guards all below
	info haservices.LeaderInformation
	at   time.Time
}

// NotifyLeader implements haservices.LeaderRetrievalListener.
func (l *leader) NotifyLeader(info haservices.LeaderInformation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !info.IsEmpty() {
		l.info, l.at = info, time.Now()
	}
}

func (l *leader) now() (haservices.LeaderInformation, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.info, l.at
}

// awaitLeader waits until both components are led by one JobManager, another one than old.
func (t *testbed) awaitLeader(ctx context.Context, old *localcluster.Process) error {
	return t.await(ctx, "a leader", 2*time.Millisecond, func() (bool, error) {
		p := t.leading(haservices.ResourceManager)
		return p != nil && p != old && p == t.leading(haservices.Dispatcher), nil
	})
}

func (t *testbed) leading(kind haservices.Kind) *localcluster.Process {
	info, _ := t.leaders[kind].now()
	return t.cluster.JobManagerAt(info.Address)
}

func (t *testbed) epoch(kind haservices.Kind) uint64 {
	info, _ := t.leaders[kind].now()
	return info.Token.Epoch()
}

// startStandby starts one more JobManager and waits until it could lead.
func (t *testbed) startStandby(ctx context.Context) error {
	p, err := t.cluster.StartJobManager()
	if err != nil {
		return err
	}
	if err := t.await(ctx, "a standby", 50*time.Millisecond, func() (bool, error) { return t.cluster.Serving(p), nil }); err != nil {
		return err
	}
	return pause(ctx, min(2*time.Second, t.bench.settle)) // until it watches the leader, and what its start cost is over
}

// await polls until ok, at most for patience.
func (t *testbed) await(ctx context.Context, what string, interval time.Duration, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		done, err := ok()
		if err != nil || done {
			return err
		}
		if err := t.unexpectedEnd(); err != nil {
			return err
		}
		if err := pause(ctx, interval); err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// invoke calls the leading ResourceManager or Dispatcher.
func invoke[Req, Resp any](ctx context.Context, t *testbed, kind haservices.Kind, call protocol.Call[Req, Resp], r Req) (resp Resp, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	info, _ := t.leaders[kind].now()
	gateway, err := t.client.Gateway(info.Address, info.Token)
	if err != nil {
		return resp, err
	}
	return rpc.Invoke(ctx, gateway, call, r)
}

// leaderPID is the process that leads.
func (t *testbed) leaderPID() int { return t.leading(haservices.ResourceManager).PID() }

// profiled runs f and writes profiles of a JobManager meanwhile and after it, and one of a fleet, if they are
// wanted.
func (t *testbed) profiled(name string, pid int, f func() error) error {
	if t.bench.profiles == "" {
		return f()
	}
	var g errgroup.Group
	const cpu = "/debug/pprof/profile?seconds=8"
	g.Go(func() error { return t.profile(name+".cpu", pid, cpu) })
	if len(t.fleets) > 0 {
		g.Go(func() error { return t.profile(name+".fleet.cpu", t.fleets[0].cmd.Process.Pid, cpu) })
	}
	return errors.Join(f(), g.Wait(), t.snapshots(name, pid))
}

// snapshots writes profiles of what a JobManager holds, if they are wanted.
func (t *testbed) snapshots(name string, pid int) (err error) {
	if t.bench.profiles == "" {
		return nil
	}
	for _, kind := range []string{"heap", "goroutine", "allocs"} {
		err = errors.Join(err, t.profile(name+"."+kind, pid, "/debug/pprof/"+kind))
	}
	return err
}

func (t *testbed) profile(name string, pid int, path string) error {
	if err := os.MkdirAll(t.bench.profiles, 0o755); err != nil {
		return err
	}
	return ask(t.dir, pid, path, func(r io.Reader) error {
		f, err := os.Create(filepath.Join(t.bench.profiles, strings.ReplaceAll(name, " ", "")))
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(f, r)
		return err
	})
}

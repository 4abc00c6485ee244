// Package localcluster runs a Tamias cluster of real processes on this machine: for drills, for tests
// and for `make demo`. Its callers own it: Start returns when the processes exist, Stop leaves none of
// them. Every process is a child in a process group of its own, and dies with the caller.
package localcluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
)

// Config describes a cluster.
type Config struct {
	// Bin is the directory with the jobmanager and taskmanager binaries.
	Bin string
	// Dir is the cluster's own directory: configuration, logs, storage. It must exist.
	Dir string
	// HA is high-availability.type: NONE, local or zookeeper (then Settings name the quorum).
	HA string
	// JobManagers and TaskManagers to start, and Slots of each TaskManager.
	JobManagers, TaskManagers, Slots int
	// Settings are configuration keys on top of what the cluster needs to run.
	Settings map[string]string
	// Env are variables (name=value) on top of this process's own.
	Env []string
	// Arguments, if set, returns further arguments for the process of that kind (jobmanager or taskmanager)
	// with that number, which counts the processes of its kind from 0.
	Arguments func(kind string, number int) []string
	// JobManagerHost, if set, is told where the RPC service of the next JobManager will listen (host:port), and
	// returns under which host it is announced, at the same port; without it that is 127.0.0.1. Not for HA NONE.
	JobManagerHost func(number int, listens string) (host string, err error)
}

// Cluster is a running cluster.
type Cluster struct {
	cfg  Config
	conf string // the configuration directory
	rest string // host:port of the REST endpoint when HA is NONE
	rpc  string // and the port of its RPC service
	// JobManagers and TaskManagers in the order of their start; a restarted process is a new entry.
	JobManagers, TaskManagers []*Process
}

// Start writes the configuration and starts all processes. It does not wait until they are ready. On an
// error nothing is left running.
func Start(cfg Config) (*Cluster, error) {
	c := &Cluster{cfg: cfg, conf: filepath.Join(cfg.Dir, "conf")}
	if err := c.configure(); err != nil {
		return nil, fmt.Errorf("configure local cluster in %s: %w", cfg.Dir, err)
	}
	for range cfg.JobManagers {
		if _, err := c.StartJobManager(); err != nil {
			return nil, errors.Join(err, c.Stop(context.Background()))
		}
	}
	for range cfg.TaskManagers {
		if _, err := c.StartTaskManager(); err != nil {
			return nil, errors.Join(err, c.Stop(context.Background()))
		}
	}
	return c, nil
}

// ConfigDir is where the cluster's configuration lies: what the tamias command takes as --configDir.
func (c *Cluster) ConfigDir() string { return c.conf }

// RESTAddress is host:port of the only JobManager's REST endpoint. With high availability clients find the
// leading endpoint through the HA services instead.
func (c *Cluster) RESTAddress() string { return c.rest }

// StorageDir is high-availability.storageDir.
func (c *Cluster) StorageDir() string { return filepath.Join(c.cfg.Dir, "ha") }

// CheckpointDir is execution.checkpointing.dir.
func (c *Cluster) CheckpointDir() string { return filepath.Join(c.cfg.Dir, "checkpoints") }

// TempDir is io.tmp.dirs.
func (c *Cluster) TempDir() string { return filepath.Join(c.cfg.Dir, "tmp") }

// LogDir is env.log.dir.
func (c *Cluster) LogDir() string { return filepath.Join(c.cfg.Dir, "log") }

func (c *Cluster) configure() error {
	for _, dir := range []string{c.conf, c.StorageDir(), c.CheckpointDir(), c.TempDir(), c.LogDir()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	ports, err := FreePorts(2)
	if err != nil {
		return err
	}
	c.rpc, c.rest = ports[0], "127.0.0.1:"+ports[1]
	settings := map[string]string{
		"jobmanager.rpc.address":        "127.0.0.1",
		"jobmanager.rpc.port":           ports[0],
		"rest.address":                  "127.0.0.1",
		"rest.port":                     ports[1],
		"taskmanager.host":              "127.0.0.1",
		"taskmanager.numberOfTaskSlots": fmt.Sprint(c.cfg.Slots),
		"high-availability.type":        c.cfg.HA,
		"high-availability.storageDir":  c.StorageDir(),
		"high-availability.cluster-id":  "/" + filepath.Base(c.cfg.Dir),
		"execution.checkpointing.dir":   c.CheckpointDir(),
		"io.tmp.dirs":                   c.TempDir(),
		"env.log.dir":                   c.LogDir(),
		"env.pid.dir":                   c.cfg.Dir,
		"high-availability.zookeeper.client.tolerate-suspended-connections": "true",
	}
	maps.Copy(settings, c.cfg.Settings)
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		if value := settings[key]; value != "" {
			fmt.Fprintf(&b, "%s: %q\n", key, value)
		}
	}
	return os.WriteFile(filepath.Join(c.conf, "config.yaml"), []byte(b.String()), 0o644)
}

// StartJobManager starts one more JobManager, or the first one again after it died.
func (c *Cluster) StartJobManager() (_ *Process, err error) {
	rpc, host := []string{c.rpc}, "127.0.0.1"
	args := []string{"--configDir", c.conf}
	if !strings.EqualFold(c.cfg.HA, "NONE") {
		// Each has ports of its own, so that a leader's address tells which process leads. Clients find the
		// leading REST endpoint through the HA services.
		if rpc, err = FreePorts(1); err != nil {
			return nil, err
		}
		args = append(args, "-D", "rest.port=0", "-D", "rest.bind-port=0", "-D", "high-availability.jobmanager.port="+rpc[0])
		if c.cfg.JobManagerHost != nil {
			if host, err = c.cfg.JobManagerHost(len(c.JobManagers), net.JoinHostPort(host, rpc[0])); err != nil {
				return nil, err
			}
			args = append(args, "-D", "jobmanager.bind-host=127.0.0.1", "-D", "jobmanager.rpc.address="+host)
		}
	}
	p, err := c.start("jobmanager", len(c.JobManagers), args)
	if err != nil {
		return nil, err
	}
	p.RPCAddress = net.JoinHostPort(host, rpc[0])
	c.JobManagers = append(c.JobManagers, p)
	return p, nil
}

// JobManagerAt returns the newest JobManager whose RPC service has that address (tamias://host:port/...),
// or nil.
func (c *Cluster) JobManagerAt(address string) *Process {
	for _, p := range slices.Backward(c.JobManagers) {
		if strings.HasPrefix(address, "tamias://"+p.RPCAddress+"/") {
			return p
		}
	}
	return nil
}

// Serving reports whether p accepts RPC connections.
func (c *Cluster) Serving(p *Process) bool {
	conn, err := net.DialTimeout("tcp", p.RPCAddress, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// StartTaskManager starts one more TaskManager. Its name in the cluster is taskmanager-N, N counting those
// that were started.
func (c *Cluster) StartTaskManager() (*Process, error) {
	number := len(c.TaskManagers)
	id := fmt.Sprintf("taskmanager-%d", number)
	p, err := c.start("taskmanager", number, []string{"--configDir", c.conf, "-D", "taskmanager.resource-id=" + id})
	if err == nil {
		p.ResourceID = id
		c.TaskManagers = append(c.TaskManagers, p)
	}
	return p, err
}

// TaskManager returns the TaskManager with that name in the cluster, or nil.
func (c *Cluster) TaskManager(id id.TaskManager) *Process {
	for _, p := range c.TaskManagers {
		if p.ResourceID == string(id) {
			return p
		}
	}
	return nil
}

func (c *Cluster) start(name string, number int, args []string) (*Process, error) {
	log := filepath.Join(c.LogDir(), fmt.Sprintf("%s-%d.log", name, number))
	if c.cfg.Arguments != nil {
		args = append(args, c.cfg.Arguments(name, number)...)
	}
	return startProcess(fmt.Sprintf("%s %d", name, number), log, c.cfg.Env, filepath.Join(c.cfg.Bin, name), args...)
}

// stopTimeout is how long the processes of a cluster have to end in order, all together: only what hangs takes that
// long, also on a busy machine.
const stopTimeout = time.Minute

// Stop ends TaskManagers, then JobManagers: SIGTERM, and SIGKILL after stopTimeout or when ctx ends.
func (c *Cluster) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	var errs []error
	for _, group := range [][]*Process{c.TaskManagers, c.JobManagers} {
		for _, p := range group {
			p.Thaw()
			p.Terminate()
		}
		for _, p := range group {
			if !p.WaitContext(ctx) {
				errs = append(errs, fmt.Errorf("%s (pid %d) did not stop and was killed; its log is %s", p.Name, p.PID(), p.Log))
				p.Kill()
				<-p.Done()
			}
		}
	}
	return errors.Join(errs...)
}

// FreePorts finds n ports on loopback that are free now. They are below the range from which systems take
// ports for outgoing connections, so that nobody takes one between now and the start of a server, nor while
// the server is down.
func FreePorts(n int) (ports []string, err error) {
	for range 100 * n {
		port := strconv.Itoa(15000 + rand.IntN(17000))
		l, listenErr := net.Listen("tcp", "127.0.0.1:"+port)
		if listenErr != nil {
			err = listenErr
			continue
		}
		defer l.Close() // all stay open until all are chosen, so that they differ
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("no free ports found: %w", err)
}

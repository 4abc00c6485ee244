package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/internal/localcluster"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// testbed is a cluster: JobManager processes, fleets of TaskManagers, and a client.
type testbed struct {
	bench    *bench
	dir      string
	cluster  *localcluster.Cluster
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

// withTestbed runs f on a cluster with one JobManager, which leads, and no TaskManagers.
func withTestbed(ctx context.Context, b *bench, settings map[string]string, f func(context.Context, *testbed) error) (err error) {
	t, err := newTestbed(ctx, b, settings)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, t.close())
		if b.keep || err != nil {
			b.say("the cluster's files are in %s", t.dir)
		} else {
			err = os.RemoveAll(t.dir)
		}
	}()
	if _, err := t.cluster.StartJobManager(); err != nil {
		return err
	}
	if err := t.awaitLeader(ctx, nil); err != nil {
		return err
	}
	return f(ctx, t)
}

func newTestbed(ctx context.Context, b *bench, settings map[string]string) (*testbed, error) {
	dir, err := os.MkdirTemp("", "tamias-controlplane-")
	if err != nil {
		return nil, err
	}
	t := &testbed{bench: b, dir: dir, leaders: map[haservices.Kind]*leader{}, client: rpc.NewService(rpc.NewTransport(noListener{}, "127.0.0.1"))}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return nil, err
	}
	if err := os.Symlink(self, filepath.Join(bin, "jobmanager")); err != nil {
		return nil, err
	}
	if err := os.Setenv(debugDir, dir); err != nil {
		return nil, err
	}
	if t.cluster, err = localcluster.Start(localcluster.Config{Bin: bin, Dir: dir, HA: "local", Slots: 1, Settings: settings}); err != nil {
		return nil, err
	}
	if t.services, err = clusterServices(t.cluster.ConfigDir(), zap.NewNop(), func(d haservices.Driver) haservices.Driver { return d }); err != nil {
		return nil, err
	}
	ctx, t.stop = context.WithCancel(ctx)
	for _, kind := range []haservices.Kind{haservices.ResourceManager, haservices.Dispatcher} {
		l := &leader{}
		t.leaders[kind] = l
		t.watching.Go(func() { t.services.LeaderRetrieval(haservices.Component{Kind: kind}).Run(ctx, l) })
	}
	return t, nil
}

func (t *testbed) close() error {
	for _, f := range t.fleets {
		f.end()
	}
	t.stop()
	t.watching.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return errors.Join(t.services.Close(ctx), t.cluster.Stop(ctx))
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
	return pause(ctx, 2*time.Second) // until it watches the leader, and what its start cost is over
}

// await polls until ok.
func (t *testbed) await(ctx context.Context, what string, interval time.Duration, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		done, err := ok()
		if err != nil || done {
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

// fleetProcess is a fleet as the testbed sees it.
type fleetProcess struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *json.Decoder
}

// grow starts fleets so that there are size TaskManagers, and waits until all are registered.
func (t *testbed) grow(ctx context.Context, size, slots, perPort int) error {
	for fleets := t.bench.fleets; fleets > 0; fleets-- {
		count := (size - t.size) / fleets
		if count == 0 {
			continue
		}
		if err := t.startFleet(fleetOrder{ConfigDir: t.cluster.ConfigDir(), First: t.size, Count: count, PerPort: perPort, Slots: slots}); err != nil {
			return err
		}
		t.size += count
	}
	return t.awaitRegistered(ctx)
}

func (t *testbed) startFleet(o fleetOrder) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	f := &fleetProcess{cmd: exec.Command(self, "fleet")}
	f.cmd.Stderr = os.Stderr
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if f.in, err = f.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	f.answers = json.NewDecoder(out)
	if err := f.cmd.Start(); err != nil {
		return err
	}
	t.fleets = append(t.fleets, f)
	return json.NewEncoder(f.in).Encode(o)
}

// end ends a fleet: it goes when its input does, and in any case.
func (f *fleetProcess) end() {
	f.in.Close()
	kill := time.AfterFunc(5*time.Second, func() { f.cmd.Process.Kill() })
	defer kill.Stop()
	_ = f.cmd.Wait() // how it ended does not matter any more
}

// witnessed asks all fleets.
func (t *testbed) witnessed(q question) (all witnessed, err error) {
	for _, f := range t.fleets {
		if err := json.NewEncoder(f.in).Encode(q); err != nil {
			return all, fmt.Errorf("ask a fleet: %w", err)
		}
	}
	for _, f := range t.fleets {
		var a witnessed
		if err := f.answers.Decode(&a); err != nil {
			return all, fmt.Errorf("a fleet did not answer: %w", err)
		}
		all.Registered, all.Attached = append(all.Registered, a.Registered...), append(all.Attached, a.Attached...)
		all.Heartbeats, all.JobHeartbeats = all.Heartbeats+a.Heartbeats, all.JobHeartbeats+a.JobHeartbeats
		all.Started, all.Lost = all.Started+a.Started, all.Lost+a.Lost
		all.Violations = append(all.Violations, a.Violations...)
	}
	slices.SortFunc(all.Registered, time.Time.Compare)
	slices.SortFunc(all.Attached, time.Time.Compare)
	if len(all.Violations) > 0 {
		return all, fmt.Errorf("broken promises: %q", all.Violations)
	}
	return all, nil
}

// awaitRegistered waits until all TaskManagers are registered at the present ResourceManager, as they say and
// as it says.
func (t *testbed) awaitRegistered(ctx context.Context) error {
	err := t.await(ctx, "registrations", pollInterval, func() (bool, error) {
		w, err := t.witnessed(question{Epoch: t.epoch(haservices.ResourceManager)})
		return len(w.Registered) == t.size, err
	})
	if err != nil {
		return err
	}
	return t.await(ctx, "the list of TaskManagers", 200*time.Millisecond, func() (bool, error) {
		list, err := invoke(ctx, t, haservices.ResourceManager, protocol.ListTaskManagers, protocol.Empty{})
		return len(list.TaskManagers) == t.size, err
	})
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

// submit submits jobs of one vertex through the Dispatcher.
func (t *testbed) submit(ctx context.Context, count, parallelism int, checkpoint time.Duration) ([]id.Job, error) {
	content := []byte("nobody starts this program")
	sum := sha256.Sum256(content)
	jobs := make([]id.Job, count)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for i := range jobs {
		jobs[i] = id.NewJob()
		graph := jobgraph.JobGraph{
			ID: jobs[i], Name: fmt.Sprintf("job %d", i), MaxParallelism: max(128, parallelism),
			Vertices: []jobgraph.Vertex{{
				ID: id.Vertex{1}, Name: "source", Parallelism: parallelism, Source: true,
				Operators: []jobgraph.Operator{{UID: "source", Name: "source"}},
			}},
			Checkpointing: jobgraph.Checkpointing{Interval: checkpoint},
			Binary:        jobgraph.Binary{Key: hex.EncodeToString(sum[:]), Size: int64(len(content))},
		}
		g.Go(func() error {
			if err := t.services.Blobs().Put(ctx, graph.ID, graph.Binary.Key, bytes.NewReader(content)); err != nil {
				return err
			}
			_, err := invoke(ctx, t, haservices.Dispatcher, protocol.SubmitJob, protocol.SubmitJobRequest{Graph: graph})
			return err
		})
	}
	return jobs, g.Wait()
}

// awaitRunning waits until jobs are RUNNING with all tasks under JobMasters of the epoch, or later ones, and
// returns when each was.
func (t *testbed) awaitRunning(ctx context.Context, jobs []id.Job, epoch uint64) ([]time.Time, error) {
	running := map[id.Job]time.Time{}
	err := t.await(ctx, "jobs to run", 100*time.Millisecond, func() (bool, error) {
		for _, job := range jobs {
			if _, ok := running[job]; ok {
				continue
			}
			d, err := invoke(ctx, t, haservices.Dispatcher, protocol.DescribeJob, protocol.DescribeJobRequest{Job: job})
			if errors.Is(err, protocol.ErrNotReady) {
				return false, nil
			}
			if err != nil {
				return false, err
			}
			if d.Overview.State != protocol.JobRunning || d.JobMasterEpoch < epoch || !allRun(d) {
				return false, nil
			}
			running[job] = d.StateTimes[protocol.JobRunning]
		}
		return true, nil
	})
	return slices.SortedFunc(maps.Values(running), time.Time.Compare), err
}

func allRun(d protocol.JobDetails) bool {
	for _, s := range d.Subtasks {
		if s.Execution.State != protocol.Running {
			return false
		}
	}
	return len(d.Subtasks) > 0
}

// leaderPID is the process that leads.
func (t *testbed) leaderPID() int { return t.leading(haservices.ResourceManager).PID() }

// load is CPU time, in seconds: of the leading JobManager, of all fleets, and of everything else on this
// machine.
type load struct{ jobManager, fleets, others float64 }

// meter measures load from now on, of the JobManager with that pid.
func (t *testbed) meter(pid int) func() load {
	now := func() load {
		l := load{jobManager: cpuSeconds(pid)}
		for _, f := range t.fleets {
			l.fleets += cpuSeconds(f.cmd.Process.Pid)
		}
		l.others = busySeconds() - l.jobManager - l.fleets
		return l
	}
	before := now()
	return func() load {
		after := now()
		return load{after.jobManager - before.jobManager, after.fleets - before.fleets, after.others - before.others}
	}
}

// profileLeader writes a profile of a JobManager while f runs, if profiles are wanted.
func (t *testbed) profileLeader(name string, pid int, f func() error) error {
	if t.bench.profiles == "" {
		return f()
	}
	if err := os.MkdirAll(t.bench.profiles, 0o755); err != nil {
		return err
	}
	file := filepath.Join(t.bench.profiles, name)
	var g errgroup.Group
	g.Go(func() error { return profile(t.dir, pid, "/debug/pprof/profile?seconds=8", file+".cpu") })
	err := errors.Join(f(), g.Wait())
	for _, kind := range []string{"heap", "goroutine", "allocs"} {
		err = errors.Join(err, profile(t.dir, pid, "/debug/pprof/"+kind, file+"."+kind))
	}
	return err
}

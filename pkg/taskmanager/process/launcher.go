// Package process starts job processes: the user's binary as a go-plugin server on a Unix socket. A
// TaskManager uses its Launcher on any goroutine.
//
// A process leads its own process group and dies with the TaskManager, also when that is killed: the
// job process waits for the end of a pipe. What user code prints goes to a .out file of the log
// directory, what it logs to the TaskManager's log. When the process has ended, nothing of it is left: no
// member of its group, no socket, no temporary file.
package process

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/taskmanager"
	"github.com/tamias-project/tamias/pkg/worker"
)

// Fetcher brings a job's binary to this machine. blob.Cache is one.
type Fetcher interface {
	// Fetch returns the path of the binary.
	Fetch(ctx context.Context, job id.Job, binary jobgraph.Binary, blobServer string) (path string, err error)
	// Release removes what was fetched for a job.
	Release(job id.Job) error
}

// Config says how job processes are started.
type Config struct {
	Fetcher Fetcher
	// WorkDir holds a directory for each process while it runs; it becomes the process's TMPDIR. Must exist.
	WorkDir string
	// LogDir receives <LogPrefix>-<job>-<n>.out with what user code prints, n counting the job's processes.
	// Empty means that it is dropped with the process, after the last lines have been looked at.
	LogDir, LogPrefix string
	Log               *zap.Logger
	// StartTimeout bounds the time from the start of a process until it answers. Default 30 s.
	StartTimeout time.Duration
}

// Launcher starts job processes. It implements taskmanager.Launcher.
type Launcher struct {
	cfg Config

	mu      sync.Mutex // guards started
	started map[id.Job]int
}

// New returns a Launcher.
func New(cfg Config) *Launcher {
	cfg.StartTimeout = cmp.Or(cfg.StartTimeout, 30*time.Second)
	cfg.LogPrefix = cmp.Or(cfg.LogPrefix, "tamias")
	return &Launcher{cfg: cfg, started: map[id.Job]int{}}
}

// Release implements taskmanager.Launcher.
func (l *Launcher) Release(job id.Job) error {
	l.mu.Lock()
	delete(l.started, job)
	l.mu.Unlock()
	return l.cfg.Fetcher.Release(job)
}

// Launch implements taskmanager.Launcher.
func (l *Launcher) Launch(ctx context.Context, spec taskmanager.LaunchSpec) (taskmanager.Process, error) {
	g := &spec.Graph
	binary, err := l.cfg.Fetcher.Fetch(ctx, g.ID, g.Binary, spec.BlobServer)
	if err != nil {
		return nil, fmt.Errorf("fetch the binary: %w", err)
	}
	if err := makeExecutable(binary); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(l.cfg.WorkDir, "job-")
	if err != nil {
		return nil, err
	}
	out, err := l.output(g.ID, dir)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	p := &Process{job: g.ID, dir: dir, out: out.Name(), done: make(chan struct{}), log: l.cfg.Log.With(logging.Job(g.ID))}
	p.runner = newRunner(binary, g.Args, environment(g, dir), out)
	if err := l.connect(ctx, p); err != nil {
		p.Kill()
		p.clean()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%s did not become a job process: %w: %w", g.Name, err, p.Failure())
	}
	go p.clean() // ends with the process
	return p, nil
}

// connect starts the process and waits until it answers, or has ended, or ctx has.
func (l *Launcher) connect(ctx context.Context, p *Process) error {
	p.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  worker.Handshake,
		Plugins:          plugin.PluginSet{worker.PluginName: &worker.GRPCPlugin{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           newPluginLog(p.log),
		StartTimeout:     l.cfg.StartTimeout,
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: socketDir(p.dir, l.cfg.WorkDir)},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
			return p.runner, p.runner.prepare(cmd.Env)
		},
	})
	stop := context.AfterFunc(ctx, p.runner.kill) // nothing else interrupts go-plugin's start
	defer stop()
	protocolClient, err := p.client.Client()
	if err != nil {
		return err
	}
	raw, err := protocolClient.Dispense(worker.PluginName)
	if err != nil {
		return err
	}
	p.gateway = rpc.NewGateway(raw.(*rpc.Conn),
		rpc.Address{HostPort: "job-" + p.job.String(), Endpoint: protocol.WorkerEndpoint}, id.FencingToken{})
	return ctx.Err()
}

// makeExecutable lets the owner run a file that came as data.
func makeExecutable(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&0o100 != 0 {
		return err
	}
	return os.Chmod(path, info.Mode().Perm()|0o500)
}

// environment is what go-plugin does not set: TaskManager's own environment, then the job's, then what
// no job may change.
func environment(g *jobgraph.JobGraph, tmp string) []string {
	env := os.Environ()
	for k, v := range g.Env {
		env = append(env, k+"="+v)
	}
	if g.MaxParallelism > 0 {
		env = append(env, fmt.Sprintf("%s=%d", worker.EnvMaxParallelism, g.MaxParallelism))
	}
	return append(env,
		worker.EnvMode+"="+worker.ModeWorker,
		worker.EnvBufferTimeout+"="+g.BufferTimeout.String(),
		fmt.Sprintf("%s=%d", worker.EnvParallelism, g.DefaultParallelism),
		"TMPDIR="+tmp)
}

// output opens the next .out file of a job.
func (l *Launcher) output(job id.Job, dir string) (*os.File, error) {
	const flags = os.O_CREATE | os.O_EXCL | os.O_WRONLY | os.O_APPEND
	if l.cfg.LogDir == "" {
		return os.OpenFile(filepath.Join(dir, "out"), flags, 0o600)
	}
	for {
		l.mu.Lock()
		n := l.started[job]
		l.started[job]++
		l.mu.Unlock()
		f, err := os.OpenFile(filepath.Join(l.cfg.LogDir, fmt.Sprintf("%s-%s-%d.out", l.cfg.LogPrefix, job, n)), flags, 0o644)
		if !os.IsExist(err) {
			return f, err
		}
	}
}

// socketDir is the first of dirs in which the path of a socket is not too long for the kernel (107 bytes);
// if there is none, it is the system's directory for temporary files.
func socketDir(dirs ...string) string {
	const room = len("/plugin-dir1234567890/plugin1234567890")
	for _, dir := range dirs {
		if len(dir)+room <= 107 {
			return dir
		}
	}
	return ""
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// Handshake is what go-plugin compares on both sides. The cookie is no secret: it keeps a job's program
// from speaking to a terminal as if it were a TaskManager.
var Handshake = plugin.HandshakeConfig{
	ProtocolVersion:  1, // of this handshake. What calls mean is settled with each of them: see rpc.Request
	MagicCookieKey:   "TAMIAS_PLUGIN",
	MagicCookieValue: "job-process-of-a-task-manager",
}

// PluginName is the one plugin that a job process serves.
const PluginName = "worker"

// The files that a TaskManager gives a job process besides standard input (empty) and standard output and
// error (the job's .out file).
const (
	// LifelineFD is the read end of a pipe that ends when the TaskManager does.
	LifelineFD = 3
	// LogFD takes log lines as hclog's JSON.
	LogFD = 4
	// HandshakeFD takes go-plugin's line about the socket.
	HandshakeFD = 5
)

// GRPCPlugin is both sides of the plugin: the job process serves Service, the TaskManager gets an rpc.Conn.
type GRPCPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	// Handler serves the calls; nil at the TaskManager.
	Handler rpc.Handler
}

// GRPCServer implements plugin.GRPCPlugin.
func (p *GRPCPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	rpc.RegisterServer(s, p.Handler, id.NewInstance())
	return nil
}

// GRPCClient implements plugin.GRPCPlugin; what it returns is an *rpc.Conn.
func (p *GRPCPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, cc *grpc.ClientConn) (any, error) {
	return rpc.NewConn(cc), nil
}

// ServePlugin runs a program's tasks for the TaskManager that started this process. It ends with the
// process: the TaskManager kills it, and when the TaskManager is gone it kills itself and everything
// that it has started.
func ServePlugin(ctx context.Context, program Program, files filesystem.FileSystem) error {
	p, err := OpenPlugin()
	if err != nil {
		return err
	}
	w := New(program, Config{FileSystem: files, Log: p.Log})
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		if err := w.Run(ctx); err != nil {
			p.Log.Error("worker ended", zap.Error(err))
		}
	})
	return p.Serve(w.Endpoint())
}

// Plugin is this process as a job process.
type Plugin struct {
	// Log goes to the TaskManager's log.
	Log       *zap.Logger
	hclog     hclog.Logger
	handshake *os.File
}

// isJobProcess reports whether a TaskManager has started this process.
func isJobProcess() bool { return os.Getenv(Handshake.MagicCookieKey) == Handshake.MagicCookieValue }

// unwatched is why this job process would outlive its TaskManager, nil if it does not.
var unwatched error

// A job process dies with its TaskManager from its start on, not only from Execute: a program may hang before that.
func init() {
	if !isJobProcess() {
		return
	}
	for _, fd := range []int{LifelineFD, LogFD, HandshakeFD} {
		// Children of user code must not hold these open: their end tells the TaskManager something.
		syscall.CloseOnExec(fd)
	}
	if err := syscall.SetNonblock(LifelineFD, true); err != nil { // so that waiting costs no thread
		unwatched = fmt.Errorf("lifeline of the job process, which a TaskManager gives it as file %d: %w", LifelineFD, err)
		return
	}
	go dieWithParent(os.NewFile(LifelineFD, "lifeline"))
}

// OpenPlugin takes over what the TaskManager gave this process. It fails in a process that no TaskManager has
// started.
func OpenPlugin() (*Plugin, error) {
	if !isJobProcess() {
		return nil, errors.New("this process was not started by a TaskManager: run the program without " + EnvMode)
	}
	if unwatched != nil {
		return nil, unwatched
	}
	out := hclog.New(&hclog.LoggerOptions{
		Level: hclog.Debug, Output: os.NewFile(LogFD, "log"), JSONFormat: true, Mutex: &sync.Mutex{},
	})
	return &Plugin{Log: logging.FromHclog(out), hclog: out, handshake: os.NewFile(HandshakeFD, "handshake")}, nil
}

// dieWithParent ends this process group when the TaskManager has ended, however it did. A pipe tells that
// also for a TaskManager that was killed; the signal that Linux can send at a parent's death would come
// with the end of the thread that made this process.
func dieWithParent(lifeline *os.File) {
	for {
		_, err := lifeline.Read(make([]byte, 1))
		if err != nil && !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if dir := os.Getenv(plugin.EnvUnixSocketDir); dir != "" {
		os.RemoveAll(dir) // nobody else will
	}
	if syscall.Getpgrp() == os.Getpid() {
		syscall.Kill(0, syscall.SIGKILL)
	}
	os.Exit(1)
}

// Serve offers e to the TaskManager. It returns when the TaskManager has closed the connection for good.
func (p *Plugin) Serve(e *rpc.Endpoint) error {
	service := rpc.NewService(pluginTransport{})
	service.Add(e)
	// go-plugin prints its line to os.Stdout and then puts a pipe of its own there. The first call comes
	// after both, and puts the job's .out file back.
	stdout, stderr := os.Stdout, os.Stderr
	var restore sync.Once
	os.Stdout = p.handshake
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: Handshake,
		Logger:          p.hclog,
		Plugins: plugin.PluginSet{PluginName: &GRPCPlugin{Handler: func(ctx context.Context, r *rpc.Request) *rpc.Response {
			restore.Do(func() { os.Stdout, os.Stderr = stdout, stderr })
			return service.Serve(ctx, r)
		}}},
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32))...)
		},
	})
	return nil
}

// pluginTransport is the transport of a job process: it answers, but calls nobody.
type pluginTransport struct{}

func (pluginTransport) Address() string      { return "job-process" }
func (pluginTransport) Process() id.Instance { return id.Instance{} }

func (pluginTransport) Call(context.Context, string, *rpc.Request) (*rpc.Response, error) {
	return nil, fmt.Errorf("%w: a job process calls nobody", rpc.ErrUnreachable)
}

func (pluginTransport) Serve(ctx context.Context, _ rpc.Handler) error {
	<-ctx.Done()
	return nil
}

func (pluginTransport) AwaitGone(ctx context.Context, _ string, _ id.Instance, _ time.Duration) error {
	<-ctx.Done()
	return ctx.Err()
}

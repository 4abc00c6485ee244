package entrypoint

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/blob"
	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/metrics"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/taskmanager"
	"github.com/tamias-project/tamias/pkg/taskmanager/process"
)

// RunTaskManager runs a TaskManager process until ctx ends (nil), until it cannot start (ErrStartup), or
// until a fatal error. When it returns no job process is left.
func RunTaskManager(ctx context.Context, cfg *config.Configuration, log *zap.Logger) (err error) {
	r := &taskManagerRunner{cfg: cfg, log: log}
	defer func() { err = errors.Join(err, r.close(context.WithoutCancel(ctx))) }()
	if err := r.initialize(ctx); err != nil {
		return err
	}
	return r.run(ctx)
}

// taskManagerRunner is one TaskManager process. Flink's TaskManagerRunner.
type taskManagerRunner struct {
	cfg *config.Configuration
	log *zap.Logger

	dir       *workingDirectory
	transport *rpc.GRPC
	rpc       *rpc.Service
	services  *haservices.Services
	cache     *blob.Cache
}

func (r *taskManagerRunner) initialize(ctx context.Context) (err error) {
	cfg := r.cfg
	if err := validate(cfg); err != nil {
		return startup("configuration", err)
	}
	if err := makeLogDir(cfg); err != nil {
		return err
	}
	if r.dir, err = newWorkingDirectory(config.TmpDirs.In(cfg), "tamias-taskmanager-"); err != nil {
		return startup("working directory", err)
	}
	if r.transport, err = listen(ctx, config.TaskManagerRPCPort.In(cfg), config.TaskManagerBindHost.In(cfg), config.TaskManagerHost.In(cfg)); err != nil {
		return startup("RPC service ("+config.TaskManagerRPCPort.Key+")", err)
	}
	r.rpc = rpc.NewService(r.transport)
	if r.services, err = newServices(cfg, r.transport, "", r.log.With(logging.Component("ha-services"))); err != nil {
		return startup("high availability services", err)
	}
	var store blob.Store
	if config.HAStorageDir.In(cfg) != "" {
		store = r.services.Blobs()
	}
	r.cache = blob.NewCache(blob.CacheConfig{Dir: filepath.Join(r.dir.path, "blobs"), Store: store, Log: r.log.With(logging.Component("blob-cache"))})
	return nil
}

func (r *taskManagerRunner) run(ctx context.Context) error {
	tm := taskmanager.New(taskmanager.Config{
		ID:                  r.resourceID(),
		Slots:               config.NumberOfTaskSlots.In(r.cfg),
		Host:                hostInfo(),
		BindHost:            config.TaskManagerBindHost.In(r.cfg),
		DataHost:            config.TaskManagerHost.In(r.cfg),
		Services:            r.services,
		RPC:                 r.rpc,
		Launcher:            r.launcher(),
		OrphanTimeout:       config.JobOrphanTimeout.In(r.cfg),
		SlotTimeout:         config.TaskManagerSlotTimeout.In(r.cfg),
		RegistrationTimeout: config.TaskManagerRegistrationTimeout.In(r.cfg),
		CancellationTimeout: cmp.Or(config.TaskCancellationTimeout.In(r.cfg), -1), // 0 is never
		Log:                 r.log,
	})
	servers, serversCtx := errgroup.WithContext(context.WithoutCancel(ctx))
	serversCtx, stopServers := context.WithCancel(serversCtx)
	defer stopServers()
	servers.Go(func() error { return wrap("RPC service", r.rpc.Run(serversCtx)) })
	reporter := newReporter(ctx, r.cfg, r.log)
	if reporter != nil {
		host := config.TaskManagerHost.In(r.cfg)
		reporter.Add(metrics.Process(metrics.TaskManager, host, string(r.resourceID())))
		reporter.Add(sharedFigures(r.rpc, r.services))
		reporter.Add(workFigures(host, r.resourceID(), tm))
	}
	servers.Go(func() error { return runReporter(serversCtx, reporter, r.log) })
	servers.Go(func() error { return serveProcess(serversCtx, r.rpc, r.services) })
	r.log.Info("task manager started", logging.TaskManager(r.resourceID()), zap.String("rpc", r.transport.Address()),
		zap.String("high-availability", config.HAType.In(r.cfg)), zap.String("version", Version))
	components, componentsCtx := errgroup.WithContext(ctx)
	components.Go(func() error { return wrap("task manager", tm.Run(componentsCtx)) })
	components.Go(func() error {
		select {
		case <-componentsCtx.Done():
			return nil
		case <-serversCtx.Done():
			return errors.New("the RPC service ended")
		}
	})
	err := components.Wait()
	stopServers()
	return errors.Join(servers.Wait(), err)
}

func (r *taskManagerRunner) launcher() taskmanager.Launcher {
	return process.New(process.Config{
		Fetcher: r.cache,
		WorkDir: r.dir.path,
		LogDir:  config.LogDir.In(r.cfg),
		Log:     r.log,
	})
}

// resourceID is the configured ID, or host:port-6hex.
func (r *taskManagerRunner) resourceID() id.TaskManager {
	if name := config.TaskManagerResourceID.In(r.cfg); name != "" {
		return id.TaskManager(name)
	}
	process := r.transport.Process()
	return id.TaskManager(fmt.Sprintf("%s-%s", r.transport.Address(), hex.EncodeToString(process[:3])))
}

func (r *taskManagerRunner) close(ctx context.Context) (err error) {
	if r.services != nil {
		ctx, cancel := context.WithTimeout(ctx, config.ServicesShutdownTimeout.In(r.cfg))
		defer cancel()
		err = r.services.Close(ctx)
	}
	if r.cache != nil {
		r.cache.Close()
	}
	return errors.Join(err, r.dir.remove())
}

func hostInfo() protocol.HostInfo {
	return protocol.HostInfo{PID: os.Getpid(), CPUs: runtime.NumCPU(), Memory: physicalMemory()}
}

package entrypoint

import (
	"context"
	"errors"
	"net"
	"net/url"
	"path/filepath"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/blob"
	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/metrics"
	"github.com/tamias-project/tamias/pkg/rest"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// RunJobManager runs a JobManager process until ctx ends or a user stops the cluster (nil), until it
// cannot start (ErrStartup), or until a fatal error.
func RunJobManager(ctx context.Context, cfg *config.Configuration, log *zap.Logger) error {
	e := &ClusterEntrypoint{cfg: cfg, log: log}
	return e.startCluster(ctx)
}

// ClusterEntrypoint is one JobManager process: REST endpoint, ResourceManager and Dispatcher as leader
// contenders on common services. Flink's StandaloneSessionClusterEntrypoint.
type ClusterEntrypoint struct {
	cfg *config.Configuration
	log *zap.Logger

	// What initializeServices makes, in this order; undone in reverse.
	dir       *workingDirectory
	transport *rpc.GRPC
	rpc       *rpc.Service
	services  *haservices.Services
	blobs     *blob.Server
	rest      net.Listener
	metrics   *metrics.Reporter // nil when metrics are off
}

// startCluster runs the cluster and undoes what it made, whatever happens.
func (e *ClusterEntrypoint) startCluster(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, e.close(context.WithoutCancel(ctx))) }()
	return e.runCluster(ctx)
}

// runCluster makes the services, then the components on them, and runs all until ctx ends.
func (e *ClusterEntrypoint) runCluster(ctx context.Context) error {
	if err := e.initializeServices(ctx); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	// The servers outlive the components: a leader on its way out still answers.
	services := e.services
	servers, serversCtx := errgroup.WithContext(context.WithoutCancel(ctx))
	serversCtx, stopServers := context.WithCancel(serversCtx)
	servers.Go(func() error { return wrap("RPC service", e.rpc.Run(serversCtx)) })
	servers.Go(func() error { return serveProcess(serversCtx, e.rpc, services) })
	servers.Go(func() error { return wrap("blob server", e.blobs.Run(serversCtx)) })
	servers.Go(func() error { return runReporter(serversCtx, e.metrics, e.log) })

	err := e.checkAddress(ctx)
	if err == nil {
		err = e.runComponents(ctx, serversCtx, stop)
	}
	err = errors.Join(err, e.closeServices(context.WithoutCancel(ctx)))
	stopServers()
	return errors.Join(servers.Wait(), err)
}

// checkAddress keeps a JobManager from contending whose address, which its successors watch, is wrong.
func (e *ClusterEntrypoint) checkAddress(ctx context.Context) error {
	if !highlyAvailable(e.cfg) {
		return nil
	}
	if err := checkOwnAddress(ctx, e.cfg, e.transport, e.log); err != nil {
		return startup("RPC service", err)
	}
	return nil
}

// runComponents runs the contenders until ctx or servers ends, one of them fails, or somebody calls stop.
func (e *ClusterEntrypoint) runComponents(ctx, servers context.Context, stop func()) error {
	components, componentsCtx := errgroup.WithContext(ctx)
	components.Go(func() error { return e.jobManager(stop).Run(componentsCtx) })
	components.Go(func() error { return wrap("REST endpoint", e.restEndpoint().Run(componentsCtx)) })
	components.Go(func() error { return checkOwner(componentsCtx, e.services) })
	components.Go(func() error { // a server that fails ends the components
		select {
		case <-componentsCtx.Done():
			return nil
		case <-servers.Done():
			return errors.New("a server ended")
		}
	})
	e.log.Info("job manager started", zap.String("rpc", e.transport.Address()), zap.String("rest", e.restURL()),
		zap.String("high-availability", config.HAType.In(e.cfg)), zap.String("version", Version))
	err := components.Wait()
	e.log.Info("components stopped")
	return err
}

// checkOwner finds another cluster's storage directory at a standby, before it leads. It may have to wait for the HA
// backend.
func checkOwner(ctx context.Context, services *haservices.Services) error {
	if err := services.CheckStorage(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// initializeServices opens ports and connects to the HA backend. Everything that can be wrong with the
// configuration or the machine shows here.
func (e *ClusterEntrypoint) initializeServices(ctx context.Context) (err error) {
	cfg := e.cfg
	if err := validate(cfg); err != nil {
		return startup("configuration", err)
	}
	if e.dir, err = newWorkingDirectory(config.TmpDirs.In(cfg), "tamias-jobmanager-"); err != nil {
		return startup("working directory", err)
	}
	bind, host := config.JobManagerBindHost.In(cfg), config.JobManagerRPCAddress.In(cfg)
	key, ports := e.rpcPorts()
	if e.transport, err = listen(ctx, ports, bind, host); err != nil {
		return startup("RPC service ("+key+")", err)
	}
	e.rpc = rpc.NewService(e.transport)
	if e.services, err = newServices(cfg, e.transport, e.blobDir(), e.log.With(logging.Component("ha-services"))); err != nil {
		return startup("high availability services", err)
	}
	if err := checkStorage(ctx, filesystem.NewResolver(), cfg, e.transport.Process()); err != nil {
		return err
	}
	l, err := config.BlobServerPort.In(cfg).Listen(ctx, bind)
	if err != nil {
		return startup("blob server ("+config.BlobServerPort.Key+")", err)
	}
	e.blobs = blob.NewServer(blob.ServerConfig{Store: e.services.Blobs(), Listener: l, Host: host, Log: e.log.With(logging.Component("blob-server"))})
	if e.rest, err = config.RestBindPort.In(cfg).Listen(ctx, config.RestBindAddress.In(cfg)); err != nil {
		return startup("REST endpoint ("+config.RestPort.Key+")", err)
	}
	if e.metrics = newReporter(ctx, cfg, e.log); e.metrics != nil {
		e.metrics.Add(metrics.Process(metrics.JobManager, host))
		e.metrics.Add(sharedFigures(e.rpc, e.services))
	}
	return nil
}

// rpcPorts are the ports to listen on, and the option that says so. With high availability any free one
// will do, as addresses are published.
func (e *ClusterEntrypoint) rpcPorts() (key string, ports config.Ports) {
	if highlyAvailable(e.cfg) {
		return config.HAJobManagerPort.Key, config.HAJobManagerPort.In(e.cfg)
	}
	option := config.JobManagerRPCPort
	if config.JobManagerRPCBindPort.IsSet(e.cfg) {
		option = config.JobManagerRPCBindPort
	}
	return option.Key, config.SinglePort(option.In(e.cfg))
}

func (e *ClusterEntrypoint) blobDir() string {
	if dir := config.BlobStorageDirectory.In(e.cfg); dir != "" {
		return dir
	}
	return filepath.Join(e.dir.path, "blobs")
}

func (e *ClusterEntrypoint) jobManager(stop func()) *JobManager {
	return &JobManager{
		RPC:        e.rpc,
		Services:   e.services,
		BlobServer: e.blobs.Address(),
		Timing:     timing(e.cfg),
		Defaults:   defaults(e.cfg),
		Cleanup:    cleanup(e.cfg),
		Ended:      ended(e.cfg),
		Metrics:    e.metrics,
		Host:       config.JobManagerRPCAddress.In(e.cfg),
		Stop:       stop,
		Log:        e.log,
	}
}

func (e *ClusterEntrypoint) restEndpoint() *rest.Server {
	return rest.New(rest.Config{
		Services:         e.services,
		RPC:              e.rpc,
		Uploads:          e.services.Blobs(),
		Listener:         e.rest,
		BaseURL:          e.restURL(),
		Configuration:    e.cfg.Map(),
		RefreshInterval:  config.WebRefreshInterval.In(e.cfg),
		MaxContentLength: int64(config.RestServerMaxContentLength.In(e.cfg)),
		IdleTimeout:      config.RestIdlenessTimeout.In(e.cfg),
		Version:          Version,
		Commit:           Commit(),
		AllowOrigin:      config.WebAllowOrigin.In(e.cfg),
		RefuseJobs:       !config.WebSubmitEnable.In(e.cfg),
		HideCancel:       !config.WebCancelEnable.In(e.cfg),
		Log:              e.log.With(logging.Component("rest")),
	})
}

// restURL is what clients are told: the configured name with the port that was bound.
func (e *ClusterEntrypoint) restURL() string {
	_, port, _ := net.SplitHostPort(e.rest.Addr().String()) // a listener's address always has a port
	return (&url.URL{Scheme: "http", Host: net.JoinHostPort(config.RestAddress.In(e.cfg), port)}).String()
}

// closeServices gives up what the HA backend holds for this process.
func (e *ClusterEntrypoint) closeServices(ctx context.Context) error {
	if e.services == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, config.ServicesShutdownTimeout.In(e.cfg))
	defer cancel()
	err := e.services.Close(ctx)
	e.services = nil
	return err
}

// close undoes initializeServices, also half of it.
func (e *ClusterEntrypoint) close(ctx context.Context) error {
	err := e.closeServices(ctx)
	if e.rest != nil {
		e.rest.Close() // closed already when the endpoint ran
	}
	return errors.Join(err, e.dir.remove())
}

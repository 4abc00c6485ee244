// Package rest is the REST endpoint that every JobManager runs, in the shapes of Flink's REST API v1, so
// that unmodified Flink clients and the Flink Web UI understand it.
//
// The endpoint holds no state of the cluster: it answers by asking the leading Dispatcher and
// ResourceManager by RPC, whichever process they are in, so any JobManager can be asked. While there is
// no leader, a request waits a little for the next one and is then answered 503 with Retry-After.
// Handlers run on the HTTP server's goroutines. The endpoint contends for the component rest_server so
// that clients find one address through the HA services; every endpoint serves, leader or not.
package rest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/httpserver"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// shutdownGrace is how long requests in progress may go on after Run was told to stop.
const shutdownGrace = 2 * time.Second

// Uploads is where job binaries go: haservices.BlobStore.
type Uploads interface {
	// Put stores what r gives, durably, or nothing if r fails. A blob that is there already is no error.
	Put(ctx context.Context, job id.Job, key string, r io.Reader) error
}

// Config is what a Server needs.
type Config struct {
	Services *haservices.Services
	RPC      *rpc.Service
	Uploads  Uploads
	// Listener is served and closed by Run.
	Listener net.Listener
	// BaseURL is published to clients: http://host:port.
	BaseURL string
	// Configuration is shown under /jobmanager/config; values of secrets are masked.
	Configuration map[string]string
	// RefreshInterval is the pause between two polls of the web page. Flink's web.refresh-interval; default 3 s.
	RefreshInterval time.Duration
	// MaxContentLength bounds a request's body in bytes, uploads of job binaries apart. Flink's
	// rest.server.max-content-length; default 100 MiB.
	MaxContentLength int64
	// IdleTimeout closes connections without requests. Flink's rest.idleness-timeout; default 5 min.
	IdleTimeout time.Duration
	// LeaderTimeout is how long a request waits for a leader that answers; default 5 s.
	LeaderTimeout time.Duration
	// AskTimeout bounds one call to a leader. Flink's pekko.ask.timeout; default 10 s.
	AskTimeout time.Duration
	// AllowOrigin is the Access-Control-Allow-Origin header of every answer. Flink's
	// web.access-control-allow-origin; default "*".
	AllowOrigin string
	// RefuseJobs answers submissions with 403. Flink's web.submit.enable, which concerns its web page alone.
	RefuseJobs bool
	// HideCancel tells the web page not to offer to cancel jobs; it can be done all the same. Flink's
	// web.cancel.enable.
	HideCancel bool
	// Version and Commit of this build, as clients see them.
	Version, Commit string
	Log             *zap.Logger
}

// Server is the REST endpoint. Flink's DispatcherRestEndpoint.
type Server struct {
	cfg             Config
	dispatcher      *leader
	resourceManager *leader
	election        *haservices.LeaderElection // set by Run before it contends
}

// New returns an endpoint that does not serve yet.
func New(cfg Config) *Server {
	cfg.RefreshInterval = cmp.Or(cfg.RefreshInterval, 3*time.Second)
	cfg.MaxContentLength = cmp.Or(cfg.MaxContentLength, 100<<20)
	cfg.IdleTimeout = cmp.Or(cfg.IdleTimeout, 5*time.Minute)
	cfg.AllowOrigin = cmp.Or(cfg.AllowOrigin, "*")
	cfg.LeaderTimeout = cmp.Or(cfg.LeaderTimeout, 5*time.Second)
	cfg.AskTimeout = cmp.Or(cfg.AskTimeout, 10*time.Second)
	return &Server{
		cfg:             cfg,
		dispatcher:      newLeader(cfg, "dispatcher"),
		resourceManager: newLeader(cfg, "resource manager"),
	}
}

// Run serves, follows the leaders, and contends for rest_server until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	s.election = s.cfg.Services.LeaderElection(haservices.Component{Kind: haservices.RestServer})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.serve(ctx) })
	g.Go(func() error { return s.election.Run(ctx, s) })
	g.Go(func() error {
		return s.cfg.Services.LeaderRetrieval(haservices.Component{Kind: haservices.Dispatcher}).Run(ctx, s.dispatcher)
	})
	g.Go(func() error {
		return s.cfg.Services.LeaderRetrieval(haservices.Component{Kind: haservices.ResourceManager}).Run(ctx, s.resourceManager)
	})
	return g.Wait()
}

// Lead publishes this endpoint's address; a REST leader has no other duty.
func (s *Server) Lead(ctx context.Context, token id.FencingToken) error {
	if err := s.election.Confirm(ctx, token, s.cfg.BaseURL); err != nil {
		return fmt.Errorf("confirm leadership: %w", err)
	}
	<-ctx.Done()
	return nil
}

func (s *Server) serve(ctx context.Context) error {
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 15 * time.Second,
		IdleTimeout:       s.cfg.IdleTimeout,
		ErrorLog:          zap.NewStdLog(s.cfg.Log),
	}
	return httpserver.Run(ctx, server, s.cfg.Listener, shutdownGrace)
}

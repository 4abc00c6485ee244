package blob

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/httpserver"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
)

// shutdownGrace is how long downloads in progress may go on after Run was told to stop.
const shutdownGrace = time.Second

// ServerConfig is what a Server needs.
type ServerConfig struct {
	Store Store
	// Listener is served and closed by Run.
	Listener net.Listener
	// Host is announced to TaskManagers, with the listener's port.
	Host string
	Log  *zap.Logger
}

// Server hands out blobs by HTTP: GET and HEAD /blobs/<job>/<key>. Flink's BlobServer.
type Server struct {
	cfg ServerConfig
}

// NewServer returns a server that does not serve yet.
func NewServer(cfg ServerConfig) *Server { return &Server{cfg: cfg} }

// Address is host:port as announced to TaskManagers.
func (s *Server) Address() string {
	_, port, _ := net.SplitHostPort(s.cfg.Listener.Addr().String()) // a listener's address always has a port
	return net.JoinHostPort(s.cfg.Host, port)
}

// Run serves until ctx ends; downloads in progress get a second to finish.
func (s *Server) Run(ctx context.Context) error {
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          zap.NewStdLog(s.cfg.Log),
	}
	return httpserver.Run(ctx, server, s.cfg.Listener, shutdownGrace)
}

// Handler is what Run serves.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /blobs/{job}/{key}", s.get) // GET patterns match HEAD too
	return mux
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	job, err := id.ParseJob(r.PathValue("job"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	key := r.PathValue("key")
	if err := checkKey(key); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	content, err := s.cfg.Store.Open(r.Context(), job, key)
	switch {
	case isNotFound(err):
		http.Error(w, fmt.Sprintf("job %s has no blob %s", job, key), http.StatusNotFound)
		return
	case err != nil:
		s.cfg.Log.Warn("blob could not be opened", logging.Job(job), zap.String("blob", key), zap.Error(err))
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer content.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.Method == http.MethodHead {
		return
	}
	if _, err := io.Copy(w, content); err != nil {
		// The receiver sees a broken transfer, never a short file that looks whole.
		s.cfg.Log.Info("blob transfer broke off", logging.Job(job), zap.String("blob", key), zap.Error(err))
		panic(http.ErrAbortHandler)
	}
}

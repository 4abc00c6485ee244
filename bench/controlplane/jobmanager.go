package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/internal/daemon"
	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/entrypoint"
)

// debugDir is the environment variable with the directory for the sockets of JobManagers, <pid>.sock. Fleets
// have theirs in the same place.
const debugDir = "CONTROLPLANE_DEBUG_DIR"

// runJobManager is cmd/jobmanager that also answers on a socket.
func runJobManager() {
	daemon.Program{
		Name:    "jobmanager",
		Short:   "A JobManager under measurement",
		Version: entrypoint.Version,
		Run: func(ctx context.Context, cfg *config.Configuration, log *zap.Logger) error {
			stop, err := serveDebug(os.Getenv(debugDir))
			if err != nil {
				return fmt.Errorf("%w: %w", entrypoint.ErrStartup, err)
			}
			defer stop()
			return entrypoint.RunJobManager(ctx, cfg, log)
		},
		ErrStartup: entrypoint.ErrStartup,
		Fatal:      2,
	}.Main()
}

// serveDebug answers on this process's socket in dir until stop is called.
func serveDebug(dir string) (stop func(), err error) {
	l, err := net.Listen("unix", debugSocket(dir, os.Getpid()))
	if err != nil {
		return nil, err
	}
	var serving sync.WaitGroup
	serving.Go(func() { http.Serve(l, debugHandler()) }) //nolint:errcheck // ends with the listener
	return func() { l.Close(); serving.Wait() }, nil
}

func debugSocket(dir string, pid int) string { return filepath.Join(dir, fmt.Sprintf("%d.sock", pid)) }

// memory of a JobManager after its garbage has been collected and given back, in bytes.
type memory struct {
	Resident, Heap, Stacks float64
	Goroutines             int
}

func debugHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/memory", func(w http.ResponseWriter, _ *http.Request) {
		runtime.GC() // finalizers and pools need two
		debug.FreeOSMemory()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		json.NewEncoder(w).Encode(memory{ //nolint:errcheck // the reader notices
			Resident: resident(os.Getpid()), Heap: float64(stats.HeapAlloc), Stacks: float64(stats.StackInuse),
			Goroutines: runtime.NumGoroutine(),
		})
	})
	return mux
}

// ask makes a request to a process's socket and gives the answer to f.
func ask(dir string, pid int, path string, f func(io.Reader) error) error {
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", debugSocket(dir, pid))
		},
	}}
	answer, err := client.Get("http://process" + path)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, answer.Status)
	}
	return f(answer.Body)
}

func memoryOf(dir string, pid int) (m memory, err error) {
	err = ask(dir, pid, "/memory", func(r io.Reader) error { return json.NewDecoder(r).Decode(&m) })
	return m, err
}

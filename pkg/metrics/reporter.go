package metrics

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/httpserver"
)

const (
	// scrapeTimeout bounds one scrape: Prometheus waits 10 s by default.
	scrapeTimeout = 8 * time.Second
	// shutdownGrace is how long a scrape in progress may go on after Run was told to stop.
	shutdownGrace = time.Second
)

// Config is what a Reporter needs.
type Config struct {
	// Listener is served and closed by Run.
	Listener net.Listener
	// KeepLabels leaves label values as they are. Off, what a metric's name cannot have becomes an underscore.
	// Flink's metrics.reporter.NAME.filterLabelValueCharacters, the other way round.
	KeepLabels bool
	Log        *zap.Logger
}

// Reporter serves the figures of a process over HTTP. Flink's PrometheusReporter.
type Reporter struct {
	cfg      Config
	registry *prometheus.Registry
}

// NewReporter returns a reporter that does not serve yet. It has the Go runtime's and the process's own
// figures (go_*, process_*) from the start.
func NewReporter(cfg Config) *Reporter {
	r := &Reporter{cfg: cfg, registry: prometheus.NewRegistry()}
	r.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Add adds a source, also while Run serves.
func (r *Reporter) Add(s Source) {
	r.registry.MustRegister(&collector{source: s, filter: !r.cfg.KeepLabels}) // it promises no names, so none can clash
}

// collector is a Source as the client library wants it.
type collector struct {
	source Source
	filter bool
}

// Describe promises nothing: which series there are changes with the jobs.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	c.source(ctx, &Sheet{out: out, filter: c.filter})
}

// Handler answers every path, as Flink's reporter does. A figure that is wrong does not hide the others.
func (r *Reporter) Handler() http.Handler {
	return promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, ErrorLog: zap.NewStdLog(r.cfg.Log), Timeout: 2 * scrapeTimeout,
	})
}

// Run serves until ctx ends. That nobody can scrape any more is no reason to end the process: an error is
// worth a line in the log.
func (r *Reporter) Run(ctx context.Context) error {
	server := &http.Server{Handler: r.Handler(), ReadHeaderTimeout: scrapeTimeout, ErrorLog: zap.NewStdLog(r.cfg.Log)}
	return httpserver.Run(ctx, server, r.cfg.Listener, shutdownGrace)
}

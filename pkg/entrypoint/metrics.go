package entrypoint

import (
	"context"
	"slices"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/metrics"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// prometheus is the name of the only reporter.
const prometheus = "prom"

// newReporter opens the port that figures are served on; nil when metrics are off. A process works without
// figures, so a port that cannot be opened is told and passed over, as in Flink.
func newReporter(ctx context.Context, cfg *config.Configuration, log *zap.Logger) *metrics.Reporter {
	log = log.With(logging.Component("metrics"))
	names := config.MetricsReporters.In(cfg)
	for _, name := range names {
		if name != prometheus {
			log.Warn("metric reporter is not supported and stays off; there is only "+prometheus, zap.String("reporter", name))
		}
	}
	factory := config.PrometheusFactory.In(cfg)
	switch {
	case len(names) > 0 && !slices.Contains(names, prometheus), len(names) == 0 && factory == "":
		return nil
	case factory != "" && factory != config.PrometheusFactoryClass:
		log.Warn("metric reporter is not supported and stays off", zap.String("reporter", prometheus), zap.String("factory", factory))
		return nil
	}
	l, err := config.PrometheusPort.In(cfg).Listen(ctx, config.PrometheusBindHost.In(cfg))
	if err != nil {
		log.Error("metrics are not served; with several processes on a machine, make "+config.PrometheusPort.Key+" a range", zap.Error(err))
		return nil
	}
	log.Info("metrics served", zap.String("url", "http://"+l.Addr().String()+"/metrics"))
	return metrics.NewReporter(metrics.Config{Listener: l, KeepLabels: !config.PrometheusFilterLabels.In(cfg), Log: log})
}

// runReporter serves until ctx ends. r may be nil.
func runReporter(ctx context.Context, r *metrics.Reporter, log *zap.Logger) error {
	if r == nil {
		return nil
	}
	if err := r.Run(ctx); err != nil {
		log.Error("metrics are not served any more", zap.Error(err))
	}
	return nil
}

// sharedFigures are those that every process has.
func sharedFigures(service *rpc.Service, services *haservices.Services) metrics.Source {
	return func(_ context.Context, to *metrics.Sheet) {
		to.Count("fenced_messages_total", "Requests refused because they came from a leader of the past, or believed in one.",
			float64(service.FencedMessages()))
		to.Count("fenced_writes_total", "Writes refused because the leadership that they belonged to was over.",
			float64(services.RefusedWrites()))
		for component, busy := range service.Busy() {
			to.Count("main_thread_busy_seconds_total", "Time that the main threads of a component spent working.",
				busy.Seconds(), "component", component)
		}
	}
}

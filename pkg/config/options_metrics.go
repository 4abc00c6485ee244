package config

const metrics = "Metrics"

// PrometheusFactoryClass is what Flink's configuration calls its Prometheus reporter.
const PrometheusFactoryClass = "org.apache.flink.metrics.prometheus.PrometheusReporterFactory"

var (
	// MetricsReporters are the names of the reporters that are on; there is only PrometheusReporter.
	MetricsReporters = define(metrics, list, Description{Key: "metrics.reporters",
		Doc: "Names of the metric reporters that are on; metrics.reporter.NAME.* are their settings. There is one, `prom`, which shows the figures of each process to Prometheus. Metrics are off by default; without this list, prom is on when its factory class is set."})
	// PrometheusFactory is how Flink's configuration names the kind of reporter.
	PrometheusFactory = define(metrics, text, Description{Key: "metrics.reporter.prom.factory.class",
		Doc: "May be set to " + PrometheusFactoryClass + ", as in Flink."})
	// PrometheusPort is where each process serves its figures.
	PrometheusPort = define(metrics, ports, Description{Key: "metrics.reporter.prom.port", Default: "9249",
		Doc: "Port of GET /metrics. With several processes on a machine a range, such as 9250-9260: each takes the next free one."})
	// PrometheusBindHost is the interface of that port.
	PrometheusBindHost = define(metrics, text, Description{Key: "metrics.reporter.prom.bind-host", Default: "127.0.0.1",
		Doc: "Interface that GET /metrics is served on. 0.0.0.0 shows the figures to everybody who can reach the machine. (Flink does that always.)"})
	// PrometheusFilterLabels says whether label values are restricted to what names can have.
	PrometheusFilterLabels = define(metrics, boolean, Description{Key: "metrics.reporter.prom.filterLabelValueCharacters", Default: "true",
		Doc: "Whether characters other than [a-zA-Z0-9:_] in label values become underscores."})
)

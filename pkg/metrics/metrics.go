// Package metrics shows the figures of a process to Prometheus, under the names that Flink's Prometheus
// reporter gives them where Flink has such a figure, and under tamias_ names where it has not.
//
// It knows no component: the entrypoint makes Sources from what components count, and adds them to the
// process's Reporter. A Source is asked at each scrape, on the scrape's goroutine, so a process that nobody
// scrapes spends nothing. A Reporter is off unless metrics.reporters says otherwise.
//
// Flink exports counters, meters and gauges alike as gauges; so do these, for the sake of its dashboards.
// What is ours follows Prometheus's own rules: counters are counters and end in _total.
package metrics

import (
	"context"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Source writes figures to a sheet. ctx ends when the scraper has waited long enough. It may be asked on
// several goroutines at a time.
type Source func(ctx context.Context, to *Sheet)

// Scope is a group of Flink metrics: the beginning of their names, and their labels.
type Scope struct {
	name   string
	labels []string
}

// The scopes that there are, with what their labels stand for.
var (
	// JobManager has the label host.
	JobManager = Scope{"jobmanager", []string{"host"}}
	// Job has host, job_id and job_name.
	Job = Scope{"jobmanager_job", []string{"host", "job_id", "job_name"}}
	// TaskManager has host and tm_id.
	TaskManager = Scope{"taskmanager", []string{"host", "tm_id"}}
	// Task has host, tm_id, job_id, job_name, task_id, task_name, task_attempt_id, task_attempt_num and
	// subtask_index.
	Task = Scope{"taskmanager_job_task", []string{
		"host", "tm_id", "job_id", "job_name", "task_id", "task_name", "task_attempt_id", "task_attempt_num", "subtask_index",
	}}
)

// Sheet takes the figures of one scrape.
type Sheet struct {
	out chan<- prometheus.Metric
	// filter replaces characters in label values as Flink does by default.
	filter bool
}

// Figures are the metrics of one thing in a scope.
type Figures struct {
	sheet  *Sheet
	scope  Scope
	values []string
}

// Of returns the figures of what the labels' values name, in the scope's order.
func (s *Sheet) Of(scope Scope, values ...string) Figures {
	return Figures{s, scope, s.labels(values)}
}

// Set gives the metric flink_<scope>_<name> a value. Characters that a name cannot have become underscores.
func (f Figures) Set(name string, value float64) {
	f.sheet.add(prometheus.GaugeValue, "flink_"+f.scope.name+"_"+legal(name), name+" (scope: "+f.scope.name+")", f.scope.labels, f.values, value)
}

// Count gives a counter of ours a value: tamias_<name>, which ends in _total. labels are pairs of name and
// value.
func (s *Sheet) Count(name, help string, value float64, labels ...string) {
	s.pairs(prometheus.CounterValue, name, help, value, labels)
}

// Gauge gives a gauge of ours a value: tamias_<name>. labels are pairs of name and value.
func (s *Sheet) Gauge(name, help string, value float64, labels ...string) {
	s.pairs(prometheus.GaugeValue, name, help, value, labels)
}

func (s *Sheet) pairs(kind prometheus.ValueType, name, help string, value float64, labels []string) {
	var names, values []string
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	s.add(kind, "tamias_"+name, help, names, s.labels(values), value)
}

func (s *Sheet) add(kind prometheus.ValueType, name, help string, labels, values []string, value float64) {
	d := prometheus.NewDesc(name, help, labels, nil)
	m, err := prometheus.NewConstMetric(d, kind, value, values...)
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	s.out <- m
}

func (s *Sheet) labels(values []string) []string {
	if !s.filter {
		return values
	}
	legals := make([]string, len(values))
	for i, v := range values {
		legals[i] = legal(v)
	}
	return legals
}

// legal replaces what the name of a metric cannot have, as Flink does in label values too.
func legal(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == ':', r == '_':
			return r
		}
		return '_'
	}, s)
}

// Truth is 1 for true, as in Flink.
func Truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

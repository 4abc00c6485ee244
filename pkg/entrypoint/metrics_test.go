package entrypoint

import (
	"context"
	"flag"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/metrics"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/taskmanager"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

// figuresOf is what a scrape shows of sources, without what others define.
func figuresOf(t *testing.T, sources ...metrics.Source) string {
	t.Helper()
	r := metrics.NewReporter(metrics.Config{Log: zap.NewNop()})
	for _, s := range sources {
		r.Add(s)
	}
	recorder := httptest.NewRecorder()
	r.Handler().ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	body, err := io.ReadAll(recorder.Body)
	if err != nil || recorder.Code != 200 {
		t.Fatalf("scrape = %d, %v", recorder.Code, err)
	}
	var kept []string
	for _, line := range strings.SplitAfter(string(body), "\n") {
		if strings.HasPrefix(line, "flink_") || strings.HasPrefix(line, "tamias_") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func TestFigures(t *testing.T) {
	now := time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
	jobID, vertex := id.Job{0x11}, id.Vertex{0xaa}
	attempt := id.ExecutionAttempt{Vertex: vertex, Subtask: 1, Attempt: 2}
	counts := protocol.TaskMetrics{RecordsOut: 100, BytesOut: 5000, BusyMillis: 250, IdleMillis: 700, BackPressuredMillis: 50, MaxGapMillis: 12}
	running := protocol.JobDetails{
		Overview: protocol.JobOverview{ID: jobID, Name: "word count", State: protocol.JobRunning, Restarts: 1, Adoptions: 3, LastModified: now.Add(-time.Second)},
		Subtasks: []protocol.SubtaskDetails{
			{Execution: protocol.Execution{Attempt: attempt, StartedAt: now.Add(-time.Minute)}},
			{Execution: protocol.Execution{Attempt: id.ExecutionAttempt{Vertex: vertex}, StartedAt: now.Add(-time.Hour)}},
		},
		Checkpoints: protocol.CheckpointsSummary{Completed: 4, Failed: 1, InProgress: 1, Latest: &protocol.CheckpointInfo{
			ID: 9, Triggered: now.Add(-2 * time.Second), Ended: now.Add(-1960 * time.Millisecond), Bytes: 4096,
		}},
	}
	restarting := protocol.JobDetails{Overview: protocol.JobOverview{ID: id.Job{0x22}, Name: "other", State: protocol.JobRestarting, LastModified: now.Add(-5 * time.Second)}}
	slots := protocol.TaskManagerList{TaskManagers: []protocol.TaskManagerInfo{
		{ID: "tm-1", Slots: []protocol.Slot{{Allocation: id.Allocation{1}, Job: jobID}, {Index: 1}}}, {ID: "tm-2", Slots: []protocol.Slot{{}}},
	}}
	leadership := protocol.Leadership{
		Leaders: []protocol.LeaderTerm{{Component: "dispatcher", Epoch: 5}, {Component: "job_manager", Job: jobID, Epoch: 9}},
		History: protocol.LeadershipHistory{Totals: protocol.LeadershipTotals{
			Changes: map[string]int64{"dispatcher": 4}, Leaderless: map[string]time.Duration{"dispatcher": 1500 * time.Millisecond},
			Adoptions: 4, AdoptedTasks: 31, LostTasks: 1,
		}},
	}
	got := figuresOf(t, func(_ context.Context, to *metrics.Sheet) {
		slotFigures(to.Of(metrics.JobManager, "jm"), slots)
		jobFigures(to, "jm", running, now)
		jobFigures(to, "jm", restarting, now)
		leadershipFigures(to, leadership)
		taskFigures(to, &metrics.Meters[counter]{}, []string{"tm", "tm-1"}, taskmanager.JobOverview{ID: jobID, Name: "word count"},
			taskmanager.TaskOverview{Execution: protocol.Execution{Attempt: attempt, Metrics: counts}, Vertex: "Source: lines"}, now)
	})
	const file = "testdata/figures.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("figures\n%s\nwant as in %s (rewrite it with -update when that is meant)", got, file)
	}
}

func TestReporterIsOffByDefault(t *testing.T) {
	busy, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	_, taken, _ := net.SplitHostPort(busy.Addr().String())
	const factory = "metrics.reporter.prom.factory.class"
	for _, tc := range []struct {
		name     string
		settings map[string]string
		on       bool
		level    zapcore.Level // of a line that says why not; Info for none
	}{
		{"nothing set", nil, false, zap.InfoLevel},
		{"a port alone", map[string]string{"metrics.reporter.prom.port": "0"}, false, zap.InfoLevel},
		{"listed", map[string]string{"metrics.reporters": "prom"}, true, zap.InfoLevel},
		{"as in Flink", map[string]string{"metrics.reporters": "prom", factory: config.PrometheusFactoryClass}, true, zap.InfoLevel},
		{"factory alone", map[string]string{factory: config.PrometheusFactoryClass}, true, zap.InfoLevel},
		{"not listed", map[string]string{"metrics.reporters": "jmx", factory: config.PrometheusFactoryClass}, false, zap.WarnLevel},
		{"another kind", map[string]string{"metrics.reporters": "prom", factory: "org.apache.flink.metrics.jmx.JMXReporterFactory"}, false, zap.WarnLevel},
		{"port taken", map[string]string{"metrics.reporters": "prom", "metrics.reporter.prom.port": taken}, false, zap.ErrorLevel},
	} {
		settings := map[string]string{"metrics.reporter.prom.port": "0"}
		for k, v := range tc.settings {
			settings[k] = v
		}
		cfg, err := config.FromMap(settings)
		if err != nil {
			t.Fatal(err)
		}
		core, logged := observer.New(zap.WarnLevel)
		r := newReporter(t.Context(), cfg, zap.New(core))
		if (r != nil) != tc.on {
			t.Errorf("%s: reporter on = %t, want %t", tc.name, r != nil, tc.on)
		}
		if n := logged.Len(); (n > 0) != (tc.level > zap.InfoLevel) || n > 0 && logged.All()[0].Level != tc.level {
			t.Errorf("%s: logged %+v, want a line at %s", tc.name, logged.All(), tc.level)
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := runReporter(ctx, r, zap.NewNop()); err != nil {
			t.Errorf("%s: runReporter = %v", tc.name, err)
		}
	}
}

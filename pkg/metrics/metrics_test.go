package metrics

import (
	"context"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a reporter on loopback until the test ends and returns its URL.
func serve(t *testing.T, change func(*Config), sources ...Source) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Listener: l, Log: zap.NewNop()}
	if change != nil {
		change(&cfg)
	}
	r := NewReporter(cfg)
	for _, s := range sources {
		r.Add(s)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return "http://" + l.Addr().String()
}

func scrape(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s = %d, %v:\n%s", url, response.StatusCode, err, body)
	}
	return string(body)
}

// ours drops the figures of the Go runtime and the process, which others define.
func ours(text string) string {
	var kept []string
	for _, line := range strings.SplitAfter(text, "\n") {
		if strings.Contains(line, "flink_") || strings.Contains(line, "tamias_") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func sample(_ context.Context, to *Sheet) {
	to.Of(JobManager, "jm-1.example").Set("taskSlotsTotal", 4)
	job := to.Of(Job, "jm-1.example", "8eb3", "word count: 1")
	job.Set("uptime", 1500)
	job.Set("isStable", Truth(true))
	task := to.Of(Task, "tm", "tm:1-ab", "8eb3", "word count", "9400", "Source: lines -> Map <T>", "9400_0_1", "1", "0")
	task.Set("numRecordsIn", 10)
	to.Of(TaskManager, "tm", "tm:1-ab").Set("Status.JVM.CPU.Load", 0.25)
	to.Count("leader_changes_total", "How often leadership passed on.", 3, "component", "dispatcher")
	to.Gauge("orphaned_jobs", "Jobs without a master.", 1)
}

func TestScrape(t *testing.T) {
	for _, tc := range []struct {
		file   string
		change func(*Config)
	}{
		{"testdata/filtered.txt", nil},
		{"testdata/unfiltered.txt", func(c *Config) { c.KeepLabels = true }},
	} {
		url := serve(t, tc.change, sample)
		got := ours(scrape(t, url+"/metrics"))
		if again := ours(scrape(t, url+"/any/path")); again != got {
			t.Errorf("another path gives another answer:\n%s", again)
		}
		if *update {
			if err := os.WriteFile(tc.file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(tc.file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("scraped\n%s\nwant as in %s (rewrite it with -update when that is meant)", got, tc.file)
		}
	}
}

// TestWrongFigure: it hides no other.
func TestWrongFigure(t *testing.T) {
	wrong := func(_ context.Context, to *Sheet) { to.Of(Job, "one label is missing", "x").Set("uptime", 1) }
	if text := scrape(t, serve(t, nil, wrong, sample)); !strings.Contains(text, "flink_jobmanager_taskSlotsTotal") {
		t.Errorf("a wrong figure hides the others:\n%s", ours(text))
	}
}

func TestProcess(t *testing.T) {
	text := scrape(t, serve(t, nil, Process(TaskManager, "here", "tm-1")))
	for _, name := range []string{
		"Memory_Heap_Used", "Memory_Heap_Committed", "Memory_Heap_Max", "Memory_NonHeap_Used", "GarbageCollector_All_Count",
		"GarbageCollector_All_Time", "CPU_Load", "CPU_Time", "Threads_Count", "FileDescriptor_Open", "FileDescriptor_Max",
	} {
		line := regexp.MustCompile(`(?m)^flink_taskmanager_Status_JVM_` + name + `\{host="here",tm_id="tm_1"\} -?[0-9.e+]+$`)
		if !line.MatchString(text) {
			t.Errorf("%s is missing in\n%s", name, ours(text))
		}
	}
	if !strings.Contains(text, "\ngo_goroutines ") || !strings.Contains(text, "\nprocess_open_fds ") {
		t.Error("the Go runtime's own figures are missing")
	}
}

func TestMeters(t *testing.T) {
	var m Meters[string]
	at := time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		after time.Duration
		value float64
		want  float64
	}{
		{0, 1000, 0}, // the first reading
		{0, 1000, 0}, // a second scraper at once
		{10 * time.Second, 1100, 10},
		{10*time.Second + 1, 1100, 10},
		{60 * time.Second, 1600, 10},
		{75 * time.Second, 3100, 2000. / 65}, // the reading at 10 s is the oldest one that counts
		{80 * time.Second, 40, 0},            // it began anew
		{90 * time.Second, 140, 10},
		{10 * time.Minute, 650, 1},                         // nobody scraped for long
		{10*time.Minute + 30*time.Second, 650, 510. / 540}, // the reading before the last minute counts
	} {
		if got := m.Rate("a", tc.value, at.Add(tc.after)); got-tc.want > 1e-6 || tc.want-got > 1e-6 {
			t.Errorf("rate after %s = %g, want %g", tc.after, got, tc.want)
		}
	}
	m.Rate("b", 1, at.Add(time.Hour))
	m.Forget(at.Add(30 * time.Minute))
	if len(m.meters) != 1 {
		t.Errorf("%d meters are kept, want the one that is in use", len(m.meters))
	}
}

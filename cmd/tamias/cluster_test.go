package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/worker"
)

func TestMain(m *testing.M) {
	for _, name := range []string{"TAMIAS_CONF_DIR", "FLINK_CONF_DIR"} {
		os.Unsetenv(name)
	}
	goleak.VerifyTestMain(m)
}

// script is a program as far as a plan goes; its first argument says how it behaves.
const script = `#!/bin/sh
case "$1" in
broken) echo "flag provided but not defined: -x" >&2; exit 2 ;;
silent) exit 0 ;;
esac
echo "hello from main"
[ "$` + worker.EnvMode + `" = ` + worker.ModePlan + ` ] || exit 3
cat > "$` + worker.EnvPlanFile + `" <<END
%s
END
`

// newProgram writes the script with its graph. The parallelism is put in by the shell.
func newProgram(t *testing.T) string {
	t.Helper()
	graph, err := json.Marshal(sampleGraph())
	if err != nil {
		t.Fatal(err)
	}
	plan := strings.Replace(string(graph), `"parallelism":1`, `"parallelism":$`+worker.EnvParallelism, 1)
	path := filepath.Join(t.TempDir(), "numbers")
	if err := os.WriteFile(path, fmt.Appendf(nil, script, plan), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func sampleGraph() jobgraph.JobGraph {
	return jobgraph.JobGraph{Name: "numbers", Vertices: []jobgraph.Vertex{{
		ID: id.Vertex{1}, Name: "numbers", Parallelism: 1, Source: true, Operators: []jobgraph.Operator{{UID: "1", Name: "numbers"}},
	}}}
}

// cluster is a REST endpoint that plays one.
type cluster struct {
	t      *testing.T
	server *httptest.Server

	mu      sync.Mutex // guards all below
	refuse  int        // that many requests are answered 503
	seen    []string   // requests
	graphs  []jobgraph.JobGraph
	uploads [][]byte
	// script is what the details of a job show, one after the other; the last one stays.
	script []protocol.JobDetails
	jobs   []map[string]any // of /jobs/overview
	fail   map[string]int   // status by request
	// leadership is the answer of /cluster/leadership.
	leadership json.RawMessage
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, fail: map[string]int{}}
	c.server = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.server.Close)
	return c
}

// address is host:port.
func (c *cluster) address() string { return strings.TrimPrefix(c.server.URL, "http://") }

func (c *cluster) serve(w http.ResponseWriter, r *http.Request) {
	graph, upload := readSubmission(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	request := r.Method + " " + r.URL.RequestURI()
	c.seen = append(c.seen, request)
	answer := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(body)
	}
	failure := func(status int, text string) { answer(status, map[string]any{"errors": []string{text}}) }
	switch status := c.fail[request]; {
	case c.refuse > 0:
		c.refuse--
		failure(503, "election")
	case status != 0:
		failure(status, "org.apache.flink.runtime.rest.NotFoundException: this is why")
	case request == "GET /v1/jobs/overview":
		answer(200, map[string]any{"jobs": c.jobs})
	case request == "GET /v1/overview":
		answer(200, map[string]any{"taskmanagers": 1, "slots-total": 4, "slots-available": 3})
	case request == "GET /v1/cluster/leadership":
		answer(200, c.leadership)
	case request == "POST /v1/jobs":
		c.graphs, c.uploads = append(c.graphs, graph), append(c.uploads, upload)
		answer(202, map[string]any{"jobUrl": "/jobs/" + graph.ID.String()})
	case strings.HasSuffix(request, "/details") && len(c.script) > 0:
		d := c.script[0]
		if len(c.script) > 1 {
			c.script = c.script[1:]
		}
		answer(200, d)
	case r.Method == "PATCH":
		answer(202, map[string]any{})
	default:
		failure(404, "Not found: "+r.URL.Path)
	}
}

func readSubmission(r *http.Request) (g jobgraph.JobGraph, binary []byte) {
	parts, err := r.MultipartReader()
	if err != nil {
		return g, nil
	}
	for part, err := parts.NextPart(); err == nil; part, err = parts.NextPart() {
		content, _ := io.ReadAll(part) // a broken upload shows as other content
		switch part.FormName() {
		case "request":
			request := struct {
				JobGraph *jobgraph.JobGraph `json:"jobGraph"`
			}{&g}
			json.Unmarshal(content, &request)
		case "jobbinary":
			binary = content
		}
	}
	return g, binary
}

// result is what a command line did.
type result struct {
	code           int
	stdout, stderr string
}

// tamias runs a command line in an empty directory.
func tamias(t *testing.T, args ...string) result {
	t.Helper()
	return tamiasUntil(t.Context(), t, args...)
}

func tamiasUntil(ctx context.Context, t *testing.T, args ...string) result {
	t.Helper()
	t.Chdir(t.TempDir())
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// check compares an outcome: rc, the whole stdout, and a part of stderr.
func (r result) check(t *testing.T, code int, stdout, stderr string) {
	t.Helper()
	if r.code != code || r.stdout != stdout || !strings.Contains(r.stderr, stderr) {
		t.Errorf("rc %d\nstdout %q\nstderr %q\nwant rc %d\nstdout %q\nstderr with %q", r.code, r.stdout, r.stderr, code, stdout, stderr)
	}
}

var started = time.Date(2024, 3, 1, 10, 20, 30, 0, time.Local)

func detailsOf(state protocol.JobState, change ...func(*protocol.JobDetails)) protocol.JobDetails {
	d := protocol.JobDetails{Overview: protocol.JobOverview{
		ID: theJob, Name: "numbers", State: state, Start: started, Tasks: map[protocol.TaskState]int{protocol.Running: 2},
	}, Graph: sampleGraph(), JobMasterEpoch: 1}
	if state.Terminal() {
		d.Overview.End = started.Add(1500 * time.Millisecond)
	}
	for _, f := range change {
		f(&d)
	}
	return d
}

var theJob = id.Job{0xab}

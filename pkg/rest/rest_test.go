package rest

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// Java clients fail on a missing number or boolean, so the shapes are kept as files.
func TestShapes(t *testing.T) {
	f := newFixture(t)
	f.announce(f.sampleLeader("jm:1"))
	now := regexp.MustCompile(`"now":\d+`)
	for _, tc := range []struct{ name, path string }{
		{"overview", "/overview"},
		{"jobs", "/jobs"},
		{"jobs-overview", "/jobs/overview"},
		{"job", "/jobs/" + finished.String()},
		{"job-details", "/jobs/" + finished.String() + "/details"},
		{"job-status", "/jobs/" + finished.String() + "/status"},
		{"job-plan", "/jobs/" + finished.String() + "/plan"},
		{"job-config", "/jobs/" + finished.String() + "/config"},
		{"job-exceptions", "/jobs/" + failed.String() + "/exceptions?maxExceptions=10"},
		{"job-exceptions-1", "/jobs/" + failed.String() + "/exceptions?maxExceptions=1"},
		{"job-result", "/jobs/" + finished.String() + "/execution-result"},
		{"job-result-failed", "/jobs/" + failed.String() + "/execution-result"},
		{"job-checkpoints", "/jobs/" + finished.String() + "/checkpoints"},
		{"job-checkpoints-config", "/jobs/" + finished.String() + "/checkpoints/config"},
		{"vertex", "/jobs/" + finished.String() + "/vertices/" + numbers.String()},
		{"taskmanagers", "/taskmanagers"},
		{"taskmanager", "/taskmanagers/tm-1"},
		{"jobmanager-config", "/jobmanager/config"},
	} {
		response, body := f.do("GET", tc.path, nil)
		if response.StatusCode != 200 || response.Header.Get("Content-Type") != "application/json; charset=UTF-8" {
			t.Errorf("GET %s = %d, %s", tc.path, response.StatusCode, response.Header.Get("Content-Type"))
		}
		golden(t, tc.name, now.ReplaceAllString(body, `"now":0`))
		if _, again := f.do("GET", "/v1"+tc.path, nil); now.ReplaceAllString(again, "") != now.ReplaceAllString(body, "") {
			t.Errorf("GET /v1%s differs from GET %s", tc.path, tc.path)
		}
	}
}

func TestRunningJob(t *testing.T) {
	f := newFixture(t)
	l := f.lead("jm:1")
	l.jobs = []protocol.JobDetails{runningJob()}
	f.announce(l)
	_, body := f.do("GET", "/jobs/overview", nil)
	var list jobsOverview
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Jobs) != 1 {
		t.Fatalf("jobs = %s, %v", body, err)
	}
	if j := list.Jobs[0]; j.EndTime != -1 || j.Duration <= 0 || j.Tasks["running"] != 3 || j.Tasks["total"] != 4 || len(j.Tasks) != 11 {
		t.Errorf("running job = %+v", j)
	}
	if _, body := f.do("GET", "/jobs/"+running.String()+"/execution-result", nil); body != `{"status":{"id":"IN_PROGRESS"},"job-execution-result":null}` {
		t.Errorf("execution-result = %s", body)
	}
	for _, path := range []string{"/checkpoints", "/checkpoints/config"} {
		if response, _ := f.do("GET", "/jobs/"+running.String()+path, nil); response.StatusCode != 404 {
			t.Errorf("%s of a job without checkpoints = %d, want 404", path, response.StatusCode)
		}
	}
}

func TestErrors(t *testing.T) {
	f := newFixture(t)
	f.announce(f.sampleLeader("jm:1"))
	unknown := id.NewJob().String()
	for _, tc := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/jobs/" + unknown, 404, "not found"},
		{"GET", "/jobs/" + unknown + "/status", 404, "not found"},
		{"GET", "/jobs/123", 400, "Bad request, could not parse parameters: "},
		{"GET", "/jobs/123", 400, `Cannot resolve path parameter (jobid) from value "123".`},
		{"GET", "/jobs/" + finished.String() + "/vertices/x", 400, "path parameter (vertexid)"},
		{"GET", "/jobs/" + finished.String() + "/vertices/" + unknown, 404, "not found"},
		{"GET", "/jobs/" + finished.String() + "/exceptions?maxExceptions=many", 400, "query parameter (maxExceptions)"},
		{"PATCH", "/jobs/" + finished.String() + "?mode=explode", 400, "query parameter (mode)"},
		{"PATCH", "/jobs/" + finished.String() + "?mode=stop", 308, "stop"},
		{"GET", "/taskmanagers/nobody", 404, "nobody"},
		{"POST", "/jobs/overview?x=1", 404, "Not found: /jobs/overview?x=1"},
		{"DELETE", "/v1/jobs", 404, "Not found: /v1/jobs"},
		{"OPTIONS", "/jobs", 404, "Not found: /jobs"},
		{"GET", "/cluster", 404, "Not found: /cluster"},
		{"GET", "/nonsense.js", 404, "Unable to load requested file /nonsense.js."},
		{"GET", "/v2/jobs", 404, "Unable to load requested file /v2/jobs."},
	} {
		response, body := f.do(tc.method, tc.path, nil)
		if got := errorsOf(t, body); response.StatusCode != tc.status || !strings.Contains(got[0], tc.want) {
			t.Errorf("%s %s = %d %q, want %d with %q", tc.method, tc.path, response.StatusCode, got, tc.status, tc.want)
		}
	}
	if response, _ := f.do("HEAD", "/jobs", nil); response.StatusCode != 404 {
		t.Errorf("HEAD /jobs = %d, want 404", response.StatusCode)
	}
}

func TestServerError(t *testing.T) {
	f := newFixture(t)
	l := f.lead("jm:1")
	l.err = io.ErrUnexpectedEOF
	f.announce(l)
	response, body := f.do("GET", "/jobs", nil)
	if got := errorsOf(t, body); response.StatusCode != 500 || len(got) != 2 || got[0] != "Internal server error." || !strings.Contains(got[1], "unexpected EOF") {
		t.Errorf("= %d %q", response.StatusCode, got)
	}
}

// Java clients send two bytes with every GET, over one connection.
func TestBodyOfGetIsDrained(t *testing.T) {
	f := newFixture(t)
	f.announce(f.sampleLeader("jm:1"))
	for range 3 {
		if response, body := f.do("GET", "/v1/jobs/overview", strings.NewReader("{}")); response.StatusCode != 200 {
			t.Errorf("GET with a body = %d %s", response.StatusCode, body)
		}
	}
	if response, body := f.do("PATCH", "/jobs/"+finished.String(), strings.NewReader(strings.Repeat("x", 2<<20))); response.StatusCode != 413 {
		t.Errorf("PATCH with 2 MiB = %d %s, want 413", response.StatusCode, body)
	} else {
		errorsOf(t, body)
	}
}

func TestCancel(t *testing.T) {
	f := newFixture(t)
	l := f.sampleLeader("jm:1")
	f.announce(l)
	for _, request := range []struct{ method, path string }{
		{"PATCH", "/jobs/" + finished.String() + "?mode=cancel"},
		{"PATCH", "/v1/jobs/" + finished.String()},
		{"GET", "/jobs/" + finished.String() + "/yarn-cancel"},
	} {
		if response, body := f.do(request.method, request.path, nil); response.StatusCode != 202 || body != "{}" {
			t.Errorf("%s %s = %d %s, want 202 {}", request.method, request.path, response.StatusCode, body)
		}
	}
	if len(l.cancelled) != 3 || l.cancelled[0] != finished {
		t.Errorf("cancelled = %v", l.cancelled)
	}
	for _, tc := range []struct {
		err  error
		want int
	}{{protocol.ErrJobEnded, 409}, {protocol.ErrUnknownJob, 404}} {
		l.locked(func() { l.err = tc.err })
		if response, _ := f.do("PATCH", "/jobs/"+finished.String(), nil); response.StatusCode != tc.want {
			t.Errorf("PATCH when the dispatcher says %v = %d, want %d", tc.err, response.StatusCode, tc.want)
		}
	}
}

func TestStopCluster(t *testing.T) {
	f := newFixture(t)
	l := f.sampleLeader("jm:1")
	f.announce(l)
	if response, body := f.do("DELETE", "/cluster", nil); response.StatusCode != 200 || body != "{}" || l.stops != 1 {
		t.Errorf("DELETE /cluster = %d %s, %d stops", response.StatusCode, body, l.stops)
	}
}

func TestNoLeader(t *testing.T) {
	f := newFixture(t)
	f.server.dispatcher.wait = 10 * time.Millisecond
	response, body := f.do("GET", "/jobs", nil)
	if got := errorsOf(t, body); response.StatusCode != 503 || got[0] != leaderElectionMessage || response.Header.Get("Retry-After") == "" {
		t.Errorf("without leader = %d %q, Retry-After %q", response.StatusCode, got, response.Header.Get("Retry-After"))
	}
	// What describes this process needs no leader.
	for _, path := range []string{"/config", "/jobmanager/config", "/jobmanager/environment"} {
		if response, _ := f.do("GET", path, nil); response.StatusCode != 200 {
			t.Errorf("GET %s without leader = %d", path, response.StatusCode)
		}
	}
}

// A request that meets a dead, deposed, frozen or recovering leader is answered by the next one.
func TestRequestSurvivesALeaderChange(t *testing.T) {
	for name, breakLeader := range map[string]func(f *fixture, l *leaders){
		"dead":   func(f *fixture, _ *leaders) { f.network.Kill("old:1") },
		"frozen": func(f *fixture, _ *leaders) { f.network.Freeze("old:1") },
		"deposed": func(f *fixture, l *leaders) {
			rpc.Do(f.ctx, l.main, func() { l.fence.Revoke() })
		},
		"recovering": func(_ *fixture, l *leaders) { l.locked(func() { l.err = protocol.ErrNotReady }) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			old := f.sampleLeader("old:1")
			f.announce(old)
			breakLeader(f, old)
			answered := make(chan string, 1)
			go func() {
				_, body := f.do("GET", "/jobs/"+finished.String()+"/status", nil)
				answered <- body
			}()
			select {
			case body := <-answered:
				t.Fatalf("answered by nobody: %s", body)
			case <-time.After(30 * time.Millisecond):
			}
			f.announce(f.sampleLeader("new:1"))
			if body := <-answered; body != `{"status":"FINISHED"}` {
				t.Errorf("answer = %s", body)
			}
			f.network.Thaw("old:1")
		})
	}
}

// Stopping the cluster is not repeated at the next leader.
func TestStopClusterIsNotRepeated(t *testing.T) {
	f := newFixture(t)
	old := f.sampleLeader("old:1")
	f.announce(old)
	f.network.Kill("old:1")
	if response, _ := f.do("DELETE", "/cluster", nil); response.StatusCode != 503 {
		t.Errorf("DELETE /cluster at a dead leader = %d, want 503", response.StatusCode)
	}
}

func TestHeaders(t *testing.T) {
	f := newFixture(t)
	f.announce(f.sampleLeader("jm:1"))
	response, body := f.do("GET", "/jobs", nil)
	if h := response.Header; h.Get("Access-Control-Allow-Origin") != "*" || response.ContentLength != int64(len(body)) {
		t.Errorf("headers %v for %d bytes", h, len(body))
	}
	response, _ = f.do("GET", "/jobs", nil, func(r *http.Request) { r.Close = true })
	if !response.Close {
		t.Error("connection is kept although the client asked to close it")
	}
}

package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
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
	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// leaders is a process whose Dispatcher and ResourceManager lead, and answer from what is in here.
type leaders struct {
	main  *rpc.MainThread
	fence rpc.LeaderFence // owned by main
	info  map[string]haservices.LeaderInformation

	mu        sync.Mutex // guards all below
	jobs      []protocol.JobDetails
	workers   []protocol.TaskManagerInfo
	submitted []protocol.SubmitJobRequest
	cancelled []id.Job
	stops     int
	// leadership is what the Dispatcher says of it.
	leadership protocol.Leadership
	err        error // of every call, when set
}

func (l *leaders) locked(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// fixture is a REST endpoint in front of leaders.
type fixture struct {
	t       *testing.T
	server  *Server
	http    *httptest.Server
	network *rpctest.Network
	ha      *embedded.Cluster // in which the endpoint's process is "rest"
	files   *filesystem.Memory
	blobs   *haservices.BlobStore
	ctx     context.Context
	running sync.WaitGroup
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, network: rpctest.NewNetwork(rpctest.Faults{}), ha: embedded.NewCluster(embedded.Config{}), files: filesystem.NewMemory()}
	ctx, stop := context.WithCancel(context.Background())
	f.ctx = ctx
	services := haservices.New(haservices.Config{Driver: f.ha.Driver("rest"), FileSystem: f.files, StorageDir: "/ha"})
	f.blobs = services.Blobs()
	f.server = New(Config{
		Services: services, RPC: rpc.NewService(f.network.Node("rest:1")), Uploads: f.blobs,
		Configuration:    map[string]string{"rest.port": "8081", "s3.secret-key": "hush"},
		MaxContentLength: 1 << 20, LeaderTimeout: time.Minute, Version: "1.2.3", Commit: "abc", Log: zap.NewNop(),
	})
	f.http = httptest.NewServer(f.server.Handler())
	t.Cleanup(func() {
		stop()
		f.http.Close()
		f.running.Wait()
		if err := services.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return f
}

// lead starts a process with leaders at address, under a token of its own, and does not announce them.
func (f *fixture) lead(address string) *leaders {
	f.t.Helper()
	l := &leaders{main: rpc.NewMainThread()}
	token := id.NewFencingToken(uint64(time.Now().UnixNano()) & id.MaxEpoch)
	l.fence.Grant(token)
	service := rpc.NewService(f.network.Node(address))
	l.info = map[string]haservices.LeaderInformation{}
	for _, name := range []string{protocol.DispatcherEndpoint, protocol.ResourceManagerEndpoint} {
		service.Add(l.endpoint(name))
		l.info[name] = haservices.LeaderInformation{Address: service.Address(name), Token: token}
	}
	f.running.Go(func() { l.main.Run(f.ctx) })
	f.running.Go(func() { service.Run(f.ctx) })
	return l
}

func (f *fixture) announce(l *leaders) {
	f.server.dispatcher.NotifyLeader(l.info[protocol.DispatcherEndpoint])
	f.server.resourceManager.NotifyLeader(l.info[protocol.ResourceManagerEndpoint])
}

func (l *leaders) endpoint(name string) *rpc.Endpoint {
	e := rpc.NewEndpoint(name, l.main)
	if name == protocol.ResourceManagerEndpoint {
		handle(l, e, protocol.ListTaskManagers, func(protocol.Empty) (protocol.TaskManagerList, error) {
			return protocol.TaskManagerList{TaskManagers: l.workers}, nil
		})
		return e
	}
	handle(l, e, protocol.ListJobs, func(protocol.Empty) (list protocol.JobList, err error) {
		for _, d := range l.jobs {
			list.Jobs = append(list.Jobs, d.Overview)
		}
		return list, nil
	})
	handle(l, e, protocol.DescribeJob, func(req protocol.DescribeJobRequest) (protocol.JobDetails, error) {
		for _, d := range l.jobs {
			if d.Overview.ID == req.Job {
				return d, nil
			}
		}
		return protocol.JobDetails{}, protocol.ErrUnknownJob
	})
	handle(l, e, protocol.CancelJob, func(req protocol.CancelJobRequest) (protocol.Empty, error) {
		l.cancelled = append(l.cancelled, req.Job)
		return protocol.Empty{}, nil
	})
	handle(l, e, protocol.SubmitJob, func(req protocol.SubmitJobRequest) (protocol.Empty, error) {
		l.submitted = append(l.submitted, req)
		return protocol.Empty{}, nil
	})
	handle(l, e, protocol.DescribeLeadership, func(protocol.Empty) (protocol.Leadership, error) { return l.leadership, nil })
	handle(l, e, protocol.StopCluster, func(protocol.Empty) (protocol.Empty, error) {
		l.stops++
		return protocol.Empty{}, nil
	})
	return e
}

func handle[Req, Resp any](l *leaders, e *rpc.Endpoint, call protocol.Call[Req, Resp], f func(Req) (Resp, error)) {
	rpc.Handle(e, call, &l.fence, func(req Req) (resp Resp, err error) {
		l.locked(func() {
			if err = l.err; err == nil {
				resp, err = f(req)
			}
		})
		return resp, err
	})
}

// do makes a request and returns the answer with its body read.
func (f *fixture) do(method, path string, body io.Reader, change ...func(*http.Request)) (*http.Response, string) {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), method, f.http.URL+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, c := range change {
		c(request)
	}
	response, err := f.http.Client().Do(request)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	return response, string(content)
}

// errorsOf reads an error body: exactly one member, the strings in errors.
func errorsOf(t *testing.T, body string) []string {
	t.Helper()
	var object map[string][]string
	if err := json.Unmarshal([]byte(body), &object); err != nil || len(object) != 1 || len(object["errors"]) == 0 {
		t.Fatalf("error body %q: %v, want one member \"errors\" that is a list of strings", body, err)
	}
	return object["errors"]
}

// golden compares got with a file in testdata, both indented.
func golden(t *testing.T, name string, got string) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(got), "", "  "); err != nil {
		t.Fatalf("%s: %v in %q", name, err, got)
	}
	b.WriteByte('\n')
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(file, b.Bytes(), 0o644)); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s differs from %s (rewrite it with -update when that is meant):\n%s", name, file, firstDifference(b.String(), string(want)))
	}
}

func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "got  " + a[i] + "\nwant " + b[i]
		}
	}
	return "one has more lines than the other"
}

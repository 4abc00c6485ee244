package process_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/taskmanager"
	"github.com/tamias-project/tamias/pkg/worker"
	"github.com/tamias-project/tamias/stream"
)

func init() {
	if len(os.Args) > 1 && os.Args[1] == "stream" {
		env := stream.New()
		s := stream.From(env, "gen", stream.Generate(0, 1000, func(i int64) int64 { return i }))
		stream.Print(stream.Map(s, func(i int64) int64 {
			if i == 3000 {
				panic("user panics")
			}
			return i
		}))
		if err := env.Execute(context.Background(), "tmp"); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
}

func TestTmp(t *testing.T) {
	self, _ := os.Executable()
	plan := filepath.Join(t.TempDir(), "plan")
	cmd := exec.Command(self, "stream")
	cmd.Env = append(os.Environ(), worker.EnvMode+"="+worker.ModePlan, worker.EnvPlanFile+"="+plan)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	var g jobgraph.JobGraph
	data, _ := os.ReadFile(plan)
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	g.ID = id.NewJob()
	g.Args = []string{"stream"}
	h := newHost(t)
	began := time.Now()
	p, err := h.Launch(t.Context(), taskmanager.LaunchSpec{Graph: g})
	if err != nil {
		t.Fatal(err)
	}
	t.Log("launched in", time.Since(began))
	prepared, err := rpc.Invoke(t.Context(), p.Gateway(), protocol.StartWorker, protocol.StartWorkerRequest{Graph: g, BindHost: "127.0.0.1", Host: "127.0.0.1"})
	t.Log(prepared, err)
	d := protocol.DeployTasksRequest{Job: g.ID}
	for _, v := range g.Vertices {
		for s := range v.Parallelism {
			d.Tasks = append(d.Tasks, protocol.TaskDeployment{Attempt: id.ExecutionAttempt{Vertex: v.ID, Subtask: s}})
		}
	}
	_, err = rpc.Invoke(t.Context(), p.Gateway(), protocol.WorkerDeploy, d)
	t.Log(len(d.Tasks), err)
	var after int64
	ctx, c := context.WithTimeout(t.Context(), 5*time.Second)
	defer c()
	for {
		a, err := rpc.Invoke(ctx, p.Gateway(), protocol.WorkerEvents, protocol.WorkerEventsRequest{After: after})
		if err != nil {
			t.Log(err)
			break
		}
		for _, e := range a.Events {
			after = e.Number
			if e.State != nil {
				t.Log(e.State.State, e.State.Failure)
			}
		}
	}
	m, err := rpc.Invoke(t.Context(), p.Gateway(), protocol.WorkerMetrics, protocol.Empty{})
	t.Log(m, err)
	p.Kill()
	<-p.Done()
	t.Log(p.Failure().Message)
	files, _ := filepath.Glob(h.logs + "/*")
	for _, f := range files {
		b, _ := os.ReadFile(f)
		t.Log(f, len(b), string(b[:min(len(b), 100)]))
	}
	for _, e := range h.lines.All() {
		t.Log(e.Level, e.Message, e.ContextMap())
	}
}

package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
)

// Leaders end ten times, and come back as standbys, while a script asks a thousand times. Each answer is right and no
// call fails: what a standby does not know it asks the leader, and what nobody can answer now is asked again.
func TestAThousandCallsOverTenLeaderChanges(t *testing.T) {
	backend, network, files := embedded.NewCluster(embedded.Config{}), rpctest.NewNetwork(rpctest.Faults{}), filesystem.NewMemory()
	running, finish := make(chan string), make(chan struct{})
	managers := map[string]*jobManager{}
	start := func(name string) {
		managers[name] = startJobManager(t, name, backend, network, files, running, finish)
	}
	for _, name := range []string{"a", "b", "c"} {
		start(name)
	}
	f := follow(backend.Driver("client"), time.Minute)
	defer f.close()
	c := &client{locator: f, http: newCluster(t).server.Client(), attempts: 100, delay: 10 * time.Millisecond}
	var out bytes.Buffer
	commands := &cli{stdout: &out, stderr: &out}
	program, err := commands.openProgram(t.Context(), newProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	g, err := commands.prepare(t.Context(), program, []string{"x"}, 1, nil, &out)
	if err != nil {
		t.Fatal(err)
	}
	g.ID = theJob
	if err := c.submit(t.Context(), g, program.path); err != nil {
		t.Fatalf("submit = %v", err)
	}
	end, ended := make(chan *jobManager), make(chan string, 1) // room for one: a test that fails leaves at once
	defer close(end)
	leader := <-running
	go func() {
		for jm := range end {
			jm.end()
			ended <- <-running
		}
	}()
	for n := range 1000 {
		switch n % 100 {
		case 20:
			end <- managers[leader]
		case 80:
			next := <-ended
			start(leader)
			leader = next
		}
		var answer struct {
			Jobs []listedJob `json:"jobs"`
		}
		if err := c.get(t.Context(), "/jobs/overview", &answer); err != nil {
			t.Fatalf("call %d: %v", n, err)
		}
		if len(answer.Jobs) != 1 || answer.Jobs[0].ID != theJob || answer.Jobs[0].State.Terminal() {
			t.Fatalf("call %d: %+v, want the one job, which runs", n, answer.Jobs)
		}
	}
}

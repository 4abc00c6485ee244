package rest

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/rpc/rpctest"
)

// publisher is a contender that does nothing but say where it is.
type publisher struct {
	election *haservices.LeaderElection
	address  string
	granted  func(id.FencingToken)
}

func (p *publisher) Lead(ctx context.Context, token id.FencingToken) error {
	p.granted(token)
	if err := p.election.Confirm(ctx, token, p.address); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// Two endpoints in two processes: both answer, by asking the leader in the first; one of them is
// published as rest_server, and the other takes over when it stops.
func TestEveryEndpointServes(t *testing.T) {
	cluster, network := embedded.NewCluster(embedded.Config{}), rpctest.NewNetwork(rpctest.Faults{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	published := make(chan haservices.LeaderInformation, 10)
	viewer := cluster.Driver("viewer")
	observed := make(chan error, 1)
	go func() {
		observed <- viewer.Observe(ctx, haservices.Component{Kind: haservices.RestServer}, func(l haservices.LeaderInformation) { published <- l })
	}()

	type endpoint struct {
		url   string
		stop  context.CancelFunc
		ended chan error
	}
	var endpoints []endpoint
	for _, name := range []string{"a", "b"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		services := haservices.New(haservices.Config{Driver: cluster.Driver(name)})
		service := rpc.NewService(network.Node(name + ":1"))
		url := "http://" + listener.Addr().String()
		server := New(Config{Services: services, RPC: service, Uploads: services.Blobs(), Listener: listener, BaseURL: url, Log: zap.NewNop()})
		ctx, stop := context.WithCancel(ctx)
		e := endpoint{url, stop, make(chan error, 1)}
		go func() {
			err := server.Run(ctx)
			services.Close(context.Background())
			e.ended <- err
		}()
		endpoints = append(endpoints, e)
	}

	// The leaders live in a process of their own.
	services := haservices.New(haservices.Config{Driver: cluster.Driver("leader")})
	service := rpc.NewService(network.Node("leader:1"))
	l := &leaders{main: rpc.NewMainThread(), jobs: []protocol.JobDetails{runningJob()}, workers: sampleTaskManagers()}
	leading := make(chan error, 4)
	go func() { leading <- l.main.Run(ctx) }()
	go func() { leading <- service.Run(ctx) }()
	for kind, name := range map[haservices.Kind]string{
		haservices.Dispatcher: protocol.DispatcherEndpoint, haservices.ResourceManager: protocol.ResourceManagerEndpoint,
	} {
		// Each component has a token of its own, so a fence for each.
		own := &leaders{main: l.main, jobs: l.jobs, workers: l.workers}
		service.Add(own.endpoint(name))
		election := services.LeaderElection(haservices.Component{Kind: kind})
		p := &publisher{election, service.Address(name), func(token id.FencingToken) {
			rpc.Do(ctx, l.main, func() { own.fence.Grant(token) })
		}}
		go func() { leading <- election.Run(ctx, p) }()
	}

	client := &http.Client{}
	for _, e := range endpoints {
		for _, path := range []string{"/overview", "/v1/jobs/" + running.String()} {
			response, err := client.Get(e.url + path)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != 200 {
				t.Errorf("GET %s%s = %d", e.url, path, response.StatusCode)
			}
		}
	}
	first := next(t, published)
	for i, e := range endpoints {
		if e.url != first.Address {
			continue
		}
		e.stop()
		if err := <-e.ended; err != nil {
			t.Errorf("Run = %v", err)
		}
		for l := next(t, published); l.Address != endpoints[1-i].url; l = next(t, published) {
		}
		endpoints[1-i].stop()
		if err := <-endpoints[1-i].ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	}
	stop()
	for range 4 {
		<-leading
	}
	<-observed
	client.CloseIdleConnections()
	services.Close(context.Background())
	viewer.Close()
}

func next(t *testing.T, published <-chan haservices.LeaderInformation) haservices.LeaderInformation {
	t.Helper()
	select {
	case l := <-published:
		return l
	case <-time.After(10 * time.Second):
		t.Fatal("no leader was published within 10 s")
		return haservices.LeaderInformation{}
	}
}

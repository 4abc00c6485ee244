package drill

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/entrypoint"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// client sees a cluster as its processes see each other: it is told of leaders by the HA services and asks
// them by RPC. It changes nothing. Methods may be called on any goroutine.
type client struct {
	driver    haservices.Driver
	services  *haservices.Services
	transport *rpc.GRPC
	stop      context.CancelFunc
	ctx       context.Context // ends with close
	running   sync.WaitGroup

	dispatcher, resourceManager *lookout
}

// askTimeout bounds one question.
const askTimeout = time.Second

// newClient connects to the cluster of a configuration. The caller calls close.
func newClient(ctx context.Context, cfg *config.Configuration) (*client, error) {
	files := filesystem.NewResolver()
	driver, err := entrypoint.NewDriver(cfg, entrypoint.DriverConfig{FileSystem: files, Log: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	c := &client{driver: driver, services: haservices.New(haservices.Config{
		Driver: driver, FileSystem: files,
		StorageDir: config.HAStorageDir.In(cfg), ClusterID: config.HAClusterID.In(cfg),
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0") // nobody calls us, but a transport has an address
	if err != nil {
		return nil, errors.Join(err, driver.Close())
	}
	c.transport = rpc.NewTransport(l, "127.0.0.1")
	c.ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	c.running.Go(func() { _ = rpc.NewService(c.transport).Run(c.ctx) }) // ends with ctx; it serves nothing
	c.dispatcher = c.follow(haservices.Component{Kind: haservices.Dispatcher})
	c.resourceManager = c.follow(haservices.Component{Kind: haservices.ResourceManager})
	return c, nil
}

// follow tells a new lookout who leads a component, until close.
func (c *client) follow(component haservices.Component) *lookout {
	l := newLookout()
	c.running.Go(func() { _ = c.services.LeaderRetrieval(component).Run(c.ctx, l) }) // fails only when closed
	return l
}

func (c *client) close() {
	c.stop()
	c.running.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = c.services.Close(ctx) // nothing is held
}

// ask makes one call to a leader, under its token.
func ask[Req, Resp any](ctx context.Context, c *client, leader haservices.LeaderInformation, call protocol.Call[Req, Resp], req Req) (resp Resp, err error) {
	address, err := rpc.ParseAddress(leader.Address)
	if err != nil {
		return resp, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return rpc.Invoke(ctx, rpc.NewGateway(c.transport, address, leader.Token), call, req)
}

// describeJob asks the leading Dispatcher.
func (c *client) describeJob(ctx context.Context, job id.Job) (protocol.JobDetails, error) {
	return ask(ctx, c, c.dispatcher.last().leader, protocol.DescribeJob, protocol.DescribeJobRequest{Job: job})
}

// taskManagers asks the leading ResourceManager.
func (c *client) taskManagers(ctx context.Context) ([]protocol.TaskManagerInfo, error) {
	list, err := ask(ctx, c, c.resourceManager.last().leader, protocol.ListTaskManagers, protocol.Empty{})
	return list.TaskManagers, err
}

// describeProcess asks the process with that RPC address, host:port.
func (c *client) describeProcess(ctx context.Context, address string) (protocol.ProcessStatus, error) {
	a := rpc.Address{HostPort: address, Endpoint: protocol.ProcessEndpoint}
	return ask(ctx, c, haservices.LeaderInformation{Address: a.String()}, protocol.DescribeProcess, protocol.Empty{})
}

// sighting is the news that somebody leads.
type sighting struct {
	leader haservices.LeaderInformation
	at     time.Time
}

// lookout keeps all news of leaders of one component, with the time of each. It is a
// haservices.LeaderRetrievalListener.
type lookout struct {
	mu      sync.Mutex // guards all below
	seen    []sighting
	changed chan struct{} // closed and replaced with each news
}

func newLookout() *lookout { return &lookout{changed: make(chan struct{})} }

// NotifyLeader takes news in. That nobody leads is none.
func (l *lookout) NotifyLeader(i haservices.LeaderInformation) {
	at := time.Now()
	if i.IsEmpty() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, sighting{i, at})
	close(l.changed)
	l.changed = make(chan struct{})
}

// last is the newest, the zero value before the first.
func (l *lookout) last() sighting {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.seen) == 0 {
		return sighting{}
	}
	return l.seen[len(l.seen)-1]
}

// after are all whose epoch is higher, oldest first, and a channel that is closed when there may be more.
func (l *lookout) after(epoch uint64) ([]sighting, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var newer []sighting
	for _, s := range l.seen {
		if s.leader.Token.Epoch() > epoch {
			newer = append(newer, s)
		}
	}
	return newer, l.changed
}

// await returns the first leader with an epoch above that one.
func (l *lookout) await(ctx context.Context, epoch uint64) (sighting, error) {
	for {
		newer, more := l.after(epoch)
		if len(newer) > 0 {
			return newer[0], nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return sighting{}, fmt.Errorf("no leader after %s (epoch %d): %w", l.last().leader.Address, epoch, ctx.Err())
		}
	}
}

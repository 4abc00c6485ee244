package localcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/entrypoint"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// Leaders follows the leading Dispatcher and the leading REST endpoint of a cluster as any client does:
// through the HA services that the cluster's configuration names. Its methods may be called on any
// goroutine.
type Leaders struct {
	services *haservices.Services
	http     *http.Client
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu         sync.Mutex // guards the rest
	dispatcher haservices.LeaderInformation
	since      time.Time // when we were told of dispatcher
	rest       haservices.LeaderInformation
}

// FollowLeaders follows until Close, or until ctx ends.
func FollowLeaders(ctx context.Context, configDir string) (*Leaders, error) {
	cfg, _, err := config.Load(configDir, nil)
	if err != nil {
		return nil, err
	}
	files := filesystem.NewResolver()
	driver, err := entrypoint.NewDriver(cfg, entrypoint.DriverConfig{FileSystem: files, Log: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	l := &Leaders{
		services: haservices.New(haservices.Config{Driver: driver, FileSystem: files, Log: zap.NewNop()}),
		http:     &http.Client{Transport: &http.Transport{}, Timeout: time.Second},
	}
	ctx, l.stop = context.WithCancel(ctx)
	follow := func(kind haservices.Kind, tell func(haservices.LeaderInformation)) {
		l.running.Go(func() { l.services.LeaderRetrieval(haservices.Component{Kind: kind}).Run(ctx, listener(tell)) })
	}
	follow(haservices.Dispatcher, func(i haservices.LeaderInformation) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !i.IsEmpty() {
			l.dispatcher, l.since = i, time.Now()
		}
	})
	follow(haservices.RestServer, func(i haservices.LeaderInformation) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.rest = i
	})
	return l, nil
}

type listener func(haservices.LeaderInformation)

func (f listener) NotifyLeader(i haservices.LeaderInformation) { f(i) }

// Close ends the following and gives up the connection to the HA services.
func (l *Leaders) Close() {
	l.stop()
	l.running.Wait()
	l.http.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = l.services.Close(ctx) // nothing is held
}

// Dispatcher is the leading Dispatcher that was told last, and when that was.
func (l *Leaders) Dispatcher() (haservices.LeaderInformation, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dispatcher, l.since
}

// RESTURL of the leading endpoint, or "" while there is none.
func (l *Leaders) RESTURL() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rest.Address
}

var errNoEndpoint = errors.New("no REST endpoint leads")

// Get makes one request to the leading REST endpoint and reads the answer into into. It does not try again:
// during a change of leaders an error is nothing unusual.
func (l *Leaders) Get(ctx context.Context, path string, into any) error {
	url := l.RESTURL()
	if url == "" {
		return errNoEndpoint
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)
	if err != nil {
		return err
	}
	resp, err := l.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", path, resp.Status, body)
	}
	return json.Unmarshal(body, into)
}

// JobDetails of a job as the leading Dispatcher tells them; like Get in everything else.
func (l *Leaders) JobDetails(ctx context.Context, job id.Job) (d protocol.JobDetails, err error) {
	err = l.Get(ctx, "/jobs/"+job.String()+"/details", &d)
	return d, err
}

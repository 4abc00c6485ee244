package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/entrypoint"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
)

// locator says where REST is served: http://host:port.
type locator interface {
	// base returns the address known now, waiting for the first one. moved is closed when another one has become
	// known; nil is never.
	base(ctx context.Context) (address string, moved <-chan struct{}, err error)
	// close ends the search.
	close()
}

// locate chooses how to find the cluster: -m, else the high-availability services, else rest.address.
func locate(cfg *config.Configuration, jobManager string) (locator, error) {
	switch {
	case jobManager != "":
		address, err := parseJobManager(jobManager)
		return fixed(address), err
	case config.HAType.In(cfg) == config.HANone:
		return fixed("http://" + net.JoinHostPort(config.RestAddress.In(cfg), fmt.Sprint(config.RestPort.In(cfg)))), nil
	}
	driver, err := entrypoint.NewDriver(cfg, entrypoint.DriverConfig{FileSystem: filesystem.NewResolver(), Log: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	return follow(driver, config.RestAwaitLeaderTimeout.In(cfg)), nil
}

// parseJobManager reads host:port, with or without http:// before it.
func parseJobManager(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		u, err = url.Parse("http://" + s)
	}
	if err != nil || u.Hostname() == "" || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
		return "", sentence("The given host:port ('%s') is not valid: expected for example localhost:8081.", s)
	}
	return u.Scheme + "://" + u.Host, nil
}

// fixed is an address that does not change.
type fixed string

func (f fixed) base(context.Context) (string, <-chan struct{}, error) { return string(f), nil, nil }
func (f fixed) close()                                                {}

// follower knows the leader of rest_server. It is its own LeaderRetrievalListener.
type follower struct {
	driver   haservices.Driver
	services *haservices.Services
	timeout  time.Duration
	stop     context.CancelFunc
	ended    chan struct{} // closed when following has ended, for the reason err
	err      error

	mu    sync.Mutex // guards all below
	last  string     // address of the leader known last
	moved chan struct{}
}

func follow(driver haservices.Driver, timeout time.Duration) *follower {
	ctx, stop := context.WithCancel(context.Background())
	f := &follower{
		driver:   driver,
		services: haservices.New(haservices.Config{Driver: driver}),
		timeout:  timeout, stop: stop,
		ended: make(chan struct{}), moved: make(chan struct{}),
	}
	go func() {
		defer close(f.ended)
		f.err = f.services.LeaderRetrieval(haservices.Component{Kind: haservices.RestServer}).Run(ctx, f)
	}()
	return f
}

// NotifyLeader takes over the leader that retrieval tells. While there is none, the last one is as good as any: each
// JobManager serves.
func (f *follower) NotifyLeader(l haservices.LeaderInformation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.IsEmpty() || l.Address == f.last {
		return
	}
	f.last = l.Address
	close(f.moved)
	f.moved = make(chan struct{})
}

func (f *follower) base(ctx context.Context) (string, <-chan struct{}, error) {
	patience := time.NewTimer(f.timeout)
	defer patience.Stop()
	for {
		f.mu.Lock()
		last, moved := f.last, f.moved
		f.mu.Unlock()
		if last != "" {
			return last, moved, nil
		}
		select {
		case <-moved:
		case <-f.ended:
			return "", nil, fmt.Errorf("look for the leader: %w", f.err)
		case <-patience.C:
			return "", nil, f.noLeader(ctx)
		case <-ctx.Done():
			return "", nil, ctx.Err()
		}
	}
}

// noLeader says why nobody was found: that nobody leads, or that nobody can be asked.
func (f *follower) noLeader(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := f.driver.Children(ctx, "leader"); err != nil {
		return fmt.Errorf("the high-availability services do not answer, so nobody knows which JobManager leads: %w", err)
	}
	return fmt.Errorf("no JobManager leads: none was published within %s (rest.await-leader-timeout)", f.timeout)
}

func (f *follower) close() {
	f.stop()
	<-f.ended
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := f.services.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return // the process ends: nobody needs what could not be closed
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/entrypoint"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
)

// locator says where REST is served: http://host:port.
type locator interface {
	// base returns the address known now, waiting for the first one.
	base(ctx context.Context) (string, error)
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

func (f fixed) base(context.Context) (string, error) { return string(f), nil }
func (f fixed) close()                               {}

// follower knows the leader of rest_server.
type follower struct {
	driver   haservices.Driver
	services *haservices.Services
	leaders  *haservices.LeaderChannel
	timeout  time.Duration
	last     string // what base returned last
	stop     context.CancelFunc
	ended    chan error // closed after Run
}

func follow(driver haservices.Driver, timeout time.Duration) *follower {
	ctx, stop := context.WithCancel(context.Background())
	f := &follower{
		driver:   driver,
		services: haservices.New(haservices.Config{Driver: driver}),
		leaders:  haservices.NewLeaderChannel(), timeout: timeout, stop: stop,
		ended: make(chan error, 1), // room for the one result
	}
	go func() {
		f.ended <- f.services.LeaderRetrieval(haservices.Component{Kind: haservices.RestServer}).Run(ctx, f.leaders)
		close(f.ended)
	}()
	return f
}

// base is called by one goroutine. While there is no leader, the last one is as good as any: each
// JobManager serves.
func (f *follower) base(ctx context.Context) (string, error) {
	patience := time.NewTimer(f.timeout)
	defer patience.Stop()
	for {
		select {
		case l := <-f.leaders.C():
			if !l.IsEmpty() {
				f.last = l.Address
			}
			continue // drain: the newest counts
		default:
		}
		if f.last != "" {
			return f.last, nil
		}
		select {
		case l := <-f.leaders.C():
			f.last = l.Address
		case err := <-f.ended:
			return "", fmt.Errorf("look for the leader: %w", err)
		case <-patience.C:
			return "", f.noLeader(ctx)
		case <-ctx.Done():
			return "", ctx.Err()
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
	for range f.ended { // until closed
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := f.services.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return // the process ends: nobody needs what could not be closed
	}
}

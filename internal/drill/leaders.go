package drill

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/entrypoint"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
)

// leaders follows the leading Dispatcher and REST endpoint as any client does, and notes when it was
// told.
type leaders struct {
	services *haservices.Services
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu         sync.Mutex // guards the rest
	dispatcher haservices.LeaderInformation
	since      time.Time
	rest       haservices.LeaderInformation
}

func followLeaders(ctx context.Context, configDir string) (*leaders, error) {
	cfg, _, err := config.Load(configDir, nil)
	if err != nil {
		return nil, err
	}
	files := filesystem.NewResolver()
	driver, err := entrypoint.NewDriver(cfg, entrypoint.DriverConfig{FileSystem: files, Log: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	l := &leaders{services: haservices.New(haservices.Config{Driver: driver, FileSystem: files, Log: zap.NewNop()})}
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

func (l *leaders) close() {
	l.stop()
	l.running.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = l.services.Close(ctx) // nothing is held
}

func (l *leaders) current() haservices.LeaderInformation {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dispatcher
}

// restURL of the leading endpoint, or "".
func (l *leaders) restURL() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rest.Address
}

// await waits for a leader other than old and returns when it was told.
func (l *leaders) await(ctx context.Context, old haservices.LeaderInformation) (at time.Time, err error) {
	err = poll(ctx, func() (bool, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		at = l.since
		return l.dispatcher != old, nil
	})
	if err != nil {
		return at, fmt.Errorf("%w; the last one was %s", err, old.Address)
	}
	return at, nil
}

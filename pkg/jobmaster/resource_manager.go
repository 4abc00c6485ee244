package jobmaster

import (
	"context"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// followResourceManager stays registered at the leading ResourceManager, one session for each leader.
func (t *term) followResourceManager(ctx context.Context) error {
	leaders := haservices.NewLeaderChannel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return t.jm.cfg.Services.LeaderRetrieval(haservices.Component{Kind: haservices.ResourceManager}).Run(ctx, leaders)
	})
	g.Go(func() error {
		stop := func() {}
		defer func() { stop() }()
		for {
			select {
			case <-ctx.Done():
				return nil
			case leader := <-leaders.C():
				stop() // returns when the old session has ended, so sessions never overlap
				stop = t.beginResourceManager(ctx, leader)
			}
		}
	})
	return g.Wait()
}

func (t *term) beginResourceManager(ctx context.Context, leader haservices.LeaderInformation) (stop func()) {
	if leader.IsEmpty() {
		return func() {}
	}
	gateway, err := t.jm.cfg.RPC.Gateway(leader.Address, leader.Token)
	if err != nil {
		t.log.Error("published address of the resource manager is wrong", zap.Error(err))
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t.attendResourceManager(ctx, gateway)
	}()
	return func() { cancel(); <-ended }
}

// attendResourceManager registers and declares what the job needs, again and again: the declaration is
// the heartbeat.
func (t *term) attendResourceManager(ctx context.Context, g rpc.Gateway) {
	defer t.setResourceManager(g, false)
	for pause := firstPause; ctx.Err() == nil; {
		err := t.registerAtResourceManager(ctx, g)
		if err == nil {
			t.log.Debug("registered at the resource manager", logging.Leader(g.Address().String()))
			pause = firstPause
			err = t.declareAgainAndAgain(ctx, g)
		}
		if ctx.Err() != nil {
			return
		}
		t.setResourceManager(g, false)
		t.log.Debug("resource manager does not answer", logging.RetryIn(pause), zap.Error(err))
		sleep(ctx, pause)
		pause = min(2*pause, lastPause)
	}
}

func (t *term) registerAtResourceManager(ctx context.Context, g rpc.Gateway) error {
	ctx, cancel := context.WithTimeout(ctx, t.jm.cfg.HeartbeatInterval)
	defer cancel()
	_, err := rpc.Invoke(ctx, g, protocol.RegisterJobMaster, protocol.RegisterJobMasterRequest{
		Job: t.jm.id, Token: t.token, Address: t.jm.cfg.RPC.Address(t.endpoint.Name()),
	})
	return err
}

// declareAgainAndAgain declares at once, at each change and each heartbeat interval, until it fails.
func (t *term) declareAgainAndAgain(ctx context.Context, g rpc.Gateway) error {
	again := time.NewTicker(t.jm.cfg.HeartbeatInterval)
	defer again.Stop()
	for {
		if err := t.declareOnce(ctx, g); err != nil {
			return err
		}
		t.setResourceManager(g, true)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.declare:
		case <-again.C:
		}
	}
}

func (t *term) declareOnce(ctx context.Context, g rpc.Gateway) error {
	request, err := rpc.Call(ctx, t.main, func() (r protocol.DeclareRequirementsRequest, _ error) {
		r.Job, r.Token = t.jm.id, t.token
		r.Slots, r.Held = t.schedule.requirements()
		return r, nil
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.jm.cfg.HeartbeatInterval)
	defer cancel()
	_, err = rpc.Invoke(ctx, g, protocol.DeclareRequirements, request)
	return err
}

// setResourceManager notes whether g has the job's requirements.
func (t *term) setResourceManager(g rpc.Gateway, known bool) {
	t.post(func(now time.Time) []action {
		if t.rmKnown == known && t.rm == g {
			return nil
		}
		t.rm, t.rmKnown = g, known
		return t.schedule.resourceManagerKnown(now, known)
	})
}

// disconnect tells the ResourceManager that the job is over; its slots are free then.
func (t *term) disconnect(ctx context.Context, g rpc.Gateway) {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	err := persist(ctx, releaseTimeout, func(ctx context.Context) error {
		_, err := rpc.Invoke(ctx, g, protocol.DisconnectJobMaster, protocol.DisconnectJobMasterRequest{Job: t.jm.id, Token: t.token})
		return err
	})
	if err != nil {
		t.log.Info("resource manager was not told that the job has ended", zap.Error(err))
	}
}

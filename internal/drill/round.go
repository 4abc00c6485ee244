package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// round is one fault: how things were before it, and what was seen since. Used by one goroutine.
type round struct {
	ctx    context.Context
	drill  *drill
	target target
	result *Round
	// random draws all that is left to chance in this round.
	random *rand.Rand
	// before is the job before the fault; the leaders are those of that time.
	before                              protocol.JobDetails
	dispatcher, resourceManager, master haservices.LeaderInformation
	counted                             map[id.Instance]protocol.ProcessStatus
	// gone are processes that the fault has ended, or will have, and that are not replaced yet.
	goneMasters, goneTaskManagers []process
	// stopped are ZooKeeper servers that are not started again yet.
	stopped []zooKeeperServer
	// adopter is the epoch of the JobMaster that adopted the job, 0 for none.
	adopter uint64
	// victim is the process that a fault works on for longer than a moment.
	victim process
}

// round injects one fault and undoes it, also when that fails.
func (d *drill) round(ctx context.Context, f fault) (*Round, error) {
	ctx, cancel := context.WithTimeout(ctx, d.roundTimeout())
	defer cancel()
	r := &round{ctx: ctx, drill: d, target: d.target, result: &Round{Scenario: f.scenario.Name}, random: f.random}
	if err := r.play(f); err != nil {
		return nil, errors.Join(err, r.repair())
	}
	return r.result, r.conclude()
}

// play is a round up to where all is as it was before.
func (r *round) play(f fault) error {
	d := r.drill
	if err := r.awaitWhole(); err != nil {
		return fmt.Errorf("the cluster is not whole before the fault: %w", err)
	}
	if err := pause(r.ctx, d.Window+f.phase); err != nil {
		return err
	}
	if err := r.look(); err != nil {
		return err
	}
	if err := f.scenario.run(r); err != nil {
		return err
	}
	if err := d.job.awaitCommits(r.ctx, 1); err != nil {
		return fmt.Errorf("after the fault: %w", err)
	}
	if err := pause(r.ctx, time.Until(r.result.injected.Add(d.Window))); err != nil {
		return err
	}
	r.result.ended = time.Now()
	if f.scenario.heal != nil {
		if err := f.scenario.heal(r); err != nil {
			return err
		}
	}
	if err := r.replaceGone(); err != nil {
		return err
	}
	if err := r.awaitWhole(); err != nil {
		return fmt.Errorf("the cluster is not whole after the fault: %w", err)
	}
	return nil
}

// repair undoes the fault of a round that has failed, as far as it can: a live cluster must not be left without
// what the drill has taken away.
func (r *round) repair() error {
	r.target.uncut()
	if r.victim != nil {
		r.victim.Thaw()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), roundTimeout)
	defer cancel()
	r.ctx = ctx
	return errors.Join(r.startServers(), r.replaceGone())
}

// roundTimeout bounds one round.
func (d *drill) roundTimeout() time.Duration { return roundTimeout + 4*d.Outage + 2*d.Window }

// look notes how things are just before the fault.
func (r *round) look() (err error) {
	r.dispatcher, r.resourceManager = r.drill.client.dispatcher.last().leader, r.drill.client.resourceManager.last().leader
	r.master = r.drill.master.last().leader
	if r.before, err = r.drill.job.details(r.ctx); err != nil {
		return err
	}
	r.counted = r.count()
	return nil
}

// inject breaks something, and takes the time.
func (r *round) inject(f func()) {
	r.result.injected = time.Now()
	f()
}

// since is the time from the fault to at, in milliseconds.
func (r *round) since(at time.Time) *float64 {
	ms := millis(at.Sub(r.result.injected))
	return &ms
}

// leader is the process that leads the Dispatcher, and so the job.
func (r *round) leader() (process, error) { return r.target.jobManager(r.ctx, r.dispatcher) }

// awaitSuccessor waits for a new Dispatcher, a new JobMaster, and until all tasks run under it.
func (r *round) awaitSuccessor() error {
	led, err := r.drill.client.dispatcher.await(r.ctx, r.dispatcher.Token.Epoch())
	if err != nil {
		return err
	}
	r.result.NewLeaderMillis = r.since(led.at)
	return r.awaitAdoption()
}

// awaitAdoption waits for a new JobMaster, and until all tasks run under it.
func (r *round) awaitAdoption() error {
	master, err := r.drill.master.await(r.ctx, r.master.Token.Epoch())
	if err != nil {
		return fmt.Errorf("no new JobMaster: %w", err)
	}
	d, err := r.drill.job.awaitDetails(r.ctx, func(d protocol.JobDetails) bool {
		return d.JobMasterEpoch >= master.leader.Token.Epoch() && running(d)
	})
	if err != nil {
		return fmt.Errorf("the job was not adopted: %w", err)
	}
	r.result.AdoptionMillis = r.since(time.Now())
	r.adopter = d.JobMasterEpoch
	return nil
}

// awaitRestart waits until tasks have been started again and all run.
func (r *round) awaitRestart() error {
	_, err := r.drill.job.awaitDetails(r.ctx, func(d protocol.JobDetails) bool { return running(d) && attempts(d) > attempts(r.before) })
	if err != nil {
		return fmt.Errorf("the tasks were not restarted: %w", err)
	}
	r.result.RunningMillis = r.since(time.Now())
	return nil
}

// noteSteps adds what the leaders themselves say about their first milliseconds.
func (r *round) noteSteps() {
	if r.adopter == 0 {
		return
	}
	leadership, err := ask(r.ctx, r.drill.client, r.drill.client.dispatcher.last().leader, protocol.DescribeLeadership, protocol.Empty{})
	if err != nil {
		return // it is for people, and of newer builds
	}
	r.result.Steps = map[string]float64{}
	for _, t := range leadership.Leaders {
		prefix := ""
		switch {
		case t.Component == string(haservices.Dispatcher):
			prefix = "dispatcher_"
		case t.Component == string(haservices.JobManager) && t.Job == r.drill.job.id && t.Epoch == r.adopter:
			prefix = "jobmaster_"
		default:
			continue
		}
		for step, at := range map[string]time.Time{
			"detected": t.Detected, "won": t.Won, "stores_read": t.StoresRead, "confirmed": t.Confirmed, "adopted": t.Adopted,
		} {
			if !at.IsZero() {
				r.result.Steps[prefix+step] = *r.since(at)
			}
		}
	}
}

// replaceGone starts processes in the place of those that have ended.
func (r *round) replaceGone() error {
	for len(r.goneMasters) > 0 {
		if err := r.replaceMaster(); err != nil {
			return err
		}
	}
	for len(r.goneTaskManagers) > 0 {
		p := r.goneTaskManagers[0]
		if !p.WaitContext(r.ctx) {
			return r.ctx.Err()
		}
		if err := r.target.replaceTaskManager(r.ctx, p); err != nil {
			return err
		}
		r.goneTaskManagers = r.goneTaskManagers[1:]
	}
	return nil
}

// replaceMaster starts a JobManager in the place of the first that has ended.
func (r *round) replaceMaster() error {
	p := r.goneMasters[0]
	if !p.WaitContext(r.ctx) {
		return r.ctx.Err()
	}
	if err := r.target.replaceJobManager(r.ctx, p); err != nil {
		return err
	}
	r.goneMasters = r.goneMasters[1:]
	return nil
}

// startServers starts ZooKeeper servers that were stopped, and returns when they serve. One that ends again is
// started again: somebody else may have its port for a moment.
func (r *round) startServers() error {
	var started []zooKeeperServer
	for len(r.stopped) > 0 {
		if err := r.stopped[0].Start(); err != nil {
			return err
		}
		started = append(started, r.stopped[0])
		r.stopped = r.stopped[1:]
	}
	for _, s := range started {
		for {
			err := s.Await(r.ctx)
			if err == nil {
				break
			}
			if pause(r.ctx, time.Second) != nil {
				return err
			}
			if err := s.Start(); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitWhole waits until every process has its place: standbys contend, TaskManagers are registered, all tasks
// run.
func (r *round) awaitWhole() error {
	ctx, d := r.ctx, r.drill
	err := poll(ctx, func() (bool, error) {
		serving, err := d.target.serving(ctx)
		if err != nil || !serving || !d.contending(ctx) {
			return false, err
		}
		registered, err := d.client.taskManagers(ctx)
		return err == nil && len(registered) >= d.taskManagers, nil
	})
	if err != nil {
		return fmt.Errorf("JobManagers and TaskManagers: %w", err)
	}
	_, err = d.job.awaitDetails(ctx, running)
	return err
}

// conclude takes stock of a round that is over.
func (r *round) conclude() error {
	after, err := r.drill.job.details(r.ctx)
	if err != nil {
		return err
	}
	r.noteSteps()
	result, client := r.result, r.drill.client
	result.TaskRestarts = attempts(after) - attempts(r.before)
	changes, _ := client.dispatcher.after(r.dispatcher.Token.Epoch())
	result.LeaderChanges = len(changes)
	result.CommitGapMillis = millis(r.drill.commits.longestGap(result.injected.Add(-r.drill.CheckpointInterval), result.ended))
	for process, now := range r.count() {
		before := r.counted[process]
		result.MessagesRefused += now.FencedMessages - before.FencedMessages
		result.LeaderWritesRefused += now.RefusedWrites - before.RefusedWrites
	}
	if result.WritesAccepted, err = r.drill.staleWrites(r.ctx, r.master); err != nil {
		return err
	}
	r.probe()
	return nil
}

// count asks every process what it has refused. One that does not answer is left out.
func (r *round) count() map[id.Instance]protocol.ProcessStatus {
	counted := map[id.Instance]protocol.ProcessStatus{}
	addresses := r.target.addresses(r.ctx)
	registered, _ := r.drill.client.taskManagers(r.ctx) // without it, JobManagers only
	for _, tm := range registered {
		if a, err := rpc.ParseAddress(tm.Address); err == nil {
			addresses = append(addresses, a.HostPort)
		}
	}
	for _, address := range addresses {
		if s, err := r.drill.client.describeProcess(r.ctx, address); err == nil {
			counted[s.Process] = s
		}
	}
	return counted
}

// probe sends messages of the leaders before the fault, if others lead now: as they would come if the old
// leader still lived and believed in itself. They ask for nothing that would do harm, and all must be refused.
func (r *round) probe() {
	c, ctx := r.drill.client, r.ctx
	judge := func(err error) {
		r.result.Stale.Sent++
		switch {
		case err == nil:
			r.result.Stale.Accepted++
		case errors.Is(err, rpc.ErrFenced):
			r.result.Stale.Refused++
		}
	}
	job := r.drill.job.id
	if now := c.dispatcher.last().leader; now.Token.Epoch() > r.dispatcher.Token.Epoch() {
		_, err := ask(ctx, c, under(now.Address, r.dispatcher), protocol.DescribeJob, protocol.DescribeJobRequest{Job: job})
		judge(err)
	}
	if now := c.resourceManager.last().leader; now.Token.Epoch() > r.resourceManager.Token.Epoch() {
		_, err := ask(ctx, c, under(now.Address, r.resourceManager), protocol.ListTaskManagers, protocol.Empty{})
		judge(err)
	}
	now := r.drill.master.last().leader
	if now.Token.Epoch() <= r.master.Token.Epoch() {
		return
	}
	_, err := ask(ctx, c, under(now.Address, r.master), protocol.TaskStateChanged, protocol.TaskStateChangedRequest{Job: job})
	judge(err)
	registered, _ := c.taskManagers(ctx)
	for _, tm := range registered {
		if !holds(tm, job) {
			continue
		}
		_, err := ask(ctx, c, under(tm.Address, r.master), protocol.JobMasterHeartbeat, protocol.JobMasterHeartbeatRequest{Job: job})
		judge(err)
	}
}

// under is an address as somebody sees it who believes in that leader.
func under(address string, leader haservices.LeaderInformation) haservices.LeaderInformation {
	return haservices.LeaderInformation{Address: address, Token: leader.Token}
}

// holds says whether a TaskManager has slots of a job.
func holds(tm protocol.TaskManagerInfo, job id.Job) bool {
	for _, s := range tm.Slots {
		if s.Job == job {
			return true
		}
	}
	return false
}

// pause waits for d.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// poll calls f every two milliseconds until it says true, fails, or ctx ends.
func poll(ctx context.Context, f func() (bool, error)) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := f(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

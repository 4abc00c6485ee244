// Package drill breaks a cluster on purpose and measures what it cost. A drill runs a job whose output
// can be checked record by record, injects a fault several times, and reports for each round how long
// the cluster was without a leader, how long until all tasks belonged to the new one, the longest pause
// in processing and in committed output, and whether a task restarted or a record was lost or repeated.
// The verdict comes from the job's committed output, not from what the cluster says of itself.
package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tamias-project/tamias/internal/localcluster"
	"github.com/tamias-project/tamias/pkg/haservices"
)

// Options say what to drill.
type Options struct {
	// Scenario is one of Scenarios.
	Scenario string
	// HA is high-availability.type of the cluster that the drill starts: local or zookeeper.
	HA string
	// Quorum is high-availability.zookeeper.quorum.
	Quorum string
	// Count is the number of rounds, at least 1.
	Count int
	// JobManagers and TaskManagers of the cluster; Rate is the job's records per second, and
	// CheckpointInterval the pause between its checkpoints.
	JobManagers, TaskManagers int
	Rate                      int
	CheckpointInterval        time.Duration
	// Bin is the directory with the programs.
	Bin string
	// Settings are configuration keys for the cluster.
	Settings map[string]string
	// Keep leaves the cluster's directory for inspection.
	Keep bool
	// Progress receives lines for people.
	Progress io.Writer
}

// Scenario is a fault.
type Scenario struct {
	Name string
	// Doc is one line.
	Doc string
	// inject breaks something and returns when it was broken. heal makes the cluster whole for the next round.
	inject func(*round) error
	heal   func(*round) error
}

// Scenarios are all that can be drilled.
var Scenarios = []Scenario{
	{
		Name:   "kill-leader",
		Doc:    "kill -9 the JobManager that leads the Dispatcher",
		inject: func(r *round) error { r.leader.Kill(); return nil },
		heal:   replaceLeader,
	},
	{
		Name:   "terminate-leader",
		Doc:    "SIGTERM to the JobManager that leads the Dispatcher",
		inject: func(r *round) error { r.leader.Terminate(); return nil },
		heal:   replaceLeader,
	},
	{
		Name:   "freeze-leader",
		Doc:    "SIGSTOP to the JobManager that leads the Dispatcher, SIGCONT when another leads",
		inject: func(r *round) error { r.leader.Freeze(); return nil },
		heal:   thawLeader,
	},
}

// thawLeader lets the frozen leader go on; the local backend has shot it by then.
func thawLeader(r *round) error {
	r.leader.Thaw()
	if !r.leader.Alive() {
		return replaceLeader(r)
	}
	return nil
}

func replaceLeader(r *round) error {
	if !r.leader.WaitContext(r.ctx) {
		return r.ctx.Err()
	}
	_, err := r.drill.cluster.StartJobManager()
	return err
}

// roundTimeout bounds the waits of one round.
const roundTimeout = time.Minute

// Run starts a cluster, drills it, stops it, and checks the job's output. A broken promise is no error:
// it is in the report.
func Run(ctx context.Context, o Options) (report *Report, err error) {
	i := slices.IndexFunc(Scenarios, func(s Scenario) bool { return s.Name == o.Scenario })
	if i < 0 {
		return nil, fmt.Errorf("unknown scenario %q", o.Scenario)
	}
	dir, err := os.MkdirTemp("", "tamias-drill-")
	if err != nil {
		return nil, err
	}
	if o.Keep {
		fmt.Fprintln(o.Progress, "the cluster's files stay in", dir)
	} else {
		defer func() {
			if err == nil {
				err = os.RemoveAll(dir)
			} else {
				err = fmt.Errorf("%w (logs are in %s)", err, filepath.Join(dir, "log"))
			}
		}()
	}
	d := &drill{Options: o, scenario: Scenarios[i], dir: dir}
	return d.run(ctx)
}

type drill struct {
	Options
	scenario Scenario
	dir      string
	cluster  *localcluster.Cluster
	leaders  *localcluster.Leaders
	job      *job
}

func (d *drill) say(format string, args ...any) { fmt.Fprintf(d.Progress, format+"\n", args...) }

func (d *drill) run(ctx context.Context) (report *Report, err error) {
	began := time.Now()
	settings := map[string]string{"high-availability.zookeeper.quorum": d.Quorum}
	for k, v := range d.Settings {
		settings[k] = v
	}
	d.say("starting %d JobManagers and %d TaskManagers (high-availability.type: %s)", d.JobManagers, d.TaskManagers, d.HA)
	d.cluster, err = localcluster.Start(localcluster.Config{
		Bin: d.Bin, Dir: d.dir, HA: d.HA, JobManagers: d.JobManagers, TaskManagers: d.TaskManagers, Slots: 2, Settings: settings,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.cluster.Stop(context.WithoutCancel(ctx))) }()
	if d.leaders, err = localcluster.FollowLeaders(ctx, d.cluster.ConfigDir()); err != nil {
		return nil, err
	}
	defer d.leaders.Close()

	d.job = &job{drill: d, output: filepath.Join(d.dir, "output")}
	if err := d.job.submit(ctx); err != nil {
		return nil, err
	}
	commits, err := watchCommits(d.job.output)
	if err != nil {
		return nil, err
	}
	defer commits.close()
	if err := d.job.awaitRunning(ctx, 0); err != nil {
		return nil, err
	}
	if err := d.job.awaitCommit(ctx, commits, 2); err != nil {
		return nil, err
	}
	d.say("the job runs: %d records/s, checkpoints every %s (%.1f s after the start)", d.Rate, d.CheckpointInterval, time.Since(began).Seconds())

	report = &Report{Scenario: d.scenario.Name, HA: d.HA}
	for n := range d.Count {
		r, err := d.round(ctx, commits)
		if err != nil {
			return nil, fmt.Errorf("round %d: %w", n+1, err)
		}
		report.Rounds = append(report.Rounds, r)
		d.say("round %d of %d: new leader after %.0f ms, all tasks adopted after %.0f ms", n+1, d.Count, r.NewLeaderMillis, r.AdoptionMillis)
	}
	return report, d.conclude(ctx, report, commits)
}

// round is one fault.
type round struct {
	ctx    context.Context
	drill  *drill
	leader *localcluster.Process
}

func (d *drill) round(ctx context.Context, commits *commits) (Round, error) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	before, err := d.job.details(ctx)
	if err != nil {
		return Round{}, err
	}
	info, _ := d.leaders.Dispatcher()
	leader := d.cluster.JobManagerAt(info.Address)
	if leader == nil {
		return Round{}, fmt.Errorf("the Dispatcher's leader %s is none of the JobManagers of this cluster", info.Address)
	}
	r := &round{ctx: ctx, drill: d, leader: leader}
	result := Round{injected: time.Now()}
	if err := d.scenario.inject(r); err != nil {
		return Round{}, err
	}
	led, err := d.awaitLeader(ctx, info)
	if err != nil {
		return Round{}, fmt.Errorf("no new leader: %w", err)
	}
	if err := d.job.awaitRunning(ctx, before.JobMasterEpoch+1); err != nil {
		return Round{}, fmt.Errorf("the job was not adopted: %w", err)
	}
	adopted := time.Now()
	result.NewLeaderMillis = millis(led.Sub(result.injected))
	result.AdoptionMillis = millis(adopted.Sub(result.injected))
	if err := d.scenario.heal(r); err != nil {
		return Round{}, err
	}
	if err := d.job.awaitCommit(ctx, commits, 2); err != nil {
		return Round{}, fmt.Errorf("nothing was committed after the fault: %w", err)
	}
	result.CommitGapMillis = millis(commits.longestGap(result.injected.Add(-d.CheckpointInterval), time.Now()))
	result.ended = time.Now()
	if err := d.awaitStandby(ctx); err != nil {
		return Round{}, err
	}
	return result, nil
}

// awaitLeader waits for a leading Dispatcher other than old and returns when we were told of it.
func (d *drill) awaitLeader(ctx context.Context, old haservices.LeaderInformation) (at time.Time, err error) {
	err = poll(ctx, func() (bool, error) {
		var info haservices.LeaderInformation
		info, at = d.leaders.Dispatcher()
		return info != old, nil
	})
	if err != nil {
		return at, fmt.Errorf("%w; the last one was %s", err, old.Address)
	}
	return at, nil
}

// awaitStandby waits until all JobManagers are up, so that the next fault has a successor.
func (d *drill) awaitStandby(ctx context.Context) error {
	return poll(ctx, func() (bool, error) {
		for _, p := range d.cluster.JobManagers {
			if p.Alive() && !d.cluster.Serving(p) {
				return false, nil
			}
		}
		return true, nil
	})
}

// conclude cancels the job and judges its output.
func (d *drill) conclude(ctx context.Context, report *Report, commits *commits) error {
	details, err := d.job.details(ctx)
	if err != nil {
		return err
	}
	if err := d.job.cancel(ctx); err != nil {
		return err
	}
	verdict, err := d.job.check(ctx)
	if err != nil {
		return err
	}
	for i := range report.Rounds {
		r := &report.Rounds[i]
		r.ProcessingGapMillis = millis(verdict.longestGap(r.injected, r.ended))
	}
	report.Baseline = millis(verdict.longestGap(time.Time{}, report.Rounds[0].injected))
	report.summarize(details, verdict)
	return nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// poll calls f every few milliseconds until it says true, fails, or ctx ends.
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

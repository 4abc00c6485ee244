// Package drill breaks a cluster on purpose and measures what it cost. A drill runs a job whose output can be
// checked record by record, injects a fault several times, and reports for each round how long the cluster was
// without a leader, how long until all tasks belonged to the new one, the longest pause in processing and in
// committed output, and whether a task restarted or a record was lost or repeated. The verdict comes from the
// job's committed output, not from what the cluster says of itself.
//
// Times are taken when something happens: the HA services tell of leaders, the file system of commits, records
// carry the time when they were processed. Only a JobMaster that has just been elected is asked, every two
// milliseconds, whether all tasks are its.
//
// The cluster is one that the drill starts itself (localTarget), or a live one whose processes run on this
// machine (liveTarget).
package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// Options say what to drill. Zero values of numbers and times stand for the default.
type Options struct {
	// Scenario is the name of one of Scenarios.
	Scenario string
	// Local starts a cluster for the drill. Otherwise Config and ConfigDir are those of a live one.
	Local     bool
	Config    *config.Configuration
	ConfigDir string
	// HA is high-availability.type of a cluster that the drill starts: local or zookeeper.
	HA string
	// Quorum is high-availability.zookeeper.quorum of such a cluster. Empty means three servers of the drill's own.
	Quorum string
	// JobManagers and TaskManagers of such a cluster: as many as the scenario needs.
	JobManagers, TaskManagers int
	// Settings are configuration keys: for the cluster, if the drill starts it, and for the job.
	Settings map[string]string
	// Keep leaves the drill's files for inspection. They stay in any case when something went wrong.
	Keep bool
	// Bin is the directory with the programs.
	Bin string
	// OutputDir takes the job's output: a directory that all TaskManagers reach. Default a temporary one.
	OutputDir string

	// Count is the number of rounds; default 1. Random ignores it.
	Count int
	// Duration of the scenario random; default 1 min.
	Duration time.Duration
	// Seed decides what is left to chance; 0 means a seed that was drawn itself.
	Seed uint64
	// Outage is how long things are kept away, in scenarios that keep something away.
	Outage time.Duration
	// Rolling restarts ZooKeeper servers one after the other.
	Rolling bool
	// Cut is one of Cuts, or empty for all in turn.
	Cut string
	// Window is how long the job is watched before and after each fault; default 1 s.
	Window time.Duration

	// Rate is the job's records per second, default 4000; Parallelism of its operators, default 4;
	// CheckpointInterval the pause between its checkpoints, default 1 s.
	Rate               int
	Parallelism        int
	CheckpointInterval time.Duration
	// Progress receives lines for people.
	Progress io.Writer
}

const (
	// roundTimeout bounds the waits of one round.
	roundTimeout = time.Minute
	// startTimeout bounds the wait for a cluster to start, and the job on it.
	startTimeout = 2 * time.Minute
)

// withDefaults fills in what is left open.
func (o Options) withDefaults(s Scenario) (Options, error) {
	o.HA = cmp.Or(o.HA, "local")
	o.Count = cmp.Or(o.Count, 1)
	o.Duration = cmp.Or(o.Duration, time.Minute)
	o.Seed = cmp.Or(o.Seed, rand.Uint64N(1_000_000))
	o.Window = cmp.Or(o.Window, time.Second)
	o.Rate = cmp.Or(o.Rate, 4000)
	o.Parallelism = cmp.Or(o.Parallelism, 4)
	o.CheckpointInterval = cmp.Or(o.CheckpointInterval, time.Second)
	if o.Outage == 0 && (s.servers || s.cuts) {
		o.Outage = 3 * time.Second
	}
	o.JobManagers = cmp.Or(o.JobManagers, max(2, s.masters))
	if o.TaskManagers == 0 {
		o.TaskManagers = (o.Parallelism + slots - 1) / slots
		if s.spare {
			o.TaskManagers++
		}
	}
	switch {
	case o.Local && o.HA != "local" && o.HA != "zookeeper":
		return o, fmt.Errorf("high availability %q: a drill's own cluster has local or zookeeper", o.HA)
	case o.Local && o.JobManagers < s.masters:
		return o, fmt.Errorf("scenario %s needs %d JobManagers", s.Name, s.masters)
	case s.servers && o.Local && (o.HA != "zookeeper" || o.Quorum != ""):
		return o, fmt.Errorf("scenario %s stops ZooKeeper servers of the drill's own: use --ha zookeeper without --quorum", s.Name)
	case s.cuts && s.Name != random && !o.Local:
		return o, fmt.Errorf("scenario %s cuts links that the drill has laid itself: use --local", s.Name)
	case o.Cut != "" && !knownCut(o.Cut, o.HA):
		return o, fmt.Errorf("unknown cut %q with high availability %s: see --help", o.Cut, o.HA)
	case o.Count < 1 || o.Rate < 1 || o.Parallelism < 1 || o.CheckpointInterval <= 0 || o.Window < 0 || o.Outage < 0:
		return o, errors.New("numbers and times must be positive")
	}
	return o, nil
}

// Run drills a cluster and checks the job's output. A broken promise is no error: it is in the report.
func Run(ctx context.Context, o Options) (report *Report, err error) {
	scenario, err := find(o.Scenario)
	if err != nil {
		return nil, err
	}
	if o, err = o.withDefaults(scenario); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tamias-drill-")
	if err != nil {
		return nil, err
	}
	defer func() {
		switch {
		case errors.Is(err, errUnsupported) && !o.Keep:
			os.RemoveAll(dir) // nothing has begun
		case o.Keep || err != nil || !report.OK:
			fmt.Fprintln(o.Progress, "files of the drill, with logs and output, are in", dir)
		default:
			err = os.RemoveAll(dir)
		}
	}()
	d := &drill{Options: o, scenario: scenario, dir: dir}
	return d.run(ctx)
}

type drill struct {
	Options
	scenario Scenario
	dir      string

	target  target
	client  *client
	master  *lookout // of the job's masters
	job     *job
	commits *commits
	// taskManagers is how many the cluster has.
	taskManagers int
	// spare: without any one of them there is still room for the job.
	spare bool
	done  int // rounds
}

func (d *drill) say(format string, args ...any) { fmt.Fprintf(d.Progress, format+"\n", args...) }

// run prepares cluster and job, drills, and undoes everything.
func (d *drill) run(ctx context.Context) (report *Report, err error) {
	began := time.Now()
	defer func() { err = errors.Join(err, d.close(context.WithoutCancel(ctx))) }()
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	d.job = &job{drill: d, id: id.NewJob(), output: filepath.Join(cmp.Or(d.OutputDir, d.target.workDir()), "output-"+strconv.Itoa(os.Getpid()))}
	d.master = d.client.follow(haservices.JobMaster(d.job.id))
	if d.commits, err = watchCommits(d.job.output); err != nil {
		return nil, err
	}
	defer d.commits.close()
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	d.say("the job runs: %d records/s, checkpoints every %s (%.1f s after the start)", d.Rate, d.CheckpointInterval, time.Since(began).Seconds())
	report = &Report{Scenario: d.scenario.Name, HA: d.HA, Seed: d.Seed}
	roundsErr := d.rounds(ctx, report)
	// Whatever happened: what was committed has to be right, and nothing is left running.
	if err := d.conclude(context.WithoutCancel(ctx), report); err != nil || roundsErr != nil {
		return nil, errors.Join(roundsErr, err)
	}
	return report, nil
}

// open starts the cluster, or finds it.
func (d *drill) open(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if !d.Local {
		if d.client, err = newClient(ctx, d.Config); err != nil {
			return err
		}
		t, err := openLive(ctx, d.Options, d.client, d.dir)
		if err != nil {
			return err
		}
		d.target, d.HA, d.JobManagers = t, t.ha, t.masters
		d.say("drilling the cluster of %s: %s", d.ConfigDir, t.describe())
		return d.suits(t)
	}
	t, err := startLocal(ctx, d.Options, d.scenario, d.dir)
	if err != nil {
		return err
	}
	d.target = t
	d.say("started %s", t.describe())
	cfg, _, err := config.Load(t.configDir(), nil)
	if err != nil {
		return err
	}
	d.client, err = newClient(ctx, cfg)
	return err
}

// suits says whether a live cluster has what the scenario needs. Of random, those are left out that it has not.
func (d *drill) suits(t *liveTarget) error {
	if d.scenario.Name != random && t.masters < d.scenario.masters {
		return fmt.Errorf("%w: scenario %s needs %d JobManagers, the cluster has %d", errUnsupported, d.scenario.Name, d.scenario.masters, t.masters)
	}
	if d.scenario.servers {
		_, err := t.zooKeeper()
		return err
	}
	return nil
}

// close undoes open.
func (d *drill) close(ctx context.Context) error {
	if d.client != nil {
		d.client.close()
	}
	if d.target == nil {
		return nil
	}
	return d.target.close(ctx)
}

// begin submits the job, and returns when it has committed output for the second time.
func (d *drill) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := d.awaitSlots(ctx); err != nil {
		return err
	}
	if err := d.job.submit(ctx); err != nil {
		return err
	}
	if _, err := d.job.awaitDetails(ctx, running); err != nil {
		return err
	}
	return d.job.awaitCommits(ctx, 2)
}

// awaitSlots waits for the TaskManagers of the drill's own cluster, and looks at those of a live one.
func (d *drill) awaitSlots(ctx context.Context) error {
	var registered []protocol.TaskManagerInfo
	err := poll(ctx, func() (ok bool, err error) {
		registered, err = d.client.taskManagers(ctx)
		return err == nil && len(registered) > 0 && (!d.Local || len(registered) == d.TaskManagers), nil
	})
	if err != nil {
		return fmt.Errorf("TaskManagers: %d are registered: %w", len(registered), err)
	}
	d.taskManagers = len(registered)
	free, most := 0, 0 // slots in all, and at one TaskManager
	for _, tm := range registered {
		here := 0
		for _, s := range tm.Slots {
			if s.Job.IsZero() {
				here++
			}
		}
		free, most = free+here, max(most, here)
		if a, err := rpc.ParseAddress(tm.Address); d.OutputDir == "" && (err != nil || !isLocal(a.HostPort)) {
			return fmt.Errorf("TaskManager %s at %s is on another machine: say with --output-dir which directory all of them reach", tm.ID, tm.Address)
		}
	}
	if free < d.Parallelism {
		return fmt.Errorf("the cluster has %d free slots, the job needs %d: choose a smaller --parallelism", free, d.Parallelism)
	}
	d.spare = free-most >= d.Parallelism
	if d.scenario.spare && d.scenario.Name != random && !d.spare {
		return fmt.Errorf("%w: without one of its TaskManagers the cluster has %d free slots, the job needs %d: start more, or choose a smaller --parallelism",
			errUnsupported, free-most, d.Parallelism)
	}
	return nil
}

// rounds injects faults.
func (d *drill) rounds(ctx context.Context, report *Report) error {
	faults := newSchedule(d.Seed, d.choices(), d.CheckpointInterval)
	over := time.Now().Add(d.Duration)
	if d.scenario.Name == random {
		d.say("seed %d", d.Seed)
	}
	for d.done = 0; d.more(over); d.done++ {
		f := faults.next()
		r, err := d.round(ctx, f)
		if err != nil {
			return fmt.Errorf("round %d, %s (seed %d): %w", d.done+1, f.scenario.Name, d.Seed, err)
		}
		report.Rounds = append(report.Rounds, *r)
		d.progress(r, over)
	}
	return nil
}

func (d *drill) more(over time.Time) bool {
	if d.scenario.Name == random {
		return time.Now().Before(over)
	}
	return d.done < d.Count
}

// choices are the scenarios of the rounds: one, or for random all that are possible here.
func (d *drill) choices() (list []Scenario) {
	if d.scenario.Name != random {
		return []Scenario{d.scenario}
	}
	for _, s := range Scenarios {
		_, noServers := d.target.zooKeeper()
		switch {
		case s.Name == random, s.servers && noServers != nil, s.cuts && len(d.cuts()) == 0:
		case s.masters > d.JobManagers, s.spare && !d.spare:
		default:
			list = append(list, s)
		}
	}
	return list
}

func (d *drill) progress(r *Round, over time.Time) {
	of := fmt.Sprintf("of %d", d.Count)
	if d.scenario.Name == random {
		of = fmt.Sprintf("(%s left) %s", max(0, time.Until(over)).Round(time.Second), r.Scenario)
	}
	d.say("round %d %s: %s", d.done+1, of, r.line())
}

// conclude cancels the job and judges its output.
func (d *drill) conclude(ctx context.Context, report *Report) error {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	details, err := d.job.details(ctx)
	if err != nil {
		return err
	}
	if err := d.job.cancel(ctx); err != nil {
		return err
	}
	v, err := d.job.check(ctx)
	if err != nil {
		return err
	}
	if len(report.Rounds) == 0 {
		return nil
	}
	for i := range report.Rounds {
		r := &report.Rounds[i]
		r.ProcessingGapMillis = millis(v.processed.longestGap(r.injected, r.ended))
		r.BaselineGapMillis = millis(v.processed.longestGap(r.injected.Add(-d.Window), r.injected))
	}
	report.summarize(attempts(details), v)
	return nil
}

// jobSettings are for the job. Each restart of it waits as the first one does by default; under the default
// strategy itself, pauses would grow with the rounds.
func (d *drill) jobSettings() []string {
	list := []string{
		"restart-strategy.type=fixed-delay",
		"restart-strategy.fixed-delay.attempts=1000000",
		fmt.Sprintf("restart-strategy.fixed-delay.delay=%d ms", config.RestartInitialBackoff.In(nil).Milliseconds()),
	}
	for k, v := range d.Settings {
		list = append(list, k+"="+v)
	}
	return list
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

package drill

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// parallelism of the drilled job: two of the cluster's TaskManagers are in use when there are two.
const parallelism = 4

// job is the drilled job: numbered records of a paced source, a running count for each key, and a sink
// that commits with checkpoints.
type job struct {
	drill  *drill
	id     id.Job
	output string
}

// submit runs the example job detached, as a user would.
func (j *job) submit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	j.id = id.NewJob()
	d := j.drill
	cmd := exec.CommandContext(ctx, filepath.Join(d.Bin, "tamias"), "run", "--configDir", d.cluster.ConfigDir(), "-d",
		"-p", fmt.Sprint(parallelism), "--job-id", j.id.String(), filepath.Join(d.Bin, "numbered"),
		"-out", j.output, "-rate", fmt.Sprint(d.Rate), "-checkpoint", d.CheckpointInterval.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("submit the job: %w\n%s", err, out)
	}
	return nil
}

// details of the job as the leading Dispatcher tells them.
func (j *job) details(ctx context.Context) (d protocol.JobDetails, err error) {
	err = poll(ctx, func() (bool, error) {
		var err error
		d, err = j.drill.leaders.JobDetails(ctx, j.id)
		return err == nil, nil // while no leader answers we ask again
	})
	return d, err
}

// awaitRunning waits until all tasks run under a master of at least that epoch.
func (j *job) awaitRunning(ctx context.Context, epoch uint64) error {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	var d protocol.JobDetails
	err := poll(ctx, func() (ok bool, err error) {
		if d, err = j.details(ctx); err != nil {
			return false, err
		}
		if d.Overview.State.Terminal() {
			return false, fmt.Errorf("the job is %s: %v", d.Overview.State, d.Failures)
		}
		tasks := 0
		for _, v := range d.Graph.Vertices {
			tasks += v.Parallelism
		}
		return d.JobMasterEpoch >= epoch && d.Overview.State == protocol.JobRunning && d.Overview.Tasks[protocol.Running] == tasks, nil
	})
	if err != nil {
		return fmt.Errorf("%w: the job is %s under epoch %d, tasks %v %s", err, d.Overview.State, d.JobMasterEpoch, d.Overview.Tasks, d.Waiting)
	}
	return nil
}

// awaitCommit waits for commits of n checkpoints: each subtask of the sink commits a file for each.
func (j *job) awaitCommit(ctx context.Context, c *commits, n int) error {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	from := time.Now()
	return poll(ctx, func() (bool, error) { return c.since(from) >= n*parallelism, nil })
}

func (j *job) cancel(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	d := j.drill
	cmd := exec.CommandContext(ctx, filepath.Join(d.Bin, "tamias"), "cancel", "--configDir", d.cluster.ConfigDir(), j.id.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cancel the job: %w\n%s", err, out)
	}
	return nil
}

// verdict is what the committed output says.
type verdict struct {
	records, lost, repeated int64
	times                   []time.Time
}

func (v verdict) longestGap(from, to time.Time) time.Duration { return longestGap(v.times, from, to) }

// check reads the committed output with the example's own checker.
func (j *job) check(ctx context.Context) (verdict, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(j.drill.Bin, "check"), "-o", "json", "-times", j.output)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	// The checker fails when it finds something; what it found is in its output.
	runErr := cmd.Run()
	var found struct {
		Records  int64   `json:"records"`
		Lost     int64   `json:"lost"`
		Repeated int64   `json:"repeated"`
		Times    []int64 `json:"times"` // microseconds since 1970, sorted
	}
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		return verdict{}, fmt.Errorf("check the output: %w: %w\n%s", runErr, err, errs.Bytes())
	}
	v := verdict{records: found.Records, lost: found.Lost, repeated: found.Repeated}
	for _, t := range found.Times {
		v.times = append(v.times, time.UnixMicro(t))
	}
	return v, nil
}

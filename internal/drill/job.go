package drill

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/tamias-project/tamias/examples/numbered/verify"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// job is the drilled job, examples/numbered: numbered records of a paced source, a running count for each key,
// and a sink that commits with checkpoints.
type job struct {
	drill  *drill
	id     id.Job
	output string
}

// submit runs the example job detached, as a user would.
func (j *job) submit(ctx context.Context) error {
	d := j.drill
	args := []string{"run", "--configDir", d.target.configDir(), "-d", "-p", fmt.Sprint(d.Parallelism), "--job-id", j.id.String()}
	for _, kv := range d.jobSettings() {
		args = append(args, "-D", kv)
	}
	args = append(args, filepath.Join(d.Bin, "numbered"),
		"-out", j.output, "-rate", fmt.Sprint(d.Rate), "-checkpoint", d.CheckpointInterval.String())
	return j.tamias(ctx, "submit", args...)
}

func (j *job) cancel(ctx context.Context) error {
	return j.tamias(ctx, "cancel", "cancel", "--configDir", j.drill.target.configDir(), j.id.String())
}

func (j *job) tamias(ctx context.Context, what string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	if out, err := exec.CommandContext(ctx, filepath.Join(j.drill.Bin, "tamias"), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s the job: %w\n%s", what, err, out)
	}
	return nil
}

// details of the job as the leading Dispatcher tells them. While no leader answers it is asked again.
func (j *job) details(ctx context.Context) (d protocol.JobDetails, err error) {
	err = poll(ctx, func() (bool, error) {
		var err error
		d, err = j.drill.client.describeJob(ctx, j.id)
		return err == nil, nil
	})
	return d, err
}

// awaitDetails asks again and again until ok says yes. A job that has ended is an error.
func (j *job) awaitDetails(ctx context.Context, ok func(protocol.JobDetails) bool) (protocol.JobDetails, error) {
	var d protocol.JobDetails
	err := poll(ctx, func() (bool, error) {
		latest, err := j.drill.client.describeJob(ctx, j.id)
		if err != nil {
			return false, nil
		}
		d = latest
		if d.Overview.State.Terminal() {
			return false, fmt.Errorf("the job is %s: %v", d.Overview.State, d.Failures)
		}
		return ok(d), nil
	})
	if err != nil {
		err = fmt.Errorf("%w: the job is %s under epoch %d, tasks %v %s",
			err, d.Overview.State, d.JobMasterEpoch, d.Overview.Tasks, d.Waiting)
	}
	return d, err
}

// running says whether all tasks run.
func running(d protocol.JobDetails) bool {
	tasks := 0
	for _, v := range d.Graph.Vertices {
		tasks += v.Parallelism
	}
	return d.Overview.State == protocol.JobRunning && d.Overview.Tasks[protocol.Running] == tasks
}

// attempts counts the attempts beyond the first of each subtask.
func attempts(d protocol.JobDetails) (n int) {
	for _, t := range d.Subtasks {
		n += t.Execution.Attempt.Attempt
	}
	return n
}

// awaitCommits waits until each subtask of the sink has committed n times.
func (j *job) awaitCommits(ctx context.Context, n int) error {
	from := time.Now()
	for {
		found, more := j.drill.commits.since(from, j.drill.Parallelism)
		if found >= n {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("nothing was committed for %s: %w", time.Since(from).Round(time.Millisecond), ctx.Err())
		}
	}
}

// verdict is what the committed output says.
type verdict struct {
	verify.Report
	// processed is when records were counted, by subtask.
	processed series
}

// check reads the committed output.
func (j *job) check(ctx context.Context) (v verdict, err error) {
	report, err := verify.Directory(ctx, j.output, verify.Options{})
	if err != nil {
		return v, fmt.Errorf("check the output: %w", err)
	}
	v = verdict{Report: *report, processed: series{}}
	names, err := os.ReadDir(j.output)
	if err != nil {
		return v, err
	}
	for _, name := range names {
		if hidden(name.Name()) {
			continue
		}
		if err := v.processed.read(filepath.Join(j.output, name.Name()), subtaskOf(name.Name())); err != nil {
			return v, err
		}
	}
	for _, times := range v.processed {
		slices.SortFunc(times, time.Time.Compare)
	}
	return v, nil
}

// read adds the times of one file: the last number of each line, microseconds since 1970.
func (s series) read(file, subtask string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Bytes()
		micros, err := strconv.ParseInt(string(line[bytes.LastIndexByte(line, ' ')+1:]), 10, 64)
		if err == nil { // else it is malformed, and reported as that
			s[subtask] = append(s[subtask], time.UnixMicro(micros))
		}
	}
	return lines.Err()
}

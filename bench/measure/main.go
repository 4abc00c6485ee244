// Command measure runs one workload on a fresh local cluster several times and prints one JSON line for
// each run: the job's own duration, the CPU seconds of all processes of the cluster, their peak memory,
// and the CPU seconds that strangers used meanwhile (a run with much of that is worthless). The lines have
// the members that the Flink runner of the comparison prints, so both can go into one file.
//
//	measure -bin bin -label w3 -runs 3 -warm 1 -- w3 -n 50000000 -checkpoint 1s
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/tamias-project/tamias/internal/localcluster"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

type options struct {
	bin, label   string
	runs, warm   int
	taskManagers int
	parallelism  int
	workload     []string
	out          io.Writer
}

// run is one line of output.
type run struct {
	System string `json:"system"`
	Label  string `json:"label"`
	Run    int    `json:"run"` // negative for warm-up
	// NetMillis is the job's own duration, submission accepted to FINISHED.
	NetMillis int64 `json:"netMs"`
	// CPU seconds, user and system, of all processes of the cluster; Other of everything else.
	CPU   float64 `json:"cpu"`
	Other float64 `json:"other"`
	// RSS is the peak memory in MiB of JobManager, TaskManagers and job processes together.
	RSS         int64 `json:"rss"`
	Checkpoints int   `json:"ckpts,omitempty"`
	// Records is the workload's own -n, when given.
	Records int64 `json:"records,omitempty"`
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "directory with jobmanager, taskmanager, tamias and workloads")
	flag.StringVar(&o.label, "label", "", "label of the runs")
	flag.IntVar(&o.runs, "runs", 3, "measured runs")
	flag.IntVar(&o.warm, "warm", 1, "runs before that")
	flag.IntVar(&o.taskManagers, "taskmanagers", 1, "TaskManagers; the parallelism is divided among them")
	flag.IntVar(&o.parallelism, "parallelism", 2, "parallelism and number of slots")
	flag.Parse()
	o.workload, o.out = flag.Args(), os.Stdout
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "tamias-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	c, err := localcluster.Start(localcluster.Config{
		Bin: bin, Dir: dir, HA: "NONE", JobManagers: 1, TaskManagers: o.taskManagers, Slots: (o.parallelism + o.taskManagers - 1) / o.taskManagers,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop(context.WithoutCancel(ctx))) }()
	for n := -o.warm; n < o.runs; n++ {
		r, err := once(ctx, o, c)
		if err != nil {
			return fmt.Errorf("run %d of %s: %w", n, o.label, err)
		}
		r.System, r.Label, r.Run, r.Records = "tamias", o.label, n, records(o.workload)
		if err := json.NewEncoder(o.out).Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// records is the value of -n in a workload's arguments, 0 if there is none.
func records(args []string) int64 {
	if i := slices.Index(args, "-n"); i >= 0 && i+1 < len(args) {
		n, _ := strconv.ParseInt(args[i+1], 10, 64)
		return n
	}
	return 0
}

// once runs the workload to its end.
func once(ctx context.Context, o options, c *localcluster.Cluster) (run, error) {
	var pids []int
	for _, p := range append(append([]*localcluster.Process{}, c.JobManagers...), c.TaskManagers...) {
		pids = append(pids, p.PID())
	}
	watch := startWatch(pids)
	job := id.NewJob()
	workload := append(slices.Clone(o.workload), "-p", fmt.Sprint(o.parallelism), "-out", filepath.Join(c.TempDir(), "result-"+job.String()))
	program := filepath.Join(o.bin, "workloads")
	client, err := command(ctx, filepath.Join(o.bin, "tamias"),
		append([]string{"run", "--configDir", c.ConfigDir(), "-p", fmt.Sprint(o.parallelism), "--job-id", job.String(), program}, workload...)...)
	usage := watch.stop(client)
	if err != nil {
		return run{}, err
	}
	if _, err := command(ctx, program, append([]string{"verify"}, workload...)...); err != nil {
		return run{}, fmt.Errorf("the result is wrong: %w", err)
	}
	d, err := details(ctx, c, job)
	if err != nil {
		return run{}, err
	}
	usage.NetMillis = d.Overview.End.Sub(d.Overview.Start).Milliseconds()
	usage.Checkpoints = d.Checkpoints.Completed
	return usage, nil
}

// command runs a program to its end; an error shows what it printed.
func command(ctx context.Context, program string, args ...string) (*os.ProcessState, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return cmd.ProcessState, fmt.Errorf("%s: %w\n%s", filepath.Base(program), err, output)
	}
	return cmd.ProcessState, nil
}

func details(ctx context.Context, c *localcluster.Cluster, job id.Job) (d protocol.JobDetails, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.RESTAddress()+"/jobs/"+job.String()+"/details", nil)
	if err != nil {
		return d, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return d, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return d, fmt.Errorf("%s: %s", resp.Status, text)
	}
	return d, json.NewDecoder(resp.Body).Decode(&d)
}

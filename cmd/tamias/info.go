package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

func (c *cli) infoCommand() *cobra.Command {
	var parallelism int
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "info [OPTIONS] (PROGRAM [ARGS...] | JOBID)",
		Short:             "Print the job graph of a program, or what a cluster knows of a job",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: c.completeJobs(cobra.ShellCompDirectiveDefault, func(listedJob) bool { return true }),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return sentence("The program or JobID was not specified.")
			}
			job, err := id.ParseJob(args[0])
			if _, errStat := os.Stat(args[0]); err == nil && errStat != nil {
				return c.infoJob(cmd.Context(), job, asJSON)
			}
			if err := checkParallelism(cmd, parallelism); err != nil {
				return err
			}
			return c.infoProgram(cmd.Context(), args[0], args[1:], parallelism)
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().IntVarP(&parallelism, "parallelism", "p", 0, "parallelism of operators that set none")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print all that is known of a job as JSON")
	return c.common(cmd)
}

// infoProgram prints a program's job graph as JSON. It needs no cluster.
func (c *cli) infoProgram(ctx context.Context, arg string, args []string, parallelism int) error {
	cfg, err := c.configuration()
	if err != nil {
		return err
	}
	p, err := c.openProgram(ctx, arg)
	if err != nil {
		return err
	}
	defer p.remove()
	g, err := c.prepare(ctx, p, args, parallelism, cfg, c.stderr)
	if err != nil {
		return err
	}
	return c.printJSON(g)
}

func (c *cli) printJSON(v any) error {
	enc := json.NewEncoder(c.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (c *cli) infoJob(ctx context.Context, job id.Job, asJSON bool) error {
	client, err := c.connect()
	if err != nil {
		return err
	}
	defer client.close()
	var d protocol.JobDetails
	if err := client.get(ctx, "/jobs/"+job.String()+"/details", &d); err != nil {
		return fail(err, "Could not get the details of job %s.", job)
	}
	if asJSON {
		return c.printJSON(d)
	}
	c.printDetails(d)
	return nil
}

func (c *cli) printDetails(d protocol.JobDetails) {
	o := d.Overview
	line := func(name, format string, args ...any) {
		fmt.Fprintf(c.stdout, "%-13s%s\n", name+":", fmt.Sprintf(format, args...))
	}
	line("Job", "%s", o.ID)
	line("Name", "%s", o.Name)
	line("State", "%s", stateLine(o))
	if d.Waiting != "" {
		line("Waiting", "%s", d.Waiting)
	}
	end, ran := "", time.Since(o.Start)
	if !o.End.IsZero() {
		end, ran = ", ended "+o.End.Format(time.DateTime), o.End.Sub(o.Start)
	}
	line("Started", "%s%s (%s)", o.Start.Format(time.DateTime), end, ran.Round(time.Second))
	line("Restarts", "%d", o.Restarts)
	line("Adoptions", "%d (new leaders that took the running job over)", o.Adoptions)
	if d.JobMasterEpoch > 0 {
		line("Epoch", "%d", d.JobMasterEpoch)
	}
	if cp := d.Checkpoints; d.Graph.Checkpointing.Interval > 0 {
		latest := ""
		if cp.Latest != nil {
			latest = fmt.Sprintf("; latest %d, %s, %s", cp.Latest.ID, size(cp.Latest.Bytes), cp.Latest.Path)
		}
		line("Checkpoints", "%d completed, %d failed, %d in progress%s", cp.Completed, cp.Failed, cp.InProgress, latest)
	}
	c.printVertices(d)
	for _, f := range d.Failures {
		fmt.Fprintf(c.stdout, "\n%s failure%s: %s\n", f.At.Format(time.DateTime), ofTask(f), message(f))
		if f.Failure.Stack != "" {
			fmt.Fprintln(c.stdout, f.Failure.Stack)
		}
	}
}

func (c *cli) printVertices(d protocol.JobDetails) {
	for _, v := range d.Graph.Vertices {
		var in, out int64
		states := map[protocol.TaskState]int{}
		for _, t := range d.Subtasks {
			if t.Execution.Attempt.Vertex == v.ID {
				states[t.Execution.State]++
				in += t.Execution.Metrics.RecordsIn
				out += t.Execution.Metrics.RecordsOut
			}
		}
		fmt.Fprintf(c.stdout, "  %s: parallelism %d, %s, %d records in, %d out\n", v.Name, v.Parallelism,
			taskLine(protocol.JobOverview{Tasks: states}), in, out)
	}
}

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// listedJob is a job in the answer of /jobs/overview.
type listedJob struct {
	ID    id.Job            `json:"jid"`
	Name  string            `json:"name"`
	State protocol.JobState `json:"state"`
	Start int64             `json:"start-time"` // milliseconds since 1970
}

func (c *cli) listCommand() *cobra.Command {
	var running, scheduled, all bool
	cmd := &cobra.Command{
		Use:               "list [OPTIONS]",
		Short:             "List running and scheduled jobs",
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all || !running && !scheduled {
				running, scheduled = true, true
			}
			return c.list(cmd, running, scheduled, all)
		},
	}
	cmd.Flags().BoolVarP(&running, "running", "r", false, "only running jobs")
	cmd.Flags().BoolVarP(&scheduled, "scheduled", "s", false, "only scheduled jobs")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "all jobs, those that have ended too")
	return c.common(cmd)
}

func (c *cli) list(cmd *cobra.Command, running, scheduled, ended bool) error {
	client, err := c.connect()
	if err != nil {
		return err
	}
	defer client.close()
	fmt.Fprintln(c.stdout, "Waiting for response...")
	jobs, err := client.jobs(cmd.Context())
	if err != nil {
		return fail(err, "Failed to retrieve job list.")
	}
	groups := map[string][]listedJob{}
	for _, j := range jobs {
		switch {
		case j.State.Terminal():
			groups["ended"] = append(groups["ended"], j)
		case j.State == protocol.JobCreated || j.State == protocol.JobInitializing:
			groups["scheduled"] = append(groups["scheduled"], j)
		default:
			groups["running"] = append(groups["running"], j)
		}
	}
	if running {
		c.printJobs("------------------ Running/Restarting Jobs -------------------", "No running jobs.", groups["running"])
	}
	if scheduled {
		c.printJobs("----------------------- Scheduled Jobs -----------------------", "No scheduled jobs.", groups["scheduled"])
	}
	if ended && len(groups["ended"]) > 0 {
		c.printJobs("---------------------- Terminated Jobs -----------------------", "", groups["ended"])
	}
	return nil
}

// jobs are those that the cluster knows, in the order of their start.
func (c *client) jobs(ctx context.Context) ([]listedJob, error) {
	var answer struct {
		Jobs []listedJob `json:"jobs"`
	}
	err := c.get(ctx, "/jobs/overview", &answer)
	slices.SortStableFunc(answer.Jobs, func(a, b listedJob) int { return cmp.Compare(a.Start, b.Start) })
	return answer.Jobs, err
}

func (c *cli) printJobs(header, none string, jobs []listedJob) {
	if len(jobs) == 0 {
		fmt.Fprintln(c.stdout, none)
		return
	}
	fmt.Fprintln(c.stdout, header)
	for _, j := range jobs {
		start := time.UnixMilli(max(0, j.Start)).Format("02.01.2006 15:04:05")
		fmt.Fprintf(c.stdout, "%s : %s : %s (%s)\n", start, j.ID, j.Name, j.State)
	}
	fmt.Fprintln(c.stdout, strings.Repeat("-", 62))
}

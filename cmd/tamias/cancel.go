package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/id"
)

func (c *cli) cancelCommand() *cobra.Command {
	return c.common(&cobra.Command{
		Use:               "cancel [OPTIONS] JOBID",
		Short:             "Cancel a job",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: c.completeJobs(cobra.ShellCompDirectiveNoFileComp, func(j listedJob) bool { return !j.State.Terminal() }),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return sentence("Missing JobID. Specify a JobID to cancel a job.")
			}
			return c.cancel(cmd.Context(), args[0])
		},
	})
}

func (c *cli) cancel(ctx context.Context, arg string) error {
	job, err := parseJobID(arg)
	if err != nil {
		return err
	}
	cfg, err := c.configuration()
	if err != nil {
		return err
	}
	client, err := c.client(cfg)
	if err != nil {
		return err
	}
	defer client.close()
	timeout := config.ClientTimeout.In(cfg)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s (client.timeout)", timeout))
	defer cancel()
	fmt.Fprintf(c.stdout, "Cancelling job %s.\n", job)
	err = client.do(ctx, call{method: http.MethodPatch, path: "/jobs/" + job.String() + "?mode=cancel"}, nil)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fail(err, "Could not cancel job %s.", job)
	}
	fmt.Fprintf(c.stdout, "Cancelled job %s.\n", job)
	return nil
}

func parseJobID(s string) (id.Job, error) {
	job, err := id.ParseJob(s)
	if err != nil {
		return job, sentence("Cannot parse JobID from %q. The expected format is [0-9a-fA-F]{32}, e.g. %s.", s, id.NewJob())
	}
	return job, nil
}

// connect is client for commands that need nothing else of the configuration.
func (c *cli) connect() (*client, error) {
	cfg, err := c.configuration()
	if err != nil {
		return nil, err
	}
	return c.client(cfg)
}

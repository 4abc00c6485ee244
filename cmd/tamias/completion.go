package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// completionPatience is how long a shell may hang at the tab key.
const completionPatience = 2 * time.Second

// completeJobs completes the first argument with the IDs of the cluster's jobs that offer picks. Without an
// answer of the cluster it completes nothing.
func (c *cli) completeJobs(otherwise cobra.ShellCompDirective, offer func(listedJob) bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) (ids []cobra.Completion, _ cobra.ShellCompDirective) {
		client, err := c.connect()
		if err != nil || len(args) > 0 {
			return nil, otherwise
		}
		defer client.close()
		client.attempts = 0
		ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
		defer cancel()
		jobs, err := client.jobs(ctx)
		if err != nil {
			return nil, otherwise
		}
		for _, j := range jobs {
			if offer(j) {
				ids = append(ids, cobra.CompletionWithDesc(j.ID.String(), fmt.Sprintf("%s (%s)", j.Name, j.State)))
			}
		}
		return ids, otherwise
	}
}

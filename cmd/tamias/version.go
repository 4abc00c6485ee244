package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tamias-project/tamias/pkg/entrypoint"
)

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "Print the version",
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		Run:               func(*cobra.Command, []string) { c.printVersion() },
	}
}

func (c *cli) printVersion() {
	fmt.Fprintf(c.stdout, "Version: %s, Commit ID: %s\n", entrypoint.Version, entrypoint.Commit())
}

package main

import (
	"cmp"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/tamias-project/tamias/pkg/entrypoint"
)

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(*cobra.Command, []string) { c.printVersion() },
	}
}

func (c *cli) printVersion() {
	fmt.Fprintf(c.stdout, "Version: %s, Commit ID: %s\n", entrypoint.Version, revision())
}

// revision is the commit that this binary was built from, as far as the Go tool noted it.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	var revision string
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value[:min(7, len(s.Value))]
		}
	}
	return cmp.Or(revision, "unknown")
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tamias-project/tamias/internal/drill"
)

// errPromiseBroken is the exit of a drill that found a restart, a loss or a repetition.
var errPromiseBroken = errors.New("a promise was broken")

func (c *cli) drillCommand() *cobra.Command {
	o := drill.Options{Settings: map[string]string{}}
	var local bool
	var output string
	var names []string
	for _, s := range drill.Scenarios {
		names = append(names, fmt.Sprintf("  %-18s %s", s.Name, s.Doc))
	}
	cmd := &cobra.Command{
		Use:   "drill --local [OPTIONS] SCENARIO",
		Short: "Break a cluster on purpose and measure what it cost",
		Long: "Starts a cluster of its own on this machine, runs a job whose committed output can be checked record by\n" +
			"record, injects a fault --count times, and reports what it cost. Exit code 1 when a task restarted or a record\n" +
			"was lost or repeated.\n\nScenarios:\n" + strings.Join(names, "\n"),
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !local {
				return sentence("Please specify --local: the drill starts a cluster of its own.")
			}
			if output != "table" && output != "json" {
				return sentence("The output format %q is unknown: expected table or json.", output)
			}
			o.Scenario, o.Progress = args[0], c.stderr
			for _, kv := range c.dynamic {
				k, v, _ := strings.Cut(kv, "=")
				o.Settings[k] = v
			}
			self, err := os.Executable()
			if err != nil {
				return fail(err, "Could not find the programs of the cluster.")
			}
			o.Bin = filepath.Dir(self)
			report, err := drill.Run(cmd.Context(), o)
			if err != nil {
				return fail(err, "The drill could not be carried out.")
			}
			if output == "json" {
				encoder := json.NewEncoder(c.stdout)
				encoder.SetIndent("", "  ")
				err = encoder.Encode(report)
			} else {
				report.Print(c.stdout)
			}
			if err == nil && !report.OK {
				err = fail(errPromiseBroken, "The drill failed.")
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVar(&local, "local", false, "start a cluster for the drill and stop it afterwards")
	f.StringVar(&o.HA, "ha", "local", "high-availability.type of that cluster: local or zookeeper")
	f.StringVar(&o.Quorum, "quorum", "127.0.0.1:2181", "high-availability.zookeeper.quorum for --ha zookeeper")
	f.IntVar(&o.Count, "count", 1, "number of rounds")
	f.IntVar(&o.JobManagers, "jobmanagers", 2, "number of JobManagers")
	f.IntVar(&o.TaskManagers, "taskmanagers", 2, "number of TaskManagers, two slots each")
	f.IntVar(&o.Rate, "rate", 1000, "records per second of the job's source")
	f.DurationVar(&o.CheckpointInterval, "checkpoint", time.Second, "pause between checkpoints")
	f.BoolVar(&o.Keep, "keep", false, "keep the cluster's directory")
	f.StringVarP(&output, "output", "o", "table", "table or json")
	f.StringArrayVarP(&c.dynamic, "dynamic", "D", nil, "key=value for the configuration of the cluster; may be repeated")
	return cmd
}

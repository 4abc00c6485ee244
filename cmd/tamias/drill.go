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
	var output string
	cmd := &cobra.Command{
		Use:   "drill [OPTIONS] SCENARIO",
		Short: "Break a cluster on purpose and measure what it cost",
		Long: `Runs a job whose committed output can be checked record by record, injects a fault --count times, and reports what
it cost: in time, in restarted tasks, in lost or repeated records. Exit code 1 when a promise was broken: a record was
lost or repeated, a task restarted without need, or something of a leader of the past was accepted.

With --local the drill starts a cluster of its own on this machine. Without it, it drills the live cluster of
--configDir, whose processes must be on this machine and of this user: they are found through the high-availability
services and the scripts' pid files, and started again with the scripts. THE CLUSTER'S OTHER JOBS ARE HIT TOO.

Scenarios:
` + scenarioHelp() + `
What --cut can name, for the scenario partition (nothing passes, nobody is told):
` + cutHelp(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return sentence("Name one scenario; tamias drill --help lists them.")
			}
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions(scenarios(), cobra.ShellCompDirectiveNoFileComp),
		RunE:              func(cmd *cobra.Command, args []string) error { return c.drill(cmd, o, args[0], output) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.Local, "local", false, "start a cluster for the drill and stop it afterwards")
	f.StringVar(&o.HA, "ha", "local", "high-availability.type of that cluster: local or zookeeper")
	f.StringVar(&o.Quorum, "quorum", "", "high-availability.zookeeper.quorum for --ha zookeeper; by default three servers of the drill's own")
	f.IntVar(&o.JobManagers, "jobmanagers", 0, "number of JobManagers of that cluster; by default as many as the scenario needs, at least 2")
	f.IntVar(&o.TaskManagers, "taskmanagers", 0, "number of its TaskManagers, two slots each; by default as many as the scenario needs")
	f.BoolVar(&o.Keep, "keep", false, "keep the files of the drill: logs, storage, the job's output; they are kept when something goes wrong")
	f.IntVar(&o.Count, "count", 1, "number of rounds")
	f.DurationVar(&o.Duration, "duration", time.Minute, "how long the scenario random goes on")
	f.Uint64Var(&o.Seed, "seed", 0, "repeats what a drill left to chance; by default drawn, and printed")
	f.DurationVar(&o.Outage, "outage", 0, "how long things stay away, in scenarios that take something away")
	f.BoolVar(&o.Rolling, "rolling", false, "restart ZooKeeper servers one after the other")
	f.StringVar(&o.Cut, "cut", "", "which links the scenario partition cuts; by default each in turn")
	f.DurationVar(&o.Window, "window", time.Second, "how long the job is watched before and after each fault")
	f.IntVar(&o.Rate, "rate", 4000, "records per second of the job's source")
	f.IntVar(&o.Parallelism, "parallelism", 4, "parallelism of the job")
	f.DurationVar(&o.CheckpointInterval, "checkpoint", time.Second, "pause between checkpoints")
	f.StringVar(&o.OutputDir, "output-dir", "", "directory for the job's output, which all TaskManagers reach; by default a temporary one")
	f.StringVarP(&output, "output", "o", "table", "table or json")
	f.StringVar(&c.configDir, "configDir", "", "configuration directory of a live cluster; by default $TAMIAS_CONF_DIR, $FLINK_CONF_DIR, ./conf")
	f.StringArrayVarP(&c.dynamic, "dynamic", "D", nil, "key=value for the configuration of cluster and job; may be repeated")
	return cmd
}

// scenarios are the names that a shell completes, with their descriptions.
func scenarios() (names []cobra.Completion) {
	for _, s := range drill.Scenarios {
		names = append(names, cobra.CompletionWithDesc(s.Name, s.Doc))
	}
	return names
}

func scenarioHelp() string {
	var b strings.Builder
	for _, s := range drill.Scenarios {
		fmt.Fprintf(&b, "  %-29s %s\n", s.Name, s.Doc)
	}
	return b.String()
}

func cutHelp() string {
	var b strings.Builder
	for _, cut := range drill.Cuts {
		fmt.Fprintf(&b, "  %-29s %s\n", cut.Name, cut.Doc)
	}
	return strings.TrimRight(b.String(), "\n")
}

func (c *cli) drill(cmd *cobra.Command, o drill.Options, scenario, output string) error {
	if output != "table" && output != "json" {
		return sentence("The output format %q is unknown: expected table or json.", output)
	}
	for _, kv := range c.dynamic {
		k, v, _ := strings.Cut(kv, "=")
		o.Settings[k] = v
	}
	if !o.Local {
		cfg, err := c.configuration()
		if err != nil {
			return err
		}
		dir, _ := c.directory()
		if dir == "" {
			return sentence("There is no configuration directory: name that of the cluster with --configDir, or use --local to start a cluster for the drill.")
		}
		o.Config, o.ConfigDir = cfg, dir
	}
	self, err := os.Executable()
	if err != nil {
		return fail(err, "Could not find the programs of the cluster.")
	}
	o.Scenario, o.Progress, o.Bin = scenario, c.stderr, filepath.Dir(self)
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
		err = fail(errPromiseBroken, "The drill failed: %s.", strings.Join(report.Broken, "; "))
	}
	return err
}

// Command controlplane measures what a JobManager can carry: how fast thousands of TaskManagers register with
// a new leader, what their heartbeats cost, how much memory each of them and each running task takes, and how fast
// many jobs are taken over from a leader that was killed. JobManagers are real processes with real HA services,
// of type local or zookeeper; TaskManagers are real too, many in one process, on real connections; only their job processes are
// simulated. It writes a table for people and, with -json, a line for each measurement.
//
// The program is three: the one that measures, the fleet processes that hold TaskManagers (it starts itself
// with the argument "fleet"), and the JobManager, which is cmd/jobmanager with a socket for profiles and
// memory figures (it starts itself under the name "jobmanager").
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	switch {
	case isJobManager():
		runJobManager()
	case isFleet():
		if err := runFleet(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "fleet:", err)
			os.Exit(1)
		}
	default:
		if err := run(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "controlplane:", err)
			os.Exit(1)
		}
	}
}

func isJobManager() bool { return filepath.Base(os.Args[0]) == "jobmanager" }
func isFleet() bool      { return len(os.Args) == 2 && os.Args[1] == "fleet" }

// options of one run.
type options struct {
	// taskManagers are the sizes for registration; memory goes up to the largest that is no more than 4,000.
	taskManagers []int
	// jobs to recover.
	jobs int
	// ha is local or zookeeper: three servers of the testbed's own then.
	ha string
	// checkpoint is the jobs' checkpoint interval, 0 for none.
	checkpoint time.Duration
	// fleets is the number of processes that hold the TaskManagers, and perPort how many share a port.
	fleets, perPort int
	// rounds of each measurement that kills a leader.
	rounds int
	// window is how long heartbeats are counted.
	window time.Duration
	// settle is how long a testbed is left alone before steady figures are taken: each TaskManager has had a
	// heartbeat then.
	settle time.Duration
	// profiles is a directory for CPU and heap profiles of the JobManager, "" for none.
	profiles string
	keep     bool
	json     string
}

// kind of measurement.
type kind struct {
	name    string
	measure func(context.Context, *bench) error
}

// kinds in the order in which all of them run.
var kinds = []kind{
	{"registration", measureRegistration},
	{"heartbeat", measureHeartbeats},
	{"memory", measureMemory},
	{"recovery", measureRecovery},
}

func run(args []string) error {
	o := options{settle: 16 * time.Second}
	var sizes string
	flags := flag.NewFlagSet("controlplane", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: controlplane [flags] [registration] [heartbeat] [memory] [recovery]     default: all four")
		flags.PrintDefaults()
	}
	flags.StringVar(&sizes, "tms", "1000,10000", "numbers of TaskManagers, separated by commas")
	flags.IntVar(&o.jobs, "jobs", 1000, "jobs to recover")
	flags.StringVar(&o.ha, "ha", "local", "high-availability.type: local or zookeeper")
	flags.DurationVar(&o.checkpoint, "checkpoint", 0, "checkpoint interval of these jobs; 0: none")
	flags.IntVar(&o.fleets, "fleets", 4, "processes that hold the TaskManagers")
	flags.IntVar(&o.perPort, "per-port", 0, "TaskManagers that share a port and its connections; 0: as few as the limit of open files allows")
	flags.IntVar(&o.rounds, "rounds", 3, "leaders killed for each measurement")
	flags.DurationVar(&o.window, "window", 20*time.Second, "how long heartbeats are counted")
	flags.StringVar(&o.profiles, "profiles", "", "directory for profiles of the JobManager")
	flags.BoolVar(&o.keep, "keep", false, "keep the clusters' files")
	flags.StringVar(&o.json, "json", "", "append a line of JSON for each measurement to this file")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	for field := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || n < 1 {
			return fmt.Errorf("-tms %s: expected numbers separated by commas", sizes)
		}
		o.taskManagers = append(o.taskManagers, n)
	}
	if o.ha != "local" && o.ha != "zookeeper" {
		return fmt.Errorf("-ha %s: expected local or zookeeper", o.ha)
	}
	if o.jobs < 1 || o.fleets < 1 || o.rounds < 1 {
		return errors.New("-jobs, -fleets and -rounds must be 1 or more")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends this program at once, and its children with it
	return measureAll(ctx, o, flags.Args(), os.Stdout)
}

// measureAll takes the measurements with these names, all without names, and reports what was measured also
// when one fails or ctx ends.
func measureAll(ctx context.Context, o options, names []string, out io.Writer) (err error) {
	for _, name := range names {
		if !slices.ContainsFunc(kinds, func(k kind) bool { return k.name == name }) {
			return fmt.Errorf("unknown measurement %q", name)
		}
	}
	b := &bench{options: o}
	defer func() {
		b.report.print(out)
		if o.json != "" {
			err = errors.Join(err, b.report.append(o.json))
		}
	}()
	for _, k := range kinds {
		if len(names) > 0 && !slices.Contains(names, k.name) {
			continue
		}
		err := k.measure(ctx, b)
		if ctx.Err() != nil {
			return errInterrupted
		}
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
	}
	return nil
}

// errInterrupted: the user did not want to wait for the rest.
var errInterrupted = errors.New("interrupted")

// bench is one run: options and what was measured so far.
type bench struct {
	options
	report report
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s "+format+"\n", append([]any{time.Now().Format("15:04:05")}, args...)...)
}

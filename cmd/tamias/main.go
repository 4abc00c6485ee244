// Command tamias is the users' command line: it submits jobs, lists them, cancels them and tells about
// them. It speaks REST to any JobManager, found through -m, the high-availability services, or
// rest.address. Output and exit codes are those of Flink's command line where it has the same command.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// exitInterrupted is the code after a signal while waiting: the job goes on.
const exitInterrupted = 130

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := &cli{stdout: stdout, stderr: stderr}
	root := c.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var failed *failure
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &failed):
		fmt.Fprintf(stderr, "\n%s\n The program finished with the following exception:\n\n%s\n", strings.Repeat("-", 60), failed)
	default:
		fmt.Fprintf(stdout, "%s\n\nUse the help option (-h or --help) to get help on the command.\n", err)
	}
	return 1
}

// usage is an error about the command line, in whole sentences for the user.
type usage string

func (u usage) Error() string { return string(u) }

func sentence(format string, args ...any) error { return usage(fmt.Sprintf(format, args...)) }

// failure is what went wrong although the command line was right. Other errors are about the command line.
type failure struct {
	what string // or ""
	err  error
}

func (f *failure) Error() string {
	if f.what == "" {
		return f.err.Error()
	}
	return f.what + "\n" + f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

func fail(err error, what string, args ...any) error {
	return &failure{fmt.Sprintf(what, args...), err}
}

var errInterrupted = errors.New("interrupted")

// cli is what all commands share: where to write, and the common options.
type cli struct {
	stdout, stderr io.Writer

	configDir  string
	dynamic    []string
	jobManager string
	clusterID  string
}

func (c *cli) root() *cobra.Command {
	var showVersion bool
	root := &cobra.Command{
		Use:                   "tamias ACTION [OPTIONS] [ARGUMENTS]",
		DisableFlagsInUseLine: true,
		Short:                 "Run and look after jobs on a Tamias cluster",
		SilenceUsage:          true,
		SilenceErrors:         true,
		Args:                  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case showVersion:
				c.printVersion()
				return nil
			case len(args) == 0:
				if err := cmd.Help(); err != nil {
					return err
				}
				return sentence("\nPlease specify an action.")
			}
			return sentence("%q is not a valid action.\n\nValid actions are \"run\", \"list\", \"info\", \"cancel\", \"leaders\", \"drill\", or \"version\".\n\n"+
				"Specify the version option (-v or --version) to print Tamias version.", args[0])
		},
	}
	root.SetUsageTemplate(usageTemplate)
	root.ValidArgsFunction = cobra.NoFileCompletions
	root.Flags().BoolVarP(&showVersion, "version", "v", false, "print the version")
	root.AddCommand(c.runCommand(), c.listCommand(), c.cancelCommand(), c.infoCommand(), c.leadersCommand(), c.drillCommand(), c.versionCommand())
	return root
}

const usageTemplate = `Usage:
  {{.UseLine}}{{if .HasAvailableSubCommands}}

Actions:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Options:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableSubCommands}}

"{{.CommandPath}} ACTION --help" tells more about an action.{{end}}
`

// noArguments is for commands that take options only.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return sentence("Unexpected argument %q: %s takes options only.", args[0], cmd.CommandPath())
	}
	return nil
}

// common adds the options that every command which talks to a cluster has.
func (c *cli) common(cmd *cobra.Command) *cobra.Command {
	cmd.DisableFlagsInUseLine = true
	f := cmd.Flags()
	f.StringVar(&c.configDir, "configDir", "", "directory of config.yaml or flink-conf.yaml; by default $TAMIAS_CONF_DIR, $FLINK_CONF_DIR, ./conf")
	f.StringArrayVarP(&c.dynamic, "dynamic", "D", nil, "key=value that overrides the configuration; may be repeated")
	f.StringVarP(&c.jobManager, "jobmanager", "m", "", "host:port of the REST endpoint of any JobManager")
	f.StringVarP(&c.clusterID, "zookeeperNamespace", "z", "", "the same as -D high-availability.cluster-id")
	return cmd
}

// Package daemon is what the main functions of the JobManager and the TaskManager share: flags,
// configuration, logger, signals and the exit code. It knows nothing of what they run.
//
// Exit codes: 0 when the program ended by itself, on request; 1 when it could not start; Program.Fatal when
// it failed later; 128 and the signal's number (143 for SIGTERM) when a signal stopped it in order.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/config"
)

// exitStartup is the exit code of a process that could not start.
const exitStartup = 1

// A Program is one of the two daemons.
type Program struct {
	Name    string // of the binary
	Short   string // what it is, in one line
	Version string
	// Run runs until ctx ends or a user stops the program (nil), or until it fails.
	Run func(ctx context.Context, cfg *config.Configuration, log *zap.Logger) error
	// ErrStartup is what an error of Run wraps when the program could not start.
	ErrStartup error
	// Fatal is the exit code after any other error of Run.
	Fatal int
}

// Main runs the program with the arguments of the process and ends the process.
func (p Program) Main() {
	signals := make(chan os.Signal, 2) // the second one means: at once
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	os.Exit(p.execute(os.Args[1:], signals, os.Stdout, os.Stderr))
}

type flags struct {
	configDir string
	dynamic   []string
	print     []string
	quiet     bool
}

// execute is Main with everything it touches given: it returns the exit code.
func (p Program) execute(args []string, signals <-chan os.Signal, stdout, stderr io.Writer) int {
	var f flags
	code := 0
	cmd := &cobra.Command{
		Use:           p.Name + " --configDir DIR [-D key=value ...]",
		Short:         p.Short,
		Version:       p.Version,
		Args:          p.noArguments,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(*cobra.Command, []string) (err error) {
			code, err = p.start(f, signals, stdout, stderr)
			return err
		},
	}
	cmd.SetVersionTemplate("Version: {{.Version}}, Commit ID: " + revision() + "\n")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w; see %s --help", err, p.Name) })
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.Flags().StringVarP(&f.configDir, "configDir", "c", defaultConfigDir(), "directory of config.yaml or flink-conf.yaml; by default $TAMIAS_CONF_DIR or $FLINK_CONF_DIR")
	cmd.Flags().StringArrayVarP(&f.dynamic, "dynamic", "D", nil, "key=value that overrides the configuration file; may be repeated")
	cmd.Flags().StringArrayVar(&f.print, "print-config", nil, "print the value of a configuration key, one line for each, and exit; may be repeated")
	cmd.Flags().BoolVar(&f.quiet, "no-warnings", false, "with --print-config: do not show warnings about the configuration")
	if err := cmd.Execute(); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(stderr, "%s: %s\n", p.Name, line)
		}
		return exitStartup
	}
	return code
}

func (p Program) noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q; see %s --help", args[0], p.Name)
	}
	return nil
}

func defaultConfigDir() string {
	if dir := os.Getenv("TAMIAS_CONF_DIR"); dir != "" {
		return dir
	}
	return os.Getenv("FLINK_CONF_DIR")
}

// start loads the configuration and does what the flags ask for. An error means that nothing was started.
func (p Program) start(f flags, signals <-chan os.Signal, stdout, stderr io.Writer) (int, error) {
	if f.configDir == "" {
		return 0, errors.New("no configuration directory: give --configDir DIR, or set TAMIAS_CONF_DIR or FLINK_CONF_DIR")
	}
	cfg, warnings, err := config.Load(f.configDir, f.dynamic)
	if err == nil {
		err = cfg.CheckCluster()
	}
	if err != nil || len(f.print) > 0 && !f.quiet {
		for _, w := range warnings {
			if !w.Quiet {
				fmt.Fprintf(stderr, "%s: warning: %s\n", p.Name, w)
			}
		}
	}
	if err != nil {
		return 0, err
	}
	if len(f.print) > 0 {
		return 0, printConfig(stdout, cfg, f.print)
	}
	log := newLogger(stderr, config.LogLevel.In(cfg))
	defer log.Sync() //nolint:errcheck // stderr may be something that cannot be synced
	p.introduce(log, cfg, warnings)
	return p.run(cfg, log, signals), nil
}

// printConfig answers the scripts, so that they need no parser of their own.
func printConfig(w io.Writer, cfg *config.Configuration, keys []string) error {
	for _, key := range keys {
		value := strings.Join(strings.FieldsFunc(cfg.Text(key), func(r rune) bool { return r == '\n' || r == '\r' }), " ")
		if _, err := fmt.Fprintln(w, config.Mask(key, value)); err != nil {
			return fmt.Errorf("print configuration: %w", err)
		}
	}
	return nil
}

func (p Program) introduce(log *zap.Logger, cfg *config.Configuration, warnings []config.Warning) {
	log.Info("process starting", zap.String("program", p.Name), zap.String("version", p.Version), zap.String("revision", revision()),
		zap.Int("pid", os.Getpid()), zap.String("go", runtime.Version()), zap.Int("cores", runtime.GOMAXPROCS(0)))
	for _, s := range cfg.Masked() {
		log.Info("configuration property loaded", zap.String("key", s.Key), zap.String("value", s.Value), zap.String("place", s.Place))
	}
	for _, w := range warnings {
		level := log.Warn
		if w.Quiet {
			level = log.Debug
		}
		level("configuration: " + w.String())
	}
}

// run runs the program until it ends or signals stop it. The first signal ends it in order, within
// cluster.services.shutdown-timeout; a second one ends it at once.
func (p Program) run(cfg *config.Configuration, log *zap.Logger, signals <-chan os.Signal) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1) // room for one: the program may end after we stopped waiting
	go func() { done <- p.Run(ctx, cfg, log) }()

	var received syscall.Signal
	var overdue <-chan time.Time
	for {
		select {
		case err := <-done:
			return p.exitCode(err, received, log)
		case s := <-signals:
			if received != 0 {
				log.Warn("second signal, ending at once", zap.Stringer("signal", s))
				return 128 + int(received)
			}
			received, _ = s.(syscall.Signal)
			log.Info("signal received, stopping", zap.Stringer("signal", s))
			stop()
			overdue = time.After(config.ServicesShutdownTimeout.In(cfg))
		case <-overdue:
			log.Error("did not stop in time, ending at once", zap.Duration("timeout", config.ServicesShutdownTimeout.In(cfg)))
			return p.Fatal
		}
	}
}

func (p Program) exitCode(err error, received syscall.Signal, log *zap.Logger) int {
	switch {
	case received != 0 && (err == nil || errors.Is(err, context.Canceled)):
		log.Info("stopped", zap.Stringer("signal", received))
		return 128 + int(received)
	case err == nil:
		log.Info("stopped")
		return 0
	case errors.Is(err, p.ErrStartup):
		log.Error("could not start", zap.Error(err))
		return exitStartup
	}
	log.Error("fatal error", zap.Error(err))
	return p.Fatal
}

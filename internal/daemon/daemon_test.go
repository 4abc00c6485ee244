package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/config"
)

var errStartup = errors.New("start-up failed")

func confDir(t *testing.T, content string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, config.YAMLFile), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestExitCodes(t *testing.T) {
	untilStopped := func(ctx context.Context, _ *config.Configuration, _ *zap.Logger) error { <-ctx.Done(); return nil }
	fails := func(err error) func(context.Context, *config.Configuration, *zap.Logger) error {
		return func(context.Context, *config.Configuration, *zap.Logger) error { return err }
	}
	for _, tc := range []struct {
		name    string
		run     func(context.Context, *config.Configuration, *zap.Logger) error
		signals []os.Signal
		want    int
		log     string
	}{
		{"ended on request", fails(nil), nil, 0, "stopped"},
		{"could not start", fails(fmt.Errorf("%w: port taken", errStartup)), nil, 1, "could not start"},
		{"failed later", fails(errors.New("broken")), nil, 2, "fatal error"},
		{"SIGTERM", untilStopped, []os.Signal{syscall.SIGTERM}, 143, "signal received, stopping"},
		{"SIGINT", untilStopped, []os.Signal{syscall.SIGINT}, 130, "signal received, stopping"},
		{"an error that is only the signal's", func(ctx context.Context, _ *config.Configuration, _ *zap.Logger) error {
			<-ctx.Done()
			return fmt.Errorf("%w: listen: %w", errStartup, ctx.Err())
		}, []os.Signal{syscall.SIGTERM}, 143, "stopped"},
		{"an error on the way out", func(ctx context.Context, _ *config.Configuration, _ *zap.Logger) error {
			<-ctx.Done()
			return errors.New("broken")
		}, []os.Signal{syscall.SIGTERM}, 2, "fatal error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := confDir(t, "") // outside of the bubble
			synctest.Test(t, func(t *testing.T) {
				signals := make(chan os.Signal, 2)
				for _, s := range tc.signals {
					signals <- s
				}
				var stdout, stderr bytes.Buffer
				p := Program{Name: "x", Run: tc.run, ErrStartup: errStartup, Fatal: 2}
				if got := p.execute([]string{"-c", dir}, signals, &stdout, &stderr); got != tc.want {
					t.Errorf("exit code %d, want %d", got, tc.want)
				}
				if !strings.Contains(stderr.String(), tc.log) {
					t.Errorf("log lacks %q:\n%s", tc.log, stderr.String())
				}
			})
		})
	}
}

func TestWhoDoesNotStopIsLeft(t *testing.T) {
	for name, second := range map[string]bool{"timeout": false, "second signal": true} {
		t.Run(name, func(t *testing.T) {
			dir := confDir(t, "cluster.services.shutdown-timeout: 7 s")
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				defer close(release)
				signals := make(chan os.Signal, 2)
				signals <- syscall.SIGTERM
				want := 2
				if second {
					signals <- syscall.SIGINT
					want = 143
				}
				p := Program{Name: "x", Fatal: 2, ErrStartup: errStartup, Run: func(context.Context, *config.Configuration, *zap.Logger) error { <-release; return nil }}
				var out bytes.Buffer
				if got := p.execute([]string{"--configDir", dir}, signals, &out, &out); got != want {
					t.Errorf("exit code %d, want %d\n%s", got, want, out.String())
				}
			})
		})
	}
}

func TestDurationsAreReadable(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 999: "999ns", 303139: "303.1µs", 5059873: "5.06ms", 7990332460: "7.99s", -5059873: "-5.06ms", 23*time.Hour + 59*time.Minute + 1: "23h59m0s",
	} {
		if got := readable(d).String(); got != want {
			t.Errorf("readable(%d) = %s, want %s", d, got, want)
		}
	}
}

func TestFlags(t *testing.T) {
	dir := confDir(t, "rest.port: 4\nrest.prot: 5\nmy.password: hush\n")
	broken := confDir(t, "rest.port: x\nheartbeat.interval: y\n")
	ran := func(context.Context, *config.Configuration, *zap.Logger) error { return nil }
	for _, tc := range []struct {
		name           string
		args           []string
		want           int
		stdout, stderr string // parts; "" for anything
	}{
		{"print-config", []string{"--configDir", dir, "-D", "rest.address=h", "-Dheartbeat.interval=1 s", "--print-config", "rest.port", "--print-config", "rest.address",
			"--print-config", "heartbeat.interval", "--print-config", "nothing", "--print-config", "env.pid.dir", "--print-config", "my.password"}, 0,
			"4\nh\n1 s\n\n/tmp\n******\n", "did you mean rest.port?"},
		{"no warnings", []string{"-c", dir, "--no-warnings", "--print-config", "rest.port"}, 0, "4\n", ""},
		{"version", []string{"--version"}, 0, "Version: v1, Commit ID: ", ""},
		{"loaded properties", []string{"-c", dir}, 0, "", `configuration property loaded {"key": "my.password", "value": "******"`},
		{"warnings", []string{"-c", dir}, 0, "", "WARN  configuration: " + dir + "/config.yaml:2: rest.prot is an unknown key; did you mean rest.port?"},
		{"level", []string{"-c", dir, "-D", "env.log.level=OFF"}, 0, "", ""},
		{"all errors", []string{"-c", broken}, 1, "", "config.yaml:2: heartbeat.interval"},
		{"settings that do not fit", []string{"-c", dir, "-D", "high-availability.type=zookeeper"}, 1, "", "x: high-availability.storageDir must be set"},
		{"no directory", []string{"-c", dir + "/missing"}, 1, "", "does not exist"},
		{"no flag", nil, 1, "", "give --configDir"},
		{"unknown flag", []string{"--what"}, 1, "", "x: unknown flag: --what; see x --help\n"},
		{"an argument", []string{"-c", dir, "start"}, 1, "", "x: unexpected argument \"start\"; see x --help\n"},
	} {
		t.Setenv("TAMIAS_CONF_DIR", "")
		t.Setenv("FLINK_CONF_DIR", "")
		var stdout, stderr bytes.Buffer
		p := Program{Name: "x", Version: "v1", Run: ran, ErrStartup: errStartup, Fatal: 2}
		code := p.execute(tc.args, nil, &stdout, &stderr)
		if code != tc.want || !strings.Contains(stdout.String(), tc.stdout) || !strings.Contains(stderr.String(), tc.stderr) {
			t.Errorf("%s: exit code %d, want %d\nstdout %s\nwant %s\nstderr %s\nwant %s", tc.name, code, tc.want, stdout.String(), tc.stdout, stderr.String(), tc.stderr)
		}
		if (tc.name == "level" || tc.name == "no warnings") && stderr.Len() > 0 {
			t.Errorf("%s: unexpected output: %s", tc.name, stderr.String())
		}
	}
	t.Setenv("FLINK_CONF_DIR", dir)
	var out bytes.Buffer
	if code := (Program{Run: ran}).execute([]string{"--print-config", "rest.port"}, nil, &out, &out); code != 0 || !strings.Contains(out.String(), "4\n") {
		t.Errorf("FLINK_CONF_DIR: exit code %d, output %s", code, out.String())
	}
}

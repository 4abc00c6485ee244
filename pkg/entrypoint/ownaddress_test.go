package entrypoint

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/rpc"
)

func configure(t *testing.T, settings map[string]string) *config.Configuration {
	t.Helper()
	cfg, err := config.FromMap(settings)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestProbeInterval(t *testing.T) {
	for want, settings := range map[time.Duration]map[string]string{
		500 * time.Millisecond: nil,
		time.Second:            {"high-availability.leader-probe.timeout": "4 s"},
		20 * time.Millisecond:  {"high-availability.leader-probe.interval": "20 ms"},
	} {
		if got := probeInterval(configure(t, settings)); got != want {
			t.Errorf("with %v the interval is %s, want %s", settings, got, want)
		}
	}
}

// TestAWrongAddressIsNotAnnounced: nobody listens at the address that a JobManager would announce. It says so and
// ends, before it contends: the others would shoot it.
func TestAWrongAddressIsNotAnnounced(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := RunJobManager(ctx, configure(t, map[string]string{
		"high-availability.type": "local", "high-availability.storageDir": dir + "/ha", "io.tmp.dirs": dir,
		"jobmanager.bind-host": "127.0.0.1", "jobmanager.rpc.address": "127.0.0.2", "rest.bind-port": "0",
	}), zap.NewNop())
	if !errors.Is(err, ErrStartup) || !strings.Contains(err.Error(), "127.0.0.2") || !strings.Contains(err.Error(), "jobmanager.rpc.address") {
		t.Errorf("RunJobManager = %v, want a failed start-up that names jobmanager.rpc.address", err)
	}
}

// serve answers on a listener, and announces itself as host, until the test ends.
func serve(t *testing.T, l net.Listener, host string) *rpc.GRPC {
	t.Helper()
	transport := rpc.NewTransport(l, host)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- transport.Serve(ctx, rpc.NewService(transport).Serve) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return transport
}

func listenAt(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestCheckOwnAddress: at the address that a process announces there may be itself, nobody, somebody else or
// silence. What others hear is not known in the last case, unless they are on the same machine.
func TestCheckOwnAddress(t *testing.T) {
	itself := func(*testing.T, string) {}
	other := func(t *testing.T, port string) { serve(t, listenAt(t, "127.0.0.3:"+port), "127.0.0.3") }
	mute := func(t *testing.T, port string) {
		l := listenAt(t, "127.0.0.4:"+port)
		t.Cleanup(func() { l.Close() })
	}
	for _, tc := range []struct {
		name, host string
		there      func(t *testing.T, port string)
		ha         string
		want       string // part of the error
		warnings   int
	}{
		{"itself", "127.0.0.1", itself, config.HALocal, "", 0},
		{"by name", "localhost", itself, config.HAZooKeeper, "", 0},
		{"nobody", "127.0.0.2", itself, config.HAZooKeeper, "refuses connections", 0},
		{"somebody else", "127.0.0.3", other, config.HAZooKeeper, "another process answers", 0},
		{"silence on this machine", "127.0.0.4", mute, config.HALocal, "silent", 0},
		{"silence", "127.0.0.4", mute, config.HAZooKeeper, "", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := listenAt(t, "127.0.0.1:0")
			_, port, _ := net.SplitHostPort(l.Addr().String())
			tc.there(t, port)
			transport := serve(t, l, tc.host)
			core, logs := observer.New(zap.WarnLevel)
			err := checkOwnAddress(t.Context(), configure(t, map[string]string{"high-availability.type": tc.ha}), transport, zap.New(core))
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("checkOwnAddress = %v, want %q", err, tc.want)
			}
			if logs.Len() != tc.warnings {
				t.Errorf("warnings: %v, want %d", logs.All(), tc.warnings)
			}
		})
	}
}

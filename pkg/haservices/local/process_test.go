package local_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/local"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

var dispatcher = haservices.Component{Kind: haservices.Dispatcher}

// leaderDir makes this test binary lead in that directory and do nothing else, see leaderProcess.
const leaderDir = "TAMIAS_TEST_LEADER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(leaderDir); dir != "" {
		if err := leaderProcess(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// leaderProcess leads, starts a child that outlives it, says so, and waits to be killed.
func leaderProcess(dir string) error {
	d, err := local.New(local.Config{StorageDir: dir})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	term, err := d.Campaign(ctx, dispatcher, haservices.Contender{PID: os.Getpid(), Address: "127.0.0.1:1"})
	if err != nil {
		return err
	}
	if err := term.Publish(ctx, "tamias://127.0.0.1:1/dispatcher"); err != nil {
		return err
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		return err
	}
	fmt.Println("leading", child.Process.Pid)
	<-ctx.Done()
	return ctx.Err()
}

// startLeader returns a process that leads, and its child.
func startLeader(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), leaderDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	var child int
	if _, scanErr := fmt.Sscanf(line, "leading %d", &child); scanErr != nil {
		t.Fatalf("the leader said %q, %v", line, err)
	}
	t.Cleanup(func() { syscall.Kill(child, syscall.SIGKILL) })
	return cmd
}

// takeOver ends a leading process in one way and waits until this one leads, which has to know why.
func takeOver(t *testing.T, cfg local.Config, why protocol.SuccessionReason, end func(*os.Process)) time.Duration {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cfg.PollInterval = time.Minute // nothing may depend on it
	leader := startLeader(t, cfg.StorageDir)
	d := newDriver(t, cfg)
	defer d.Close()

	told := make(chan haservices.LeaderInformation, 16)
	observed := make(chan error, 1)
	observing, stop := context.WithCancel(ctx)
	go func() {
		observed <- d.Observe(observing, dispatcher, func(l haservices.LeaderInformation) { told <- l })
	}()
	defer func() { stop(); <-observed }()
	if l := <-told; l.Token.Epoch() != 1 || !strings.HasPrefix(l.Address, "tamias://127.0.0.1:1/") {
		t.Errorf("leader is %+v, want the process that was started", l)
	}

	terms, failed := make(chan haservices.Term, 1), make(chan error, 1)
	go func() {
		term, err := d.Campaign(ctx, dispatcher, haservices.Contender{Process: id.NewInstance(), PID: os.Getpid()})
		if err != nil {
			failed <- err
			return
		}
		terms <- term
	}()
	start := time.Now()
	end(leader.Process)
	select {
	case term := <-terms:
		took := time.Since(start)
		if term.Token().Epoch() != 2 {
			t.Errorf("epoch %d after 1, want 2", term.Token().Epoch())
		}
		how := term.(haservices.Successor).Succession()
		if how.Reason != why || how.Predecessor == nil || how.Predecessor.PID != leader.Process.Pid || how.Won.Before(how.Detected) {
			t.Errorf("succession %+v, want %s of process %d", how, why, leader.Process.Pid)
		}
		if l := <-told; !l.IsEmpty() {
			t.Errorf("leader is %+v, want none", l)
		}
		return took
	case err := <-failed:
		t.Fatal(err)
	}
	return 0
}

func TestKilledLeader(t *testing.T) {
	took := takeOver(t, local.Config{StorageDir: t.TempDir()}, protocol.ProcessGone, func(p *os.Process) { p.Kill() })
	t.Logf("led %s after SIGKILL of the leader", took)
}

// TestLeaderThatRefusedOnceIsNotShot: it is asked again before, and what it says then counts.
func TestLeaderThatRefusedOnceIsNotShot(t *testing.T) {
	dir, asked, again := t.TempDir(), 0, make(chan struct{})
	leader := startLeader(t, dir)
	d := newDriver(t, local.Config{
		StorageDir: dir, ProbeTimeout: 50 * time.Millisecond,
		AwaitGone: func(ctx context.Context, _ string, _ id.Instance, _ time.Duration) error {
			if asked++; asked == 1 {
				return rpc.ErrGone
			}
			close(again)
			<-ctx.Done()
			return ctx.Err()
		},
	})
	defer d.Close()
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := d.Campaign(ctx, dispatcher, haservices.Contender{})
		left <- err
	}()
	select {
	case <-again:
	case <-time.After(time.Minute):
		t.Fatal("the leader was not asked again")
	}
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("Campaign = %v, want %v", err, context.Canceled)
	}
	leader.Process.Signal(syscall.SIGTERM)
	leader.Wait()
	if how := leader.ProcessState.Sys().(syscall.WaitStatus).Signal(); how != syscall.SIGTERM {
		t.Errorf("the leader ended by signal %q before the test ended it", how)
	}
}

// TestFrozenLeaderIsShot: one that is silent, and one whose process is there but answers nobody.
func TestFrozenLeaderIsShot(t *testing.T) {
	for _, verdict := range []error{rpc.ErrSilent, rpc.ErrGone} {
		cfg := local.Config{StorageDir: t.TempDir(), ProbeTimeout: 50 * time.Millisecond}
		frozen := make(chan struct{})
		cfg.AwaitGone = func(ctx context.Context, address string, _ id.Instance, silence time.Duration) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-frozen:
				return fmt.Errorf("%w: %s", verdict, address)
			}
		}
		takeOver(t, cfg, protocol.Shot, func(p *os.Process) {
			p.Signal(syscall.SIGSTOP)
			close(frozen)
		})
	}
}

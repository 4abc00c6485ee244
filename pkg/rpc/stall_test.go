package rpc_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// The test binary is a process that watches another one when this says which: address and process.
const watcherOf = "TAMIAS_TEST_WATCHER_OF"

func TestMain(m *testing.M) {
	whom := strings.Fields(os.Getenv(watcherOf))
	if len(whom) != 2 {
		os.Exit(m.Run())
	}
	var process id.Instance
	if err := process.UnmarshalText([]byte(whom[1])); err != nil {
		panic(err)
	}
	fmt.Println(watching().Prober(silence/10)(context.Background(), whom[0], process, silence))
}

const silence = time.Second

// TestFrozenWatcher: a process that was frozen itself does not take that for the silence of the one it watches, which
// lives and is heard at once.
func TestFrozenWatcher(t *testing.T) {
	server := rpc.NewTransport(listen(t), "127.0.0.1")
	serving, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(serving, nil) }()
	watcher := exec.Command(os.Args[0])
	watcher.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s", watcherOf, server.Address(), server.Process()))
	out, err := watcher.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watcher.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		said <- line
	}()
	for range 3 {
		for _, s := range []syscall.Signal{syscall.SIGCONT, syscall.SIGSTOP} {
			select {
			case line := <-said:
				t.Fatalf("the watcher says %q of a process that lives", line)
			case <-time.After(3 * silence / 2):
			}
			if err := watcher.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := watcher.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-said
	_ = watcher.Wait() // killed
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// watching is a transport that serves nobody.
func watching() *rpc.GRPC {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	return rpc.NewTransport(l, "127.0.0.1")
}

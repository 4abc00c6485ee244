package rpc

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"
)

// deaf returns a listener of which the kernel drops the first packets of connections, as if they were lost.
func deaf(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) }), err); err != nil {
		t.Fatal(err)
	}
	for { // until its queue is full
		c, err := net.DialTimeout("tcp", l.Addr().String(), 100*time.Millisecond)
		if err != nil {
			return l
		}
		t.Cleanup(func() { c.Close() })
	}
}

// TestLostPacketOfADial: a process ends when the first packet of a dial to it has just been lost. The dial ends with
// the refusal, and does not wait until the kernel repeats the packet, which is after a second.
func TestLostPacketOfADial(t *testing.T) {
	var err error
	for range 10 { // a busy machine may need more than one
		l := deaf(t)
		ending := time.AfterFunc(50*time.Millisecond, func() { l.Close() })
		err = knock(t.Context(), l.Addr().String(), 900*time.Millisecond)
		ending.Stop()
		l.Close()
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
	}
	t.Errorf("knock = %v, want %v", err, syscall.ECONNREFUSED)
}

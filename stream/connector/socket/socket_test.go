package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tamias-project/tamias/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server lets each test say what is sent on each connection.
func server(t *testing.T, serve ...func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, s := range serve {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func open(t *testing.T, source stream.Source[string]) stream.Reader[string] {
	t.Helper()
	splits, err := source.Splits(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	r, err := source.Open(t.Context(), stream.Subtask{Parallelism: 1}, splits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// read reads until the end, or until it has so many lines.
func read(t *testing.T, r stream.Reader[string], most int) (lines []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	records := make([]string, 3)
	for len(lines) < most {
		n, err := r.Read(ctx, records)
		lines = append(lines, records[:n]...)
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return lines
}

func TestLinesEndWithTheConnection(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	address := server(t, func(c net.Conn) { fmt.Fprintf(c, "one\r\ntwo\n\n%s\nlast", long) })
	want := []string{"one", "two", "", long, "last"}
	if got := read(t, open(t, Lines(address)), 100); !slices.Equal(got, want) {
		t.Errorf("got %d lines %.50q", len(got), got)
	}
}

func TestReadIsInterruptedWithoutLoss(t *testing.T) {
	goOn := make(chan struct{})
	address := server(t, func(c net.Conn) {
		fmt.Fprint(c, "first\nsec")
		<-goOn
		fmt.Fprint(c, "ond\n")
	})
	r := open(t, Lines(address))
	if got := read(t, r, 1); got[0] != "first" {
		t.Fatalf("got %q", got)
	}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		if n, err := r.Read(ctx, make([]string, 1)); n != 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Read = %d, %v", n, err)
		}
		cancel()
	}
	close(goOn)
	if got := read(t, r, 1); got[0] != "second" {
		t.Errorf("got %q", got)
	}
}

func TestReconnect(t *testing.T) {
	address := server(t,
		func(c net.Conn) { fmt.Fprint(c, "a\n") },
		func(net.Conn) {},
		func(c net.Conn) { fmt.Fprint(c, "b\n") })
	if got := read(t, open(t, Lines(address, Reconnect(time.Millisecond))), 2); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %q", got)
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	if _, err := open(t, Lines(address)).Read(t.Context(), make([]string, 1)); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("Read = %v", err)
	}
}

func TestOtherSubtasksReadNothing(t *testing.T) {
	r, err := Lines("nowhere:1").Open(t.Context(), stream.Subtask{Index: 1, Parallelism: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(t.Context(), make([]string, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("Read = %v, want io.EOF", err)
	}
}

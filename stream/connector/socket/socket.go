// Package socket reads lines of text from a TCP server, for trying things out. A socket cannot be read a
// second time: lines that came after the latest checkpoint are lost when the job fails, so records arrive at
// most once. For results that must be right, read files or a log.
package socket

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/stream"
)

// Option is a setting of Lines.
type Option func(*settings)

type settings struct {
	network, address string
	again            time.Duration
}

// Reconnect dials again, after a pause, when the server cannot be reached or ends the connection; the input
// then has no end. Without it, the input ends with the connection, and a server that cannot be reached
// fails the job.
func Reconnect(pause time.Duration) Option {
	return func(s *settings) { s.again = max(pause, time.Millisecond) }
}

// Lines is a source of the lines that a TCP server at address (host:port) sends, without their ends (LF or CR
// LF). One subtask reads; give the source Parallelism(1). A line may have up to 1 MiB. Flink's
// socketTextStream.
func Lines(address string, opts ...Option) stream.Source[string] {
	s := settings{network: "tcp", address: address}
	for _, o := range opts {
		o(&s)
	}
	return source{s}
}

type source struct{ settings }

// Check implements stream.Checker.
func (s source) Check() error {
	_, _, err := net.SplitHostPort(s.address)
	return err
}

// Splits has the whole connection as the only one.
func (s source) Splits(context.Context, int) ([]stream.Split, error) {
	return []stream.Split{{ID: s.address}}, nil
}

func (s source) Open(_ context.Context, task stream.Subtask, splits []stream.Split) (stream.Reader[string], error) {
	r := &reader{settings: s.settings, log: task.Log, done: len(splits) == 0}
	if r.log == nil {
		r.log = zap.NewNop()
	}
	return r, nil
}

const longestLine = 1 << 20

// reader reads one connection after the other.
type reader struct {
	settings
	log  *zap.Logger
	done bool
	conn net.Conn // nil while there is none
	in   *bufio.Reader
	part []byte // the beginning of a line
}

func (r *reader) Read(ctx context.Context, records []string) (int, error) {
	if r.done {
		return 0, io.EOF
	}
	for {
		n, err := r.read(ctx, records)
		switch {
		case n > 0 || err == nil:
			return n, nil // an error comes back with the next call
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case r.again == 0 && errors.Is(err, io.EOF):
			r.done = true
			return 0, errors.Join(r.Close(), io.EOF)
		case r.again == 0:
			return 0, err
		}
		r.log.Warn("connection ended", zap.String("address", r.address), zap.Duration("retry-in", r.again), zap.Error(err))
		if err := r.Close(); err != nil {
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(r.again):
		}
	}
}

// read returns lines from the connection: all that have arrived, at least one.
func (r *reader) read(ctx context.Context, records []string) (n int, err error) {
	if r.conn == nil {
		var d net.Dialer
		if r.conn, err = d.DialContext(ctx, r.network, r.address); err != nil {
			r.conn = nil
			return 0, fmt.Errorf("connect to %s: %w", r.address, err)
		}
		r.in, r.part = bufio.NewReaderSize(r.conn, 64<<10), nil
	}
	release := r.interrupt(ctx)
	defer release()
	for n < len(records) && (n == 0 || r.lineIsBuffered()) {
		piece, err := r.in.ReadSlice('\n')
		r.part = append(r.part, piece...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(r.part) <= longestLine:
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			return n, fmt.Errorf("%s sent a line of more than %d bytes", r.address, longestLine)
		case errors.Is(err, io.EOF) && len(r.part) > 0: // the last line has no LF
		case err != nil:
			return n, fmt.Errorf("read from %s: %w", r.address, err)
		}
		records[n] = string(bytes.TrimSuffix(bytes.TrimSuffix(r.part, []byte{'\n'}), []byte{'\r'}))
		r.part = r.part[:0]
		n++
	}
	return n, nil
}

func (r *reader) lineIsBuffered() bool {
	waiting, _ := r.in.Peek(r.in.Buffered())
	return bytes.IndexByte(waiting, '\n') >= 0
}

// interrupt makes reads fail when ctx ends, until release is called. What was read of a line is kept.
func (r *reader) interrupt(ctx context.Context) (release func()) {
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		_ = r.conn.SetReadDeadline(time.Unix(1, 0)) // fails only if the connection is closed
	})
	return func() {
		if !stop() {
			<-fired
			_ = r.conn.SetReadDeadline(time.Time{})
		}
	}
}

// Snapshot keeps the connection for the subtask that has it, so that it dials again after a failure.
func (r *reader) Snapshot() ([]stream.Split, error) {
	if r.done {
		return nil, nil
	}
	return []stream.Split{{ID: r.address}}, nil
}

func (r *reader) Close() error {
	if r.conn == nil {
		return nil
	}
	err := r.conn.Close()
	r.conn = nil
	return err
}

package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/tamias-project/tamias/pkg/id"
)

// watchRequest asks a process for a sign of life every Interval.
type watchRequest struct {
	Interval time.Duration `cbor:"1,keyasint"`
}

// beat is a sign of life.
type beat struct {
	Process id.Instance `cbor:"1,keyasint"`
}

// shortestInterval bounds what a watcher can ask for.
const shortestInterval = 10 * time.Millisecond

func serveWatch(stream grpc.ServerStream, process id.Instance) error {
	var req watchRequest
	if err := stream.RecvMsg(&req); err != nil {
		return err
	}
	tick := time.NewTicker(max(req.Interval, shortestInterval))
	defer tick.Stop()
	for {
		if err := stream.SendMsg(&beat{process}); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-tick.C:
		}
	}
}

// watched is the question whether a process has ended. Everybody in this process who asks the same shares
// the answer: a JobManager with many jobs holds one stream to each TaskManager, not one for each job.
type watched struct {
	address string
	process id.Instance
	silence time.Duration
	// interval is the pause between two signs of life.
	interval time.Duration
}

// watch finds the answer for those who wait for it.
type watch struct {
	ended  chan struct{} // closed when err is set and the goroutine has ended
	err    error
	cancel context.CancelFunc

	waiting int // guarded by GRPC.watchesMu
}

// AwaitGone holds a stream on the connection to the process, on which that beats four times in each silence. A
// broken stream is followed by a dial: only a refusal, or another process, proves that the watched one is gone.
func (t *GRPC) AwaitGone(ctx context.Context, address string, process id.Instance, silence time.Duration) error {
	return t.await(ctx, watched{address, process, silence, silence / 4})
}

// Prober is AwaitGone with a beat every interval, which should fit into each silence several times; less than
// 10 ms is 10 ms.
func (t *GRPC) Prober(interval time.Duration) func(ctx context.Context, address string, process id.Instance, silence time.Duration) error {
	return func(ctx context.Context, address string, process id.Instance, silence time.Duration) error {
		return t.await(ctx, watched{address, process, silence, interval})
	}
}

func (t *GRPC) await(ctx context.Context, p watched) error {
	w := t.join(p)
	defer t.leave(p, w)
	select {
	case <-w.ended:
		return w.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *GRPC) join(p watched) *watch {
	t.watchesMu.Lock()
	defer t.watchesMu.Unlock()
	w := t.watches[p]
	if w == nil {
		ctx, cancel := context.WithCancel(context.Background()) // ends when the last one leaves
		w = &watch{ended: make(chan struct{}), cancel: cancel}
		t.watches[p] = w
		go func() {
			defer close(w.ended)
			w.err = t.awaitGone(ctx, p)
			t.watchesMu.Lock()
			defer t.watchesMu.Unlock()
			t.forget(p, w)
		}()
	}
	w.waiting++
	return w
}

// leave ends a watch that nobody waits for any more, and waits for its end.
func (t *GRPC) leave(p watched, w *watch) {
	t.watchesMu.Lock()
	w.waiting--
	last := w.waiting == 0
	if last {
		t.forget(p, w)
	}
	t.watchesMu.Unlock()
	if last {
		w.cancel()
		<-w.ended
	}
}

// forget lets who asks from now on ask anew. With watchesMu held.
func (t *GRPC) forget(p watched, w *watch) {
	if t.watches[p] == w {
		delete(t.watches, p)
	}
}

func (t *GRPC) awaitGone(ctx context.Context, p watched) error {
	heard := time.Now()
	for {
		at, err := t.listen(ctx, p, p.silence-time.Since(heard))
		if errors.Is(err, ErrGone) {
			return err
		}
		if at.After(heard) {
			heard = at
		}
		if ctx.Err() == nil && refuses(ctx, p.address, p.silence-time.Since(heard)) {
			return fmt.Errorf("%w: %s refuses connections", ErrGone, p.address)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(heard) >= p.silence {
			return fmt.Errorf("%w: nothing heard from %s for %s", ErrSilent, p.address, time.Since(heard).Round(time.Millisecond))
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Millisecond): // a broken stream precedes the refusal by a moment
		}
	}
}

// refuses reports whether nobody listens at address. It opens and closes a TCP connection.
func refuses(ctx context.Context, address string, timeout time.Duration) bool {
	d := net.Dialer{Timeout: max(timeout, time.Millisecond)}
	c, err := d.DialContext(ctx, "tcp", address)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// listen follows one stream until it breaks or is silent, and returns when it was last heard. The connection
// is given up then, so that the next stream or call dials.
func (t *GRPC) listen(ctx context.Context, p watched, first time.Duration) (heard time.Time, err error) {
	streamCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := t.conn(p.address)
	if err != nil {
		return heard, err
	}
	defer func() {
		if ctx.Err() == nil && !errors.Is(err, ErrGone) {
			t.drop(p.address, conn)
		}
	}()
	quiet := time.AfterFunc(max(first, time.Millisecond), cancel)
	defer quiet.Stop()
	stream, err := watchStream(streamCtx, conn, p.interval)
	if err != nil {
		return heard, err
	}
	for {
		var b beat
		if err := stream.RecvMsg(&b); err != nil {
			return heard, err
		}
		if b.Process != p.process {
			return heard, fmt.Errorf("%w: another process answers at %s", ErrGone, p.address)
		}
		heard = time.Now()
		quiet.Reset(p.silence)
	}
}

// watchStream asks a process for beats.
func watchStream(ctx context.Context, conn *grpc.ClientConn, interval time.Duration) (grpc.ClientStream, error) {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, watchMethod, grpc.CallContentSubtype(codec{}.Name()))
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(&watchRequest{Interval: interval}); err != nil {
		return nil, err
	}
	return stream, stream.CloseSend()
}

// WhoAnswers asks over the network which process is at address, this one perhaps. It returns ErrGone when nobody
// listens there, else ErrSilent when there is no answer within patience.
func (t *GRPC) WhoAnswers(ctx context.Context, address string, patience time.Duration) (id.Instance, error) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var b beat
	conn, err := t.conn(address)
	if err == nil {
		var stream grpc.ClientStream
		if stream, err = watchStream(limited, conn, patience); err == nil {
			err = stream.RecvMsg(&b)
		}
	}
	switch {
	case err == nil:
		return b.Process, nil
	case ctx.Err() != nil:
		return b.Process, ctx.Err()
	case refuses(ctx, address, patience):
		return b.Process, fmt.Errorf("%w: %s refuses connections", ErrGone, address)
	}
	return b.Process, fmt.Errorf("%w: %s: %w", ErrSilent, address, err)
}

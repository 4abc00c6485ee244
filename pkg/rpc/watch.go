package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
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
	var broke error // why a stream ended that had not just fallen silent
	for {
		at, err := t.listen(ctx, p, p.silence-time.Since(heard))
		if errors.Is(err, ErrGone) {
			return err
		}
		if at.After(heard) {
			heard, broke = at, nil
		}
		if !errors.Is(err, errQuiet) {
			broke = err
		}
		refused := knock(ctx, p.address, max(p.silence-time.Since(heard), p.silence/lastPart))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(refused, syscall.ECONNREFUSED):
			return fmt.Errorf("%w: %s refuses connections", ErrGone, p.address)
		case time.Since(heard) >= p.silence:
			return silent(p, time.Since(heard), broke, refused)
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Millisecond): // a broken stream precedes the refusal by a moment
		}
	}
}

// silent is the error of a silence, with what may be the reason for people.
func silent(p watched, quiet time.Duration, broke, refused error) error {
	why := "it accepts connections"
	if refused != nil {
		why = refused.Error()
	}
	if broke != nil {
		why += "; the stream ended with " + broke.Error()
	}
	return fmt.Errorf("%w: nothing heard from %s for %s: %s", ErrSilent, p.address, quiet.Round(time.Millisecond), why)
}

// firstPatience is how long the first try of a knock may take: a packet that is lost would cost the second that kernels
// wait before they repeat it. Other dials wait for that: when ten thousand connect at once, each try more makes it worse.
const firstPatience = 200 * time.Millisecond

// knock opens a TCP connection, in several tries, and closes it. The error is syscall.ECONNREFUSED when nobody listens
// at address.
func knock(ctx context.Context, address string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for patience := firstPatience; ; patience *= 2 {
		d := net.Dialer{Timeout: patience}
		c, err := d.DialContext(ctx, "tcp", address)
		if err == nil {
			c.Close()
			return nil
		}
		var failure net.Error
		if ctx.Err() != nil || !errors.As(err, &failure) || !failure.Timeout() {
			return err
		}
	}
}

// errQuiet: nothing was heard on a stream for too long.
var errQuiet = errors.New("no sign of life on the stream")

// listen follows one stream until it breaks or is silent, and returns when it was last heard. The connection
// is given up then, so that the next stream or call dials.
func (t *GRPC) listen(ctx context.Context, p watched, first time.Duration) (heard time.Time, err error) {
	conn, err := t.conn(p.address)
	if err != nil {
		return heard, err
	}
	defer func() {
		if ctx.Err() == nil && !errors.Is(err, ErrGone) {
			t.drop(p.address, conn)
		}
	}()
	streamCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	q := beginQuiet(p.silence, first, func() { cancel(errQuiet) })
	defer q.end()
	stream, err := watchStream(streamCtx, conn, p.interval)
	for err == nil {
		var b beat
		if err = stream.RecvMsg(&b); err != nil {
			break
		}
		if b.Process != p.process {
			return heard, fmt.Errorf("%w: another process answers at %s", ErrGone, p.address)
		}
		heard = q.heardNow()
	}
	if errors.Is(context.Cause(streamCtx), errQuiet) {
		err = errQuiet
	}
	return heard, err
}

// quiet measures a silence. It is over in two parts, the last of which begins when this process runs at the end of the
// first: if it was this one that did not run, it reads then what it was sent meanwhile.
type quiet struct {
	silence time.Duration
	over    func()

	mu     sync.Mutex // guards all below
	timer  *time.Timer
	heard  time.Time
	isLast bool
	ended  bool
}

// lastPart of a silence is a quarter of it.
const lastPart = 4

// beginQuiet calls over when nothing is heard for first, and later for silence.
func beginQuiet(silence, first time.Duration, over func()) *quiet {
	q := &quiet{silence: silence, over: over, heard: time.Now().Add(first - silence)}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.timer = time.AfterFunc(q.firstPart()-time.Since(q.heard), q.ring)
	return q
}

func (q *quiet) firstPart() time.Duration { return q.silence - q.silence/lastPart }

func (q *quiet) ring() {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch rest := q.firstPart() - time.Since(q.heard); {
	case q.ended:
	case rest > 0: // something was heard in this moment
		q.timer.Reset(rest)
	case !q.isLast:
		q.isLast = true
		q.timer.Reset(q.silence / lastPart)
	default:
		q.over()
	}
}

func (q *quiet) heardNow() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.heard, q.isLast = time.Now(), false
	q.timer.Reset(q.firstPart())
	return q.heard
}

// end stops it: over is not called after.
func (q *quiet) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	q.timer.Stop()
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
	case errors.Is(knock(ctx, address, patience), syscall.ECONNREFUSED):
		return b.Process, fmt.Errorf("%w: %s refuses connections", ErrGone, address)
	}
	return b.Process, fmt.Errorf("%w: %s: %w", ErrSilent, address, err)
}

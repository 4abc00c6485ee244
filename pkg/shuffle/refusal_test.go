package shuffle

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

func TestOtherAttemptsAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name               string
		producer, consumer id.ExecutionAttempt // what the producer says
		input              int
		want               string
	}{
		{"older producer", attempt(producer0, 0, 0), attempt(consumer0, 0, 3), 0, "expects attempt 2 of this producer, not 0"},
		{"newer producer", attempt(producer0, 0, 3), attempt(consumer0, 0, 3), 0, "expects attempt 2 of this producer, not 3"},
		{"older consumer", attempt(producer0, 0, 2), attempt(consumer0, 0, 1), 0, "has ended"},
		{"other subtask", attempt(producer0, 1, 2), attempt(consumer0, 0, 3), 0, "has no channel from"},
		{"other input", attempt(producer0, 0, 2), attempt(consumer0, 0, 3), 1, "has no channel from"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, from, to process) {
				ctx := within(t)
				g := to.OpenGate(attempt(consumer0, 0, 3), [][]protocol.Channel{inputsFrom(from, attempt(producer0, 0, 2))})
				defer g.Close()
				zombie := open(from, to, tc.producer, tc.input, tc.consumer)
				defer zombie.Close()
				if err := put(ctx, zombie, 0, "stale"); err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("send = %v, want an error with %q", err, tc.want)
				}
				real := open(from, to, attempt(producer0, 0, 2), 0, attempt(consumer0, 0, 3))
				defer real.Close()
				if err := put(ctx, real, 0, "fresh"); err != nil {
					t.Errorf("send of the expected producer: %v", err)
				}
				if got := next(t, ctx, g); got != "0: fresh" {
					t.Errorf("got %q, want only the record of the expected producer", got)
				}
				twin := open(from, to, attempt(producer0, 0, 2), 0, attempt(consumer0, 0, 3))
				defer twin.Close()
				if err := put(ctx, twin, 0, "again"); err == nil || !strings.Contains(err.Error(), "connected with this producer already") {
					t.Errorf("second channel of the same producer: %v, want a refusal", err)
				}
			})
		})
	}
}

func TestWaitingProducerOfReplacedConsumerIsRefused(t *testing.T) {
	eachWay(t, func(t *testing.T, from, to process) {
		ctx := within(t)
		early := open(from, to, producer0, 0, attempt(consumer0, 0, 0))
		defer early.Close()
		g := to.OpenGate(attempt(consumer0, 0, 1), [][]protocol.Channel{inputsFrom(from, attempt(producer0, 0, 1))})
		defer g.Close()
		if err := put(ctx, early, 0, "x"); err == nil || !strings.Contains(err.Error(), "consumer") {
			t.Errorf("send = %v, want a refusal", err)
		}
	})
}

func TestLostProducerProcessFailsItsConsumers(t *testing.T) {
	ctx := within(t)
	job := id.NewJob()
	from, to := newProcess(t, job), newProcess(t, job)
	ended, open1 := attempt(consumer0, 0, 0), attempt(consumer0, 1, 0)
	g0 := to.OpenGate(ended, [][]protocol.Channel{inputsFrom(from, producer0)})
	defer g0.Close()
	g1 := to.OpenGate(open1, [][]protocol.Channel{inputsFrom(from, producer0)})
	defer g1.Close()
	o := open(from, to, producer0, 0, ended, open1)
	defer o.Close()
	for c := range 2 {
		if err := put(ctx, o, c, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.senders[0].event(Item{Kind: EndEvent}); err != nil {
		t.Fatal(err)
	}
	next(t, ctx, g0)
	if got := next(t, ctx, g0); got != "0: end" {
		t.Fatalf("got %q, want the end", got)
	}
	next(t, ctx, g1)
	from.stop()
	if got := next(t, ctx, g1); !strings.Contains(got, "lost the connection from producer") {
		t.Errorf("got %q, want a failure that names the producer", got)
	}
	if _, _, err := g0.Next(); err != nil {
		t.Errorf("a channel that had ended failed: %v", err)
	}
}

func TestLostConsumerProcessFailsItsProducers(t *testing.T) {
	ctx := within(t)
	job := id.NewJob()
	from, to := newProcess(t, job), newProcess(t, job)
	g := to.OpenGate(consumer0, [][]protocol.Channel{inputsFrom(from, producer0)})
	defer g.Close()
	o := open(from, to, producer0, 0, consumer0)
	defer o.Close()
	if err := put(ctx, o, 0, "x"); err != nil {
		t.Fatal(err)
	}
	next(t, ctx, g)
	to.stop()
	var err error
	for err == nil { // what the kernel has buffered still goes out
		err = put(ctx, o, 0, "y")
	}
	if ctx.Err() != nil || !strings.Contains(err.Error(), "send to consumer") {
		t.Errorf("send = %v, want an error that names the consumer", err)
	}
	again := open(from, to, producer0, 0, consumer0)
	defer again.Close()
	if err := put(ctx, again, 0, "z"); err == nil || ctx.Err() != nil {
		t.Errorf("send to a process that is gone = %v, want a refused connection", err)
	}
}

func TestOtherJobIsRefused(t *testing.T) {
	ctx := within(t)
	from, to := newProcess(t, id.NewJob()), newProcess(t, id.NewJob())
	o := open(from, to, producer0, 0, consumer0)
	defer o.Close()
	if err := put(ctx, o, 0, "x"); err == nil || !strings.Contains(err.Error(), "this process runs job") {
		t.Errorf("send = %v, want a refusal that names the jobs", err)
	}
}

func TestGarbageOnTheDataPort(t *testing.T) {
	p := newProcess(t, id.NewJob())
	good := appendPreamble(nil, p.cfg.Job)
	for _, data := range [][]byte{
		[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		append(good, header{length: maxFrame + 1, kind: byte(Data)}.append(nil)...),
		append(good, header{length: 3, channel: 1, kind: kindOpen}.append(nil)...),
		append(good, header{channel: 1, kind: 99}.append(nil)...),
		good[:5],
	} {
		c, err := net.Dial("tcp", p.Address())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(data); err != nil {
			t.Error(err)
		}
		c.Close()
	}
}

// TestAnEndThatCannotArriveFailsItsProducer: a producer that has nothing to send would otherwise never learn that
// its consumer cannot be reached, and the consumer would wait for its end for ever.
func TestAnEndThatCannotArriveFailsItsProducer(t *testing.T) {
	ctx := within(t)
	job := id.NewJob()
	from, to := newProcess(t, job), newProcess(t, job)
	o := open(from, to, producer0, 0, consumer0) // which has not been deployed yet
	defer o.Close()
	if err := o.Barrier(ctx, Barrier{Checkpoint: 1}); err != nil {
		t.Errorf("barrier before the consumer is there = %v, want that it waits in the sender", err)
	}
	var ending errgroup.Group
	ending.Go(func() error { return o.End(ctx) })
	to.stop()
	var lost *PeerError
	if err := ending.Wait(); !errors.As(err, &lost) {
		t.Errorf("End = %v, want that the consumer cannot be reached", err)
	}
	if err := o.Barrier(ctx, Barrier{Checkpoint: 2}); !errors.As(err, &lost) {
		t.Errorf("the next barrier = %v, want the same", err)
	}
}

// TestABarrierBehindTheEndThatCannotArriveFailsItsProducer: the checkpoint would wait for it until its timeout.
func TestABarrierBehindTheEndThatCannotArriveFailsItsProducer(t *testing.T) {
	ctx := within(t)
	job := id.NewJob()
	from, to := newProcess(t, job), newProcess(t, job)
	g := to.OpenGate(consumer0, [][]protocol.Channel{inputsFrom(from, producer0)})
	defer g.Close()
	o := open(from, to, producer0, 0, consumer0)
	defer o.Close()
	if err := o.End(ctx); err != nil {
		t.Fatal(err)
	}
	if got := next(t, ctx, g); got != "0: end" {
		t.Fatalf("got %q, want the end", got)
	}
	to.stop()
	var lost *PeerError
	var err error
	for err == nil && ctx.Err() == nil { // until this side has noticed
		err = o.Barrier(ctx, Barrier{Checkpoint: 1})
	}
	if !errors.As(err, &lost) {
		t.Errorf("barrier = %v, want that the consumer cannot be reached", err)
	}
}

// exhausted is a listener of a process without file descriptors.
type exhausted struct {
	net.Listener
	asked int
}

func (l *exhausted) Accept() (net.Conn, error) {
	if l.asked++; l.asked > 1000 {
		return nil, net.ErrClosed
	}
	return nil, syscall.EMFILE
}

func (l *exhausted) Addr() net.Addr { return &net.TCPAddr{} }

func (l *exhausted) Close() error { return nil }

func TestAcceptingIsNotTriedWithoutPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &exhausted{}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := New(Config{Listener: l, Log: zap.NewNop()}).Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
		if most := int(time.Second/acceptPause) + 2; l.asked < 2 || l.asked > most {
			t.Errorf("asked %d times within a second, want from 2 to %d", l.asked, most)
		}
	})
}

// TestAConsumerIsToldAlsoWhenNobodyTakesTheAnswers: what is to be written to a connection must not hold up its end.
func TestAConsumerIsToldAlsoWhenNobodyTakesTheAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := New(Config{Job: id.NewJob(), Log: zap.NewNop()})
		g := x.OpenGate(consumer0, [][]protocol.Channel{{{Peer: producer0}}})
		defer g.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		near, far := net.Pipe() // without a buffer
		defer near.Close()
		var serving sync.WaitGroup
		defer serving.Wait()
		serving.Go(func() { x.serve(ctx, far) })
		opening := appendOpen(nil, channelKey{consumer: consumer0, producer: producer0})
		data := header{length: uint32(len(opening)), channel: 1, kind: kindOpen}.append(appendPreamble(nil, x.cfg.Job))
		if _, err := near.Write(append(data, opening...)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // until the answer is being written
		if _, err := near.Write(header{channel: 1, kind: 99}.append(nil)); err != nil {
			t.Fatal(err)
		}
		if got := next(t, ctx, g); !strings.Contains(got, "unknown message kind 99") {
			t.Errorf("got %q, want why the connection was given up", got)
		}
	})
}

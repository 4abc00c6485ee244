package shuffle

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	producer0 = id.ExecutionAttempt{Vertex: id.Vertex{1}}
	consumer0 = id.ExecutionAttempt{Vertex: id.Vertex{2}}
)

// attempt returns attempt n of subtask s of the vertex of a.
func attempt(a id.ExecutionAttempt, s, n int) id.ExecutionAttempt {
	return id.ExecutionAttempt{Vertex: a.Vertex, Subtask: s, Attempt: n}
}

// process is an exchange that runs until the test ends, or until stop.
type process struct {
	*Exchange
	stop func()
}

func newProcess(t *testing.T, job id.Job) process {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := New(Config{Job: job, Listener: l, Host: "127.0.0.1", Log: zap.NewNop()})
	ctx, cancel := context.WithCancel(context.Background())
	g := errgroup.Group{}
	g.Go(func() error { return x.Run(ctx) })
	stop := func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Errorf("Run = %v", err)
		}
	}
	t.Cleanup(stop)
	return process{x, stop}
}

// eachWay runs a test with producer and consumer in one process and in two.
func eachWay(t *testing.T, test func(t *testing.T, from, to process)) {
	job := id.NewJob()
	t.Run("one process", func(t *testing.T) {
		p := newProcess(t, job)
		test(t, p, p)
	})
	t.Run("two processes", func(t *testing.T) { test(t, newProcess(t, job), newProcess(t, job)) })
}

// within is a context that ends long after the test should have.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func open(from, to process, producer id.ExecutionAttempt, input int, consumers ...id.ExecutionAttempt) *Output {
	var channels []protocol.Channel
	for _, c := range consumers {
		channels = append(channels, protocol.Channel{Peer: c, Address: to.Address()})
	}
	return from.Open(producer, channels, input)
}

func inputsFrom(x process, producers ...id.ExecutionAttempt) []protocol.Channel {
	var channels []protocol.Channel
	for _, p := range producers {
		channels = append(channels, protocol.Channel{Peer: p, Address: x.Address()})
	}
	return channels
}

// put sends a frame of its own with one record.
func put(ctx context.Context, o *Output, channel int, record string) error {
	f := o.Frame(channel)
	f.Data = append(f.Data, record...)
	f.Records++
	return o.Flush(ctx, channel)
}

// next waits for an item and prints it.
func next(t *testing.T, ctx context.Context, g *Gate) string {
	t.Helper()
	for {
		item, ok, err := g.Next()
		switch {
		case err != nil:
			return "error " + err.Error()
		case ok:
			defer g.Release(item)
			return show(item)
		}
		if err := g.Wait(ctx); err != nil {
			t.Fatalf("nothing came: %v", err)
		}
	}
}

func show(item Item) string {
	switch item.Kind {
	case Data:
		return fmt.Sprintf("%d: %s", item.Channel, item.Frame.Data)
	case BarrierEvent:
		return fmt.Sprintf("%d: barrier %d epoch %d in %s", item.Channel, item.Barrier.Checkpoint, item.Barrier.Epoch, item.Barrier.Dir)
	default:
		return fmt.Sprintf("%d: end", item.Channel)
	}
}

func TestChannelKeepsOrder(t *testing.T) {
	eachWay(t, func(t *testing.T, from, to process) {
		ctx := within(t)
		g := to.OpenGate(consumer0, [][]protocol.Channel{inputsFrom(from, producer0)})
		defer g.Close()
		o := open(from, to, producer0, 0, consumer0)
		defer o.Close()
		var sending errgroup.Group
		sending.Go(func() error {
			for i := range 1000 {
				if err := put(ctx, o, 0, fmt.Sprint(i)); err != nil {
					return err
				}
				if i == 500 {
					f := o.Frame(0) // not flushed: the barrier must not overtake it
					f.Data, f.Records = append(f.Data, "half full"...), 1
					if err := o.Barrier(ctx, Barrier{7, 3, "/dir"}); err != nil {
						return err
					}
				}
			}
			return o.End(ctx)
		})
		for i := range 1000 {
			if got, want := next(t, ctx, g), fmt.Sprintf("0: %d", i); got != want {
				t.Fatalf("item %d is %q, want %q", i, got, want)
			}
			if i == 500 {
				for _, want := range []string{"0: half full", "0: barrier 7 epoch 3 in /dir"} {
					if got := next(t, ctx, g); got != want {
						t.Fatalf("behind item 500 came %q, want %q", got, want)
					}
				}
			}
		}
		if got := next(t, ctx, g); got != "0: end" {
			t.Errorf("the last item is %q, want the end", got)
		}
		if err := sending.Wait(); err != nil {
			t.Errorf("send: %v", err)
		}
		if o.Records != 1001 || o.Bytes == 0 {
			t.Errorf("counted %d records and %d bytes, want 1001 records", o.Records, o.Bytes)
		}
	})
}

func TestProducerWaitsForItsConsumer(t *testing.T) {
	eachWay(t, func(t *testing.T, from, to process) {
		ctx := within(t)
		o := open(from, to, producer0, 0, consumer0)
		defer o.Close()
		var sending errgroup.Group
		sending.Go(func() error {
			// The barrier needs no credit, so it waits in the sender until there is a consumer.
			return errors.Join(o.Barrier(ctx, Barrier{Checkpoint: 1}), put(ctx, o, 0, "a"))
		})
		g := to.OpenGate(consumer0, [][]protocol.Channel{inputsFrom(from, producer0)})
		defer g.Close()
		for _, want := range []string{"0: barrier 1 epoch 0 in ", "0: a"} {
			if got := next(t, ctx, g); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		if err := sending.Wait(); err != nil {
			t.Errorf("send: %v", err)
		}
	})
}

func TestSlowConsumerHoldsUpOnlyItsChannel(t *testing.T) {
	eachWay(t, func(t *testing.T, from, to process) {
		ctx := within(t)
		slow, fast := attempt(consumer0, 0, 0), attempt(consumer0, 1, 0)
		slowGate := to.OpenGate(slow, [][]protocol.Channel{inputsFrom(from, producer0)})
		defer slowGate.Close()
		fastGate := to.OpenGate(fast, [][]protocol.Channel{inputsFrom(from, producer0)})
		defer fastGate.Close()
		o := open(from, to, producer0, 0, slow, fast)
		defer o.Close()
		for i := range Credit {
			if err := put(ctx, o, 0, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 10 * Credit {
			if err := put(ctx, o, 1, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
			if got, want := next(t, ctx, fastGate), fmt.Sprintf("0: %d", i); got != want {
				t.Fatalf("fast consumer got %q, want %q", got, want)
			}
		}
		full, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		if err := put(full, o, 0, "too much"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("send without credit = %v, want to wait until the deadline", err)
		}
		if o.Blocked == 0 {
			t.Error("the wait was not counted")
		}
		if err := o.Barrier(ctx, Barrier{Checkpoint: 1}); err != nil {
			t.Errorf("barrier without credit: %v", err)
		}
		for range Credit {
			next(t, ctx, slowGate)
		}
		if got := next(t, ctx, slowGate); !strings.Contains(got, "barrier 1") {
			t.Errorf("behind the data came %q, want the barrier", got)
		}
		if err := put(ctx, o, 0, "room again"); err != nil {
			t.Error(err)
		}
	})
}

func TestBlockedChannelWaitsForUnblock(t *testing.T) {
	ctx := within(t)
	p := newProcess(t, id.NewJob())
	a, b := attempt(producer0, 0, 0), attempt(producer0, 1, 0)
	g := p.OpenGate(consumer0, [][]protocol.Channel{inputsFrom(p, a, b)})
	defer g.Close()
	oa, ob := open(p, p, a, 0, consumer0), open(p, p, b, 0, consumer0)
	defer oa.Close()
	defer ob.Close()
	send := func(o *Output, record string) {
		if err := put(ctx, o, 0, record); err != nil {
			t.Fatal(err)
		}
	}
	send(oa, "a1")
	g.Block(0)
	send(oa, "a2")
	send(ob, "b1")
	if got := next(t, ctx, g); got != "1: b1" {
		t.Errorf("got %q, want the channel that is not blocked", got)
	}
	if item, ok, err := g.Next(); ok || err != nil {
		t.Errorf("got %q, %v while blocked", show(item), err)
	}
	g.Unblock()
	for _, want := range []string{"0: a1", "0: a2"} {
		if got := next(t, ctx, g); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestTwoEdgesBetweenTheSameTasks(t *testing.T) {
	eachWay(t, func(t *testing.T, from, to process) {
		ctx := within(t)
		in := inputsFrom(from, producer0)
		g := to.OpenGate(consumer0, [][]protocol.Channel{in, in})
		defer g.Close()
		for input := range 2 {
			o := open(from, to, producer0, input, consumer0)
			defer o.Close()
			if err := put(ctx, o, 0, fmt.Sprint("edge ", input)); err != nil {
				t.Fatal(err)
			}
			if got, want := next(t, ctx, g), fmt.Sprintf("%d: edge %d", input, input); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if g.Input(input) != input {
				t.Errorf("channel %d belongs to input %d", input, g.Input(input))
			}
		}
	})
}

func TestHugeRecord(t *testing.T) {
	eachWay(t, func(t *testing.T, from, to process) {
		ctx := within(t)
		g := to.OpenGate(consumer0, [][]protocol.Channel{inputsFrom(from, producer0)})
		defer g.Close()
		o := open(from, to, producer0, 0, consumer0)
		defer o.Close()
		huge := strings.Repeat("x", 5<<20)
		if err := put(ctx, o, 0, huge); err != nil {
			t.Fatal(err)
		}
		if got := next(t, ctx, g); got != "0: "+huge {
			t.Errorf("got %d bytes, want %d", len(got), len(huge)+3)
		}
	})
}

func TestARecordThatIsTooLargeFailsItsProducer(t *testing.T) {
	eachWay(t, func(t *testing.T, from, to process) {
		o := open(from, to, producer0, 0, consumer0)
		defer o.Close()
		f := o.Frame(0)
		f.Data, f.Records = make([]byte, maxFrame+1), 1
		if err := o.Flush(within(t), 0); err == nil || !strings.Contains(err.Error(), "the most is 256 MiB") {
			t.Errorf("Flush = %v", err)
		}
	})
}

// TestManyChannelsShareTheirMemory: what a slow consumer holds up does not grow with its channels for ever.
func TestManyChannelsShareTheirMemory(t *testing.T) {
	for channels, want := range map[int]int{1: Credit, 32: Credit, 64: 4, 128: leastCredit, 1000: leastCredit} {
		eachWay(t, func(t *testing.T, from, to process) {
			var producers []id.ExecutionAttempt
			for s := range channels {
				producers = append(producers, attempt(producer0, s, 0))
			}
			g := to.OpenGate(consumer0, [][]protocol.Channel{inputsFrom(from, producers...)})
			defer g.Close()
			o := open(from, to, producers[0], 0, consumer0)
			defer o.Close()
			sent := 0
			send := func() error {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				return put(ctx, o, 0, "x")
			}
			if err := put(within(t), o, 0, "x"); err != nil { // waits until the channel is open
				t.Fatal(err)
			}
			for sent = 1; sent <= Credit && send() == nil; sent++ {
			}
			if sent != want {
				t.Errorf("%d channels: %d frames could be sent to a consumer that takes none, want %d", channels, sent, want)
			}
			for range 3 { // it goes on when the consumer does
				for range want {
					next(t, within(t), g)
				}
				for range want {
					if err := put(within(t), o, 0, "x"); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

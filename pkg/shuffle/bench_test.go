package shuffle

import (
	"context"
	"fmt"
	"net"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

func BenchmarkChannel(b *testing.B) {
	for _, processes := range []int{1, 2} {
		b.Run(fmt.Sprintf("%d processes", processes), func(b *testing.B) { benchmarkChannel(b, processes) })
	}
}

func benchmarkChannel(b *testing.B, processes int) {
	ctx, cancel := context.WithCancel(b.Context())
	job := id.NewJob()
	var all []process
	var running errgroup.Group
	for range processes {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		x := New(Config{Job: job, Listener: l, Host: "127.0.0.1", Log: zap.NewNop()})
		running.Go(func() error { return x.Run(ctx) })
		all = append(all, process{Exchange: x})
	}
	from, to := all[0], all[processes-1]
	g := to.OpenGate(consumer0, [][]protocol.Channel{inputsFrom(from, producer0)})
	o := open(from, to, producer0, 0, consumer0)
	record := []byte("0123456789abcdef")
	b.SetBytes(FrameSize)
	b.ReportAllocs()
	running.Go(func() error {
		for range b.N {
			f := o.Frame(0)
			for len(f.Data) < FrameSize {
				f.Data = append(f.Data, record...)
				f.Records++
			}
			if err := o.Flush(ctx, 0); err != nil {
				return err
			}
		}
		return o.End(ctx)
	})
	for ended := false; !ended; {
		item, ok, err := g.Next()
		if !ok && err == nil {
			err = g.Wait(ctx)
		}
		if err != nil {
			b.Fatal(err)
		}
		ended = item.Kind == EndEvent
		g.Release(item)
	}
	cancel()
	if err := running.Wait(); err != nil {
		b.Fatal(err)
	}
}

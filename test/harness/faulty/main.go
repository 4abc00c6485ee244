// Command faulty is a job for tests: it numbers records, as the example numbered does, and goes wrong on the
// way, in the way that it is told to.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/tamias-project/tamias/stream"
	"github.com/tamias-project/tamias/stream/connector/files"
)

func main() {
	out := flag.String("out", "", "`directory` for the output")
	n := flag.Int64("n", 0, "number of records; 0: without end")
	rate := flag.Float64("rate", 1000, "records per second")
	at := flag.Int64("at", -1, "record at which it goes wrong")
	how := flag.String("how", "panic", "panic, exit, or runtime: how it goes wrong")
	checkpoint := flag.Duration("checkpoint", 100*time.Millisecond, "pause between checkpoints")
	flag.Parse()

	env := stream.New(stream.WithCheckpoints(*checkpoint))
	records := stream.From(env, "numbers", stream.Generate(*n, *rate, func(i int64) int64 { return i }))
	key := func(i int64) int64 { return i % 100 }
	checked := stream.Process(stream.KeyBy(records, key), "checked", func(_, i int64, _ *int64, out *stream.Out[int64]) {
		if i == *at {
			goWrong(*how, i)
		}
		out.Emit(i)
	})
	stream.To(checked, "output", files.Sink(*out, func(i int64, dst []byte) []byte {
		return append(strconv.AppendInt(dst, i, 10), '\n')
	}))
	if err := env.Execute(context.Background(), "faulty"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// goWrong is what tests look for in stacks.
func goWrong(how string, i int64) {
	switch how {
	case "panic":
		panic(fmt.Errorf("record %d: %w", i, errors.New("this job was told to go wrong")))
	case "exit":
		fmt.Fprintf(os.Stderr, "record %d: this job was told to end its process\n", i)
		os.Exit(3)
	case "runtime": // a fatal error of the runtime, which no recover catches
		m := map[int64]int{}
		for range 8 {
			go func() {
				for {
					m[i]++
				}
			}()
		}
		select {}
	}
}

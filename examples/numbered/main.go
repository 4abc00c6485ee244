// Command numbered is an unbounded job with state whose output can be checked record by record. A paced
// source numbers its records; the number says the record's key and its place among those of that key. A
// running count is kept for each key, and every record is written with it, exactly once, as a line
//
//	key seq count microseconds
//
// the last being the time (since 1970) when the record was counted. Whatever is killed while the job runs, the
// committed files must have each seq of a key once, in order, and counts without a gap: numbered/check says
// whether they do.
//
//	go run ./examples/numbered -out /tmp/numbered -rate 1000      # in this process, until interrupted
//	tamias run -d bin/numbered -out /tmp/numbered                 # on a cluster
//	bin/check /tmp/numbered                                       # at any time
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tamias-project/tamias/stream"
	"github.com/tamias-project/tamias/stream/connector/files"
)

// Numbered is record i of the source: i = Seq*keys + Key.
type Numbered struct{ Key, Seq int64 }

// Counted is a record with the count of its key so far, this one included.
type Counted struct {
	Numbered
	Count  int64
	Micros int64 // when it was counted, since 1970
}

func main() {
	out := flag.String("out", "", "`directory` for the output")
	n := flag.Int64("n", 0, "number of records; 0: without end")
	rate := flag.Float64("rate", 10_000, "records per second of all subtasks together; 0: as fast as possible")
	// Most small parallelisms divide 5040. Then all records of a key come from one subtask of the source, and
	// arrive in order.
	keys := flag.Int64("keys", 5040, "number of keys")
	checkpoint := flag.Duration("checkpoint", time.Second, "pause between checkpoints: output appears with each")
	flag.Parse()
	if err := run(*out, *n, *rate, *keys, *checkpoint); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(out string, n int64, rate float64, keys int64, checkpoint time.Duration) error {
	if out == "" || keys < 1 {
		return fmt.Errorf("numbered: -out and at least one key are needed")
	}
	if !strings.Contains(out, ":/") { // not a URI
		abs, err := filepath.Abs(out)
		if err != nil {
			return err
		}
		out = abs
	}
	env := stream.New(stream.WithCheckpoints(checkpoint))

	records := stream.From(env, "numbers", stream.Generate(n, rate, func(i int64) Numbered {
		return Numbered{Key: i % keys, Seq: i / keys}
	}))

	// count is the state of the record's key. It is saved with checkpoints; after a failure both the state and
	// the source go back to the latest one.
	key := func(r Numbered) int64 { return r.Key }
	counted := stream.Process(stream.KeyBy(records, key), "count", func(_ int64, r Numbered, count *int64, out *stream.Out[Counted]) {
		*count++
		out.Emit(Counted{Numbered: r, Count: *count, Micros: time.Now().UnixMicro()})
	}, stream.UID("count")) // a UID finds its state again when the program has changed

	stream.To(counted, "output", files.Sink(out, appendLine), stream.UID("output"))
	return env.Execute(context.Background(), "numbered")
}

func appendLine(c Counted, dst []byte) []byte {
	for i, x := range [...]int64{c.Key, c.Seq, c.Count, c.Micros} {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = strconv.AppendInt(dst, x, 10)
	}
	return append(dst, '\n')
}

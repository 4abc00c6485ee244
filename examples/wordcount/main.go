// Command wordcount counts the words of text files. Its result is what `sort | uniq -c` finds: one line
// `word<TAB>count` for each word, in files of the output directory.
//
//	go run ./examples/wordcount -in /path/to/texts -out /tmp/counts          # in this process
//	tamias run -p 4 bin/wordcount -in /path/to/texts -out /tmp/counts        # on a cluster
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

func main() {
	in := flag.String("in", "", "`file`, directory or pattern to read")
	out := flag.String("out", "", "`directory` for the result; must not have other results in it")
	parallelism := flag.Int("parallelism", 0, "subtasks of each operator; 0: as `tamias run -p` says, or one for each CPU")
	checkpoint := flag.Duration("checkpoint", time.Second, "pause between checkpoints: how much is read again after a failure; 0: none")
	flag.Parse()
	if err := run(*in, *out, *parallelism, *checkpoint); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in, out string, parallelism int, checkpoint time.Duration) error {
	if in == "" || out == "" {
		return fmt.Errorf("wordcount: -in and -out are needed")
	}
	// The job may run on other machines, in other working directories.
	in, out = absolute(in), absolute(out)

	// A lost machine is worth another try, and some more. A directory that is not there is not: by default a
	// job with checkpoints would try for ever.
	restart := stream.FixedDelay(5, 200*time.Millisecond)
	opts := []stream.JobOption{stream.WithCheckpoints(checkpoint), stream.WithRestart(restart)}
	if parallelism > 0 {
		opts = append(opts, stream.WithParallelism(parallelism))
	}
	env := stream.New(opts...)

	// Each subtask reads its share of the files. Strings that are cut out of a line cost nothing.
	lines := stream.From(env, "text", files.Lines(in))
	words := stream.FlatMap(lines, func(line string, out *stream.Out[string]) {
		for word := range strings.FieldsSeq(line) {
			out.Emit(word)
		}
	}, stream.Name("split"))

	// All occurrences of a word meet in one subtask, which counts them in state that checkpoints save.
	// FinalOnly: one result for each word at the end, not one for each occurrence.
	counts := stream.Count(stream.KeyBy(words, func(word string) string { return word }), stream.FinalOnly(), stream.Name("count"))

	// The files appear when the job ends, each count in them once, whatever has failed on the way.
	stream.To(counts, "counts", files.Sink(out, func(c stream.KeyValue[string, int64], dst []byte) []byte {
		dst = append(append(dst, c.Key...), '\t')
		return append(strconv.AppendInt(dst, c.Value, 10), '\n')
	}))
	return env.Execute(context.Background(), "wordcount")
}

// absolute leaves URIs alone.
func absolute(path string) string {
	if strings.Contains(path, ":/") {
		return path
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return abs
}

package stream_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/tamias-project/tamias/stream"
)

// Counting words: each word once, when the input has ended.
func Example() {
	text := []string{"to be or not to be", "that is the question"}

	env := stream.New(stream.WithParallelism(2))
	lines := stream.From(env, "lines", stream.Generate(int64(len(text)), 0, func(i int64) string { return text[i] }))
	words := stream.FlatMap(lines, func(line string, out *stream.Out[string]) {
		for _, w := range strings.Fields(line) {
			out.Emit(w)
		}
	})
	counts := stream.Count(stream.KeyBy(words, func(w string) string { return w }), stream.FinalOnly())
	stream.Print(counts, stream.Parallelism(1))
	if err := env.Execute(context.Background(), "word count"); err != nil {
		log.Fatal(err)
	}
	// Unordered output:
	// {to 2}
	// {be 2}
	// {or 1}
	// {not 1}
	// {that 1}
	// {is 1}
	// {the 1}
	// {question 1}
}

// A reading of a sensor.
type reading struct {
	Sensor string
	Value  float64
}

// stats is the state of a sensor.
type stats struct {
	Count int
	Sum   float64
}

// State for each key: readings far above the mean of their sensor so far. The state is saved with each
// checkpoint; after a failure the job goes on from there.
func ExampleProcess() {
	env := stream.New(
		stream.WithParallelism(1),
		stream.WithCheckpoints(time.Second),
		stream.WithRestart(stream.FixedDelay(3, time.Second)),
	)
	readings := stream.From(env, "readings", stream.Generate(20, 0, func(i int64) reading {
		r := reading{Sensor: fmt.Sprint("s", i%2), Value: 10}
		if i == 13 {
			r.Value = 99
		}
		return r
	}))
	bySensor := stream.KeyBy(readings, func(r reading) string { return r.Sensor })
	peaks := stream.Process(bySensor, "peaks",
		func(sensor string, r reading, s *stats, out *stream.Out[string]) {
			if s.Count > 0 && r.Value > 2*s.Sum/float64(s.Count) {
				out.Emit(fmt.Sprintf("%s: %.0f after %d readings", sensor, r.Value, s.Count))
			}
			s.Count++
			s.Sum += r.Value
		}, stream.UID("peaks"))
	stream.Print(peaks)
	if err := env.Execute(context.Background(), "peaks"); err != nil {
		log.Fatal(err)
	}
	// Output: s1: 99 after 6 readings
}

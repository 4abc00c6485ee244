// Package stream is what job authors import: typed operators on unbounded and bounded streams of records,
// with state that survives failures.
//
// A job is a program. It makes an Env, adds sources, operators and sinks, and executes it:
//
//	env := stream.New(stream.WithCheckpoints(time.Second))
//	lines := stream.From(env, "lines", files.Lines("/data/*.txt"))
//	words := stream.FlatMap(lines, func(line string, out *stream.Out[string]) {
//		for _, w := range strings.Fields(line) {
//			out.Emit(w)
//		}
//	})
//	counts := stream.Count(stream.KeyBy(words, func(w string) string { return w }))
//	stream.Print(counts)
//	if err := env.Execute(context.Background(), "word count"); err != nil {
//		log.Fatal(err)
//	}
//
// Started by hand, with go run or in a debugger, the program runs the job in its own process, with all
// that a cluster does: parallel subtasks, checkpoints, restarts. `tamias run` submits the same program to a
// cluster. There it is started again in each process that runs a part of the job, so it must add the same
// operators each time, and should do nothing else with consequences before Execute.
//
// # Streams and subtasks
//
// An operator runs in as many subtasks as its parallelism says. Where a stream goes on to an operator with
// the same parallelism, subtask i feeds subtask i; both run in one goroutine as a chain, and a record is
// handed over by a function call. At an exchange (KeyBy, Rebalance, Broadcast, Union, another parallelism)
// records are encoded and may cross the network, so their type must be encodable: numbers, strings,
// structs, slices, maps and the like; no interfaces, channels or functions. Records from one subtask to
// another keep their order; records that several subtasks send to one are mixed.
//
// Functions handed to operators are called on one goroutine for each subtask, in batches: a batch passes
// one operator of the chain, then the next. The same function value serves all subtasks of a process, so
// variables that it shares must be safe for that; state belongs into Process and its kin.
//
// # Failures
//
// A function that panics, or calls Out.Fail, fails its task. The job goes back to the latest checkpoint
// and starts again, as its RestartStrategy says: sources read on from where they were then, state is what
// it was then. So state counts each record exactly once, and so does the output of a TwoPhaseSink. Other
// sinks may see records again.
package stream

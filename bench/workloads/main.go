// Command workloads runs the record path benchmarks W2 (stateless chain) and W3 (keyed running sum) and
// checks their results. Started by hand it runs a job in its own process and prints one JSON line with
// the figures; `tamias run` runs the same program on a cluster.
//
//	go run ./bench/workloads w2 -n 100000000
//	go run ./bench/workloads w3 -n 50000000 -checkpoint 1s
//	tamias run workloads w3 -n 50000000 -out /shared/dir
//	go run ./bench/workloads verify w3 -n 50000000 -out /shared/dir
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/tamias-project/tamias/stream"
)

// settings are the flags.
type settings struct {
	n           int64
	parallelism int
	rate        float64
	checkpoint  time.Duration
	dir         string
	out         string
	profile     string
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "workloads:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	verifyOnly := len(args) > 0 && args[0] == "verify"
	if verifyOnly {
		args = args[1:]
	}
	if len(args) == 0 {
		return fmt.Errorf("which workload? w2 or w3")
	}
	w, ok := workloads[args[0]]
	if !ok {
		return fmt.Errorf("unknown workload %q: w2 and w3 exist", args[0])
	}
	s := settings{}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.Int64Var(&s.n, "n", w.records, "number of input records")
	flags.IntVar(&s.parallelism, "p", 2, "parallelism")
	flags.Float64Var(&s.rate, "rate", 0, "input records per second, 0 for no limit")
	flags.DurationVar(&s.checkpoint, "checkpoint", 0, "checkpoint interval, 0 for none")
	flags.StringVar(&s.dir, "checkpoint-dir", "", "directory for checkpoints, by default the cluster's or a temporary one")
	flags.StringVar(&s.out, "out", "", "directory for the result, one file for each subtask; needed on a cluster")
	flags.StringVar(&s.profile, "profile", "", "write a CPU profile to this file when run by hand")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if verifyOnly {
		return check(w, s)
	}
	if s.out == "" {
		dir, err := os.MkdirTemp("", "workloads-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		s.out = dir
	}
	return execute(args[0], w, s)
}

// execute runs a job and, by hand, reports what it cost.
func execute(name string, w workload, s settings) error {
	opts := []stream.JobOption{stream.WithParallelism(s.parallelism), stream.WithCheckpoints(s.checkpoint)}
	if s.dir != "" {
		opts = append(opts, stream.WithCheckpointDir(s.dir))
	}
	env := stream.New(opts...)
	w.build(env, s)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if s.profile != "" {
		f, err := os.Create(s.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	start, before := time.Now(), usage()
	if err := env.Execute(ctx, name); err != nil {
		return err
	}
	wall, after := time.Since(start), usage()
	cpu := after.cpu - before.cpu
	line, err := json.Marshal(map[string]any{
		"workload": name, "n": s.n, "parallelism": s.parallelism, "checkpoint": s.checkpoint.String(),
		"seconds": wall.Seconds(), "records-per-second": float64(s.n) / wall.Seconds(),
		"cpu-seconds": cpu.Seconds(), "cpu-ns-per-record": float64(cpu.Nanoseconds()) / float64(s.n),
		"peak-rss-mib": after.rss >> 20,
	})
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	return check(w, s)
}

// resources of this process.
type resources struct {
	cpu time.Duration
	rss int64 // peak, in bytes
}

func usage() resources {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails for no argument that is valid
	return resources{
		cpu: time.Duration(u.Utime.Nano() + u.Stime.Nano()),
		rss: u.Maxrss << 10,
	}
}

// check compares the result files with what the workload must give.
func check(w workload, s settings) error {
	got, err := readTotals(s.out)
	if err != nil {
		return err
	}
	want, known := w.expected[s.n]
	switch {
	case !known:
		fmt.Printf("n = %d, sum = %d (no expected result for -n %d)\n", got.n, got.sum, s.n)
	case got != want:
		return fmt.Errorf("wrong result: n = %d, sum = %d; expected n = %d, sum = %d", got.n, got.sum, want.n, want.sum)
	default:
		fmt.Printf("result is right: n = %d, sum = %d\n", got.n, got.sum)
	}
	return nil
}

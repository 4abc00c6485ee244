package stream

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/worker"
)

// Env is a job being written: sources, operators and sinks are added to it, then Execute runs it. It
// belongs to one goroutine. Flink's StreamExecutionEnvironment.
//
// A program must add the same operators in the same order each time it is started: a cluster starts it
// once for the job graph and once in each process that runs its tasks.
type Env struct {
	nodes []*node
	errs  []error

	parallelism    int
	maxParallelism int
	checkpointing  jobgraph.Checkpointing
	restart        jobgraph.Restart
	bufferTimeout  time.Duration
	log            *zap.Logger
}

// New returns a job without operators.
func New(opts ...JobOption) *Env {
	e := &Env{
		maxParallelism: 128,
		checkpointing:  jobgraph.Checkpointing{Timeout: 10 * time.Minute, Retained: 1},
		bufferTimeout:  100 * time.Millisecond,
	}
	e.parallelism = runtime.GOMAXPROCS(0)
	e.inherit(worker.EnvParallelism, &e.parallelism)
	e.inherit(worker.EnvMaxParallelism, &e.maxParallelism)
	if s := os.Getenv(worker.EnvBufferTimeout); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			e.errorf("%s=%q: expected a duration like 100ms", worker.EnvBufferTimeout, s)
		}
		e.bufferTimeout = d
	}
	for _, o := range opts {
		o(e)
	}
	e.checkSettings()
	return e
}

// inherit takes a default over from the environment, if it is there.
func (e *Env) inherit(variable string, setting *int) {
	s := os.Getenv(variable)
	if s == "" {
		return
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		e.errorf("%s=%q: expected a number", variable, s)
	}
	*setting = n
}

func (e *Env) checkSettings() {
	if e.parallelism < 1 {
		e.errorf("default parallelism is %d, it must be at least 1", e.parallelism)
	}
	if e.maxParallelism < 1 || e.maxParallelism > 1<<15 {
		e.errorf("max parallelism is %d, it must be in 1..32768", e.maxParallelism)
	}
	if e.checkpointing.Interval < 0 || e.checkpointing.Timeout <= 0 || e.checkpointing.MinPause < 0 {
		e.errorf("checkpoint interval %s, timeout %s and min pause %s must not be negative, and the timeout not 0",
			e.checkpointing.Interval, e.checkpointing.Timeout, e.checkpointing.MinPause)
	}
	if dir := e.checkpointing.Dir; dir != "" {
		if err := filesystem.NewResolver().Check(dir); err != nil {
			e.errorf("directory for checkpoints: %w", err)
		}
	}
	if e.checkpointing.Retained < 1 {
		e.errorf("%d retained checkpoints, there must be at least 1", e.checkpointing.Retained)
	}
	r := e.restart
	if r.Kind == jobgraph.RestartFixedDelay && (r.Attempts < 0 || r.Delay < 0) {
		e.errorf("fixed-delay restart with %d attempts and delay %s: neither can be negative", r.Attempts, r.Delay)
	}
	if n := e.checkpointing.TolerableFailures; n < 0 {
		e.errorf("%d tolerable checkpoint failures, there cannot be less than 0", n)
	}
	if r.Kind == jobgraph.RestartFailureRate && (r.MaxPerInterval < 1 || r.Interval <= 0 || r.Delay < 0) {
		e.errorf("failure-rate restart with %d per %s and delay %s: expected at least 1 and an interval", r.MaxPerInterval, r.Interval, r.Delay)
	}
	if r.Kind == jobgraph.RestartExponentialDelay && (r.InitialBackoff <= 0 || r.MaxBackoff < r.InitialBackoff) {
		e.errorf("exponential-delay restart from %s to %s: expected 0 < initial <= max", r.InitialBackoff, r.MaxBackoff)
	}
}

// check notes what a connector says is wrong with itself.
func (e *Env) check(n *node, connector any) {
	switch c := connector.(type) {
	case nil:
		e.errorf("%s is nil", n.title())
	case Checker:
		if err := c.Check(); err != nil {
			e.errorf("%s: %w", n.title(), err)
		}
	}
}

// errorf notes a mistake in the program. Execute returns all of them.
func (e *Env) errorf(format string, args ...any) {
	e.errs = append(e.errs, fmt.Errorf(format, args...))
}

// err is what is wrong with the program, or nil.
func (e *Env) err() error {
	if len(e.errs) == 0 {
		return nil
	}
	return fmt.Errorf("stream: the job cannot run: %w", errors.Join(e.errs...))
}

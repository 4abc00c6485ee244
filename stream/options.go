package stream

import (
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/jobgraph"
)

// JobOption is a setting of a whole job, for New.
type JobOption func(*Env)

// WithParallelism is the number of subtasks of operators that set none with Parallelism. Without it, it is
// what `tamias run -p` says, or the number of CPUs when the program is run by hand. Flink's
// parallelism.default. It is at least 1.
func WithParallelism(n int) JobOption {
	return func(e *Env) { e.parallelism = n }
}

// WithMaxParallelism is the number of key groups, in 1..32768: the highest parallelism that the keyed
// state of the job can ever be spread over. It cannot change between runs that share state. Without it, it
// is pipeline.max-parallelism of the configuration that `tamias run` reads; default 128.
func WithMaxParallelism(n int) JobOption {
	return func(e *Env) { e.maxParallelism = n }
}

// WithCheckpoints saves the state of the job every interval. 0, the default, turns checkpoints off: after
// a failure the job starts from nothing, and two-phase sinks show their output only when it ends. Flink's
// execution.checkpointing.interval.
func WithCheckpoints(interval time.Duration) JobOption {
	return func(e *Env) { e.checkpointing.Interval = interval }
}

// WithCheckpointDir is the directory, path or URI, that checkpoints are saved in. It must be reachable
// from all machines. By default it is the cluster's execution.checkpointing.dir, and a temporary directory
// when the program is run by hand.
func WithCheckpointDir(dir string) JobOption {
	return func(e *Env) { e.checkpointing.Dir = dir }
}

// WithCheckpointTimeout gives up checkpoints that take longer. Flink's execution.checkpointing.timeout;
// default 10 minutes.
func WithCheckpointTimeout(d time.Duration) JobOption {
	return func(e *Env) { e.checkpointing.Timeout = d }
}

// WithMinCheckpointPause is the least pause between the end of one checkpoint and the beginning of the
// next. Flink's execution.checkpointing.min-pause; default 0.
func WithMinCheckpointPause(d time.Duration) JobOption {
	return func(e *Env) { e.checkpointing.MinPause = d }
}

// WithRetainedCheckpoints is the number of completed checkpoints that are kept, at least 1. Flink's
// execution.checkpointing.num-retained; default 1.
func WithRetainedCheckpoints(n int) JobOption {
	return func(e *Env) { e.checkpointing.Retained = n }
}

// WithTolerableCheckpointFailures is the number of checkpoints in a row that may fail before the job is
// restarted. Flink's execution.checkpointing.tolerable-failed-checkpoints; default 0.
func WithTolerableCheckpointFailures(n int) JobOption {
	return func(e *Env) { e.checkpointing.TolerableFailures = n }
}

// WithRestart is what happens after a failure of tasks. The default is ExponentialDelay with checkpoints
// and NoRestart without. Flink's restart-strategy.
func WithRestart(s RestartStrategy) JobOption {
	return func(e *Env) { e.restart = s.restart }
}

// WithBufferTimeout bounds how long a record may wait for others to share a batch with. A batch is sent
// anyway when it is full and when no input waits, so this matters only for a task that is busy and sends
// little to one of its receivers. 0 sends after each batch of input, a negative timeout full batches only.
// Without it, it is execution.buffer-timeout of the configuration that `tamias run` reads; default 100 ms.
func WithBufferTimeout(d time.Duration) JobOption {
	return func(e *Env) { e.bufferTimeout = d }
}

// WithLogger is where the job logs when the program is run by hand. By default warnings go to standard
// error. On a cluster the log is the TaskManager's.
func WithLogger(log *zap.Logger) JobOption {
	return func(e *Env) { e.log = log }
}

// RestartStrategy is what follows a failure of tasks: see NoRestart, FixedDelay, FailureRate and
// ExponentialDelay.
type RestartStrategy struct{ restart jobgraph.Restart }

// NoRestart fails the job at the first failure.
func NoRestart() RestartStrategy {
	return RestartStrategy{jobgraph.Restart{Kind: jobgraph.RestartNone}}
}

// FixedDelay restarts up to attempts times in all, each time after delay. Flink's fixed-delay.
func FixedDelay(attempts int, delay time.Duration) RestartStrategy {
	return RestartStrategy{jobgraph.Restart{Kind: jobgraph.RestartFixedDelay, Attempts: attempts, Delay: delay}}
}

// FailureRate restarts, each time after delay, unless that would be more than max times, at least 1, within
// interval. Flink's failure-rate.
func FailureRate(max int, interval, delay time.Duration) RestartStrategy {
	return RestartStrategy{jobgraph.Restart{
		Kind: jobgraph.RestartFailureRate, MaxPerInterval: max, Interval: interval, Delay: delay,
	}}
}

// ExponentialDelay restarts for ever. The delay grows from initial to max by half of itself with each
// failure, and begins anew when the job has run for an hour without one. Flink's exponential-delay.
func ExponentialDelay(initial, max time.Duration) RestartStrategy {
	return RestartStrategy{jobgraph.Restart{
		Kind: jobgraph.RestartExponentialDelay, InitialBackoff: initial, MaxBackoff: max,
		Multiplier: 1.5, ResetAfter: time.Hour, Jitter: 0.1,
	}}
}

// Option is a setting of one operator.
type Option func(*node)

// Parallelism is the number of subtasks of the operator, at least 1.
func Parallelism(n int) Option {
	return func(o *node) { o.parallelism, o.explicit = n, true }
}

// Name is what the operator is called in logs and on the web page.
func Name(name string) Option {
	return func(o *node) { o.name = name }
}

// UID names the operator's state in checkpoints. It is unique in the job. Set it for operators with
// state, so that they find it again after the program has changed. By default it is made of the
// operator's name and its position among the operators of that name.
func UID(uid string) Option {
	return func(o *node) { o.uid = uid }
}

// FinalOnly lets Reduce, Count and Sum emit one value for each key at the end of a bounded input, instead
// of one for each record.
func FinalOnly() Option {
	return func(o *node) { o.finalOnly = true }
}

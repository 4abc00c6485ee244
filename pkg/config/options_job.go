package config

const jobs = "Jobs"

// MaxParallelism is the largest number of key groups that a job can have.
const MaxParallelism = 1 << 15

// defaultMaxParallelism is what -1 stands for in pipeline.max-parallelism.
const defaultMaxParallelism = 128

// Values of restart-strategy.type.
const (
	RestartNone             = "none"
	RestartFixedDelay       = "fixed-delay"
	RestartFailureRate      = "failure-rate"
	RestartExponentialDelay = "exponential-delay"
)

var (
	// DefaultParallelism is the parallelism of jobs that name none.
	DefaultParallelism = define(jobs, atLeast(1), Description{Key: "parallelism.default", Default: "1", Doc: "Parallelism of a job that names none."})
	// PipelineMaxParallelism is the number of key groups of a job; never -1.
	PipelineMaxParallelism = define(jobs, keyGroups(), Description{Key: "pipeline.max-parallelism", Default: "128",
		Doc: "Number of key groups, which bounds the parallelism that a job can be rescaled to; at most 32768. -1 stands for 128."})
	// BufferTimeout is how long a record may wait in a batch that is not full.
	BufferTimeout = define(jobs, duration, Description{Key: "execution.buffer-timeout.interval", Default: "100 ms", Older: []string{"execution.buffer-timeout"},
		Doc: "How long a record may wait in a batch that is not full. 0 sends every record at once."})
	// BufferTimeoutEnabled sends batches that are not full.
	BufferTimeoutEnabled = define(jobs, boolean, Description{Key: "execution.buffer-timeout.enabled", Default: "true",
		Doc: "Whether batches that are not full are sent after execution.buffer-timeout.interval; otherwise only full ones are."})
	// OperatorChaining joins operators that need no exchange between them.
	OperatorChaining = define(jobs, boolean, Description{Key: "pipeline.operator-chaining.enabled", Default: "true", Older: []string{"pipeline.operator-chaining"},
		Doc: "Whether operators that need no exchange between them call each other directly."})

	// RestartStrategy says what happens after a failure: one of the Restart constants, or "" for the default.
	RestartStrategy = define(jobs, oneOf("none|off|disable", "fixed-delay|fixeddelay", "failure-rate|failurerate", "exponential-delay|exponentialdelay"), Description{
		Key: "restart-strategy.type", Older: []string{"restart-strategy"},
		Doc: "What happens after a failure of a job. Not set: none without checkpoints, exponential-delay with them."})
	// RestartFixedDelayAttempts is how often a job is restarted under fixed-delay.
	RestartFixedDelayAttempts = define(jobs, atLeast(0), Description{Key: "restart-strategy.fixed-delay.attempts", Default: "1",
		Doc: "How often strategy fixed-delay restarts before the job fails."})
	// RestartFixedDelayPause is the pause before a restart under fixed-delay.
	RestartFixedDelayPause = define(jobs, duration, Description{Key: "restart-strategy.fixed-delay.delay", Default: "1 s",
		Doc: "Pause of strategy fixed-delay before a restart."})
	// RestartFailureRateMax is the number of failures within the interval under failure-rate.
	RestartFailureRateMax = define(jobs, atLeast(1), Description{Key: "restart-strategy.failure-rate.max-failures-per-interval", Default: "1",
		Doc: "How often strategy failure-rate restarts within one interval before the job fails."})
	// RestartFailureRateInterval is the interval of failure-rate.
	RestartFailureRateInterval = define(jobs, positive(), Description{Key: "restart-strategy.failure-rate.failure-rate-interval", Default: "1 min",
		Doc: "Interval of strategy failure-rate."})
	// RestartFailureRatePause is the pause before a restart under failure-rate.
	RestartFailureRatePause = define(jobs, duration, Description{Key: "restart-strategy.failure-rate.delay", Default: "1 s",
		Doc: "Pause of strategy failure-rate before a restart."})
	// RestartInitialBackoff is the first pause under exponential-delay.
	RestartInitialBackoff = define(jobs, positive(), Description{Key: "restart-strategy.exponential-delay.initial-backoff", Default: "100 ms",
		Doc: "First pause of strategy exponential-delay before a restart. (Flink's default is 1 s.)"})
	// RestartMaxBackoff is the longest pause under exponential-delay.
	RestartMaxBackoff = define(jobs, positive(), Description{Key: "restart-strategy.exponential-delay.max-backoff", Default: "1 min",
		Doc: "Longest pause of strategy exponential-delay."})
	// RestartBackoffMultiplier is the growth of the pause under exponential-delay.
	RestartBackoffMultiplier = define(jobs, limited(number, "at least 1", func(f float64) bool { return f >= 1 }), Description{
		Key: "restart-strategy.exponential-delay.backoff-multiplier", Default: "1.5", Doc: "Growth of the pause of strategy exponential-delay."})
	// RestartResetThreshold is the time without a failure after which the pause is the first one again.
	RestartResetThreshold = define(jobs, positive(), Description{Key: "restart-strategy.exponential-delay.reset-backoff-threshold", Default: "1 h",
		Doc: "After this long without a failure strategy exponential-delay begins with the first pause again."})
	// RestartJitterFactor is the random share of the pause under exponential-delay.
	RestartJitterFactor = define(jobs, limited(number, "0 to 1", func(f float64) bool { return f >= 0 && f <= 1 }), Description{
		Key: "restart-strategy.exponential-delay.jitter-factor", Default: "0.1", Doc: "Random share of the pause of strategy exponential-delay, 0 to 1."})
	// RestartMaxAttempts is how often a job is restarted under exponential-delay.
	RestartMaxAttempts = define(jobs, atLeast(0), Description{Key: "restart-strategy.exponential-delay.attempts-before-reset-backoff", Default: "2147483647",
		Doc: "How often strategy exponential-delay restarts, without a reset of the pause, before the job fails."})
)

func keyGroups() kind[int] {
	k := limited(integer, "1 to 32768, or -1", func(n int) bool { return n == -1 || n >= 1 && n <= MaxParallelism })
	parse := k.parse
	k.parse = func(s string) (int, error) {
		n, err := parse(s)
		if err == nil && n == -1 {
			n = defaultMaxParallelism
		}
		return n, err
	}
	return k
}

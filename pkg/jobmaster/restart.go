package jobmaster

import (
	"cmp"
	"slices"
	"time"

	"github.com/tamias-project/tamias/pkg/jobgraph"
)

// restartStrategy decides whether and when failed regions start again. Pure; one for each term. The
// number of restarts goes on from the ledger; a growing delay and a failure rate start again with each leader.
type restartStrategy struct {
	cfg      jobgraph.Restart
	restarts int
	backoff  time.Duration
	last     time.Time   // of the last failure that was answered with a restart
	recent   []time.Time // restarts of failure-rate that may still count, oldest first
}

// newRestartStrategy fills in defaults: exponential-delay with checkpoints, none without.
func newRestartStrategy(cfg jobgraph.Restart, checkpointing bool) restartStrategy {
	if cfg.Kind == jobgraph.RestartDefault {
		cfg.Kind = jobgraph.RestartNone
		if checkpointing {
			cfg.Kind = jobgraph.RestartExponentialDelay
		}
	}
	if cfg.Kind == jobgraph.RestartFixedDelay && cfg.Attempts == 0 {
		cfg.Attempts = 1
		orDuration(&cfg.Delay, time.Second)
	}
	if cfg.Kind == jobgraph.RestartFailureRate {
		cfg.MaxPerInterval = cmp.Or(cfg.MaxPerInterval, 1)
		orDuration(&cfg.Interval, time.Minute)
	}
	if cfg.Kind == jobgraph.RestartExponentialDelay {
		if cfg.InitialBackoff == 0 && cfg.Jitter == 0 {
			cfg.Jitter = 0.1
		}
		orDuration(&cfg.InitialBackoff, 100*time.Millisecond)
		orDuration(&cfg.MaxBackoff, time.Minute)
		orDuration(&cfg.ResetAfter, time.Hour)
		if cfg.Multiplier < 1 {
			cfg.Multiplier = 1.5
		}
	}
	return restartStrategy{cfg: cfg}
}

func orDuration(d *time.Duration, otherwise time.Duration) {
	if *d <= 0 {
		*d = otherwise
	}
}

// next answers one failure: the delay before the restart, or ok = false when the job has to fail. jitter
// is a random number in [-1, 1].
func (r *restartStrategy) next(now time.Time, jitter float64) (delay time.Duration, ok bool) {
	switch r.cfg.Kind {
	case jobgraph.RestartFixedDelay:
		if r.restarts >= r.cfg.Attempts {
			return 0, false
		}
		delay = r.cfg.Delay
	case jobgraph.RestartFailureRate:
		r.recent = slices.DeleteFunc(r.recent, func(t time.Time) bool { return now.Sub(t) >= r.cfg.Interval })
		if len(r.recent) >= r.cfg.MaxPerInterval {
			return 0, false
		}
		r.recent = append(r.recent, now)
		delay = r.cfg.Delay
	case jobgraph.RestartExponentialDelay:
		delay = r.grow(now, jitter)
	default:
		return 0, false
	}
	r.restarts++
	r.last = now
	return delay, true
}

func (r *restartStrategy) grow(now time.Time, jitter float64) time.Duration {
	if r.last.IsZero() || now.Sub(r.last) >= r.cfg.ResetAfter+r.backoff {
		r.backoff = r.cfg.InitialBackoff
	} else {
		r.backoff = min(time.Duration(float64(r.backoff)*r.cfg.Multiplier), r.cfg.MaxBackoff)
	}
	return time.Duration(float64(r.backoff) * (1 + jitter*r.cfg.Jitter))
}

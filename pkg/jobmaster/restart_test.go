package jobmaster

import (
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/jobgraph"
)

func TestRestartStrategies(t *testing.T) {
	type failure struct {
		after time.Duration // the one before
		want  time.Duration // negative: the job fails
	}
	for _, tc := range []struct {
		name          string
		cfg           jobgraph.Restart
		checkpointing bool
		jitter        float64
		failures      []failure
	}{
		{"default without checkpoints", jobgraph.Restart{}, false, 0, []failure{{0, -1}}},
		{"default with checkpoints", jobgraph.Restart{}, true, 0, []failure{
			{0, 100 * time.Millisecond}, {time.Minute, 150 * time.Millisecond}, {time.Minute, 225 * time.Millisecond},
		}},
		{"none", jobgraph.Restart{Kind: jobgraph.RestartNone}, true, 0, []failure{{0, -1}}},
		{"fixed delay", jobgraph.Restart{Kind: jobgraph.RestartFixedDelay, Attempts: 2, Delay: 3 * time.Second}, true, 1,
			[]failure{{0, 3 * time.Second}, {time.Hour, 3 * time.Second}, {time.Hour, -1}}},
		{"fixed delay by default", jobgraph.Restart{Kind: jobgraph.RestartFixedDelay}, true, 0,
			[]failure{{0, time.Second}, {time.Hour, -1}}},
		{"failure rate",
			jobgraph.Restart{Kind: jobgraph.RestartFailureRate, MaxPerInterval: 2, Interval: time.Minute, Delay: 3 * time.Second}, true, 1,
			[]failure{
				{0, 3 * time.Second}, {30 * time.Second, 3 * time.Second}, {30 * time.Second, 3 * time.Second},
				{29 * time.Second, -1},
			}},
		{"failure rate by default", jobgraph.Restart{Kind: jobgraph.RestartFailureRate}, true, 0,
			[]failure{{0, 0}, {time.Minute, 0}, {59 * time.Second, -1}}},
		{"exponential delay has a bound and starts again after peace",
			jobgraph.Restart{
				Kind: jobgraph.RestartExponentialDelay, InitialBackoff: time.Second, MaxBackoff: 3 * time.Second, Multiplier: 2,
				ResetAfter: time.Minute,
			}, true, 1,
			[]failure{
				{0, time.Second}, {time.Second, 2 * time.Second}, {time.Second, 3 * time.Second}, {time.Second, 3 * time.Second},
				{62 * time.Second, 3 * time.Second}, {63 * time.Second, time.Second},
			}},
		{"jitter", jobgraph.Restart{Kind: jobgraph.RestartExponentialDelay, InitialBackoff: time.Second, Jitter: 0.2}, true, -0.5,
			[]failure{{0, 900 * time.Millisecond}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, now := newRestartStrategy(tc.cfg, tc.checkpointing), epoch
			for i, f := range tc.failures {
				now = now.Add(f.after)
				got, ok := s.next(now, tc.jitter)
				if ok != (f.want >= 0) || ok && got != f.want {
					t.Errorf("failure %d: next = %s, %v, want %s", i+1, got, ok, f.want)
				}
			}
		})
	}
}

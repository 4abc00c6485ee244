package stream

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tamias-project/tamias/pkg/jobgraph"
)

// restarts is a restart strategy at work.
type restarts struct {
	jobgraph.Restart
	count int // in all
	row   int // without a quiet time in between
	last  time.Time
	// recent restarts of failure-rate that may still count, oldest first.
	recent []time.Time
}

func newRestarts(g *jobgraph.JobGraph) *restarts {
	r := g.Restart
	if r.Kind == jobgraph.RestartDefault {
		r.Kind = jobgraph.RestartNone
		if g.Checkpointing.Interval > 0 {
			r.Kind = jobgraph.RestartExponentialDelay
		}
	}
	r.InitialBackoff = cmp.Or(r.InitialBackoff, 100*time.Millisecond)
	r.MaxBackoff = cmp.Or(r.MaxBackoff, time.Minute)
	r.Multiplier = cmp.Or(r.Multiplier, 1.5)
	r.ResetAfter = cmp.Or(r.ResetAfter, time.Hour)
	return &restarts{Restart: r}
}

// next is called for each failure. It returns how long to wait before the restart, or false when the job
// has failed for good.
func (r *restarts) next(now time.Time) (time.Duration, bool) {
	quiet := !r.last.IsZero() && now.Sub(r.last) >= r.ResetAfter
	r.last = now
	r.count++
	if r.row++; quiet {
		r.row = 1
	}
	switch r.Kind {
	case jobgraph.RestartFixedDelay:
		return r.Delay, r.count <= r.Attempts
	case jobgraph.RestartFailureRate:
		r.recent = slices.DeleteFunc(r.recent, func(t time.Time) bool { return now.Sub(t) >= r.Interval })
		r.recent = append(r.recent, now)
		return r.Delay, len(r.recent) <= r.MaxPerInterval
	case jobgraph.RestartExponentialDelay:
		d := float64(r.InitialBackoff) * math.Pow(r.Multiplier, float64(r.row-1))
		d = min(d, float64(r.MaxBackoff))
		return time.Duration(d * (1 + r.Jitter*(2*rand.Float64()-1))), true
	default:
		return 0, false
	}
}

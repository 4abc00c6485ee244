package entrypoint

import (
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/jobgraph"
)

func TestSettingsReachTheComponents(t *testing.T) {
	cfg, err := config.FromMap(map[string]string{
		"restart-strategy.type": "failure-rate", "restart-strategy.failure-rate.delay": "5 s",
		"restart-strategy.failure-rate.max-failures-per-interval": "3", "restart-strategy.failure-rate.failure-rate-interval": "10 min",
		"completed-application-store.max-capacity": "7", "completed-application-store.expiration-time": "2 h",
	})
	if err != nil {
		t.Fatal(err)
	}
	r := restart(cfg)
	if r.Kind != jobgraph.RestartFailureRate || r.Delay != 5*time.Second || r.MaxPerInterval != 3 || r.Interval != 10*time.Minute {
		t.Errorf("restart strategy is %+v", r)
	}
	if got, want := ended(cfg), (EndedJobs{7, 2 * time.Hour}); got != want {
		t.Errorf("ended jobs: %+v, want %+v", got, want)
	}
	if got, want := ended(nil), (EndedJobs{Capacity: 1000}); got != want {
		t.Errorf("ended jobs by default: %+v, want %+v", got, want)
	}
	if r := restart(nil); r.Kind != jobgraph.RestartDefault || r.Delay != time.Second {
		t.Errorf("restart strategy by default is %+v", r)
	}
}

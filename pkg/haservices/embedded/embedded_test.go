package embedded

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/hatest"
)

func fixture(cfg Config) func(t *testing.T) hatest.Fixture {
	return func(t *testing.T) hatest.Fixture {
		c, n := NewCluster(cfg), 0
		t.Cleanup(func() {
			if err := CheckAudit(c.Audit()); err != nil {
				t.Error(err)
			}
		})
		by := func(f func(string)) func(haservices.Driver) {
			return func(d haservices.Driver) { f(d.(*Driver).Name()) }
		}
		return hatest.Fixture{
			New:        func() haservices.Driver { n++; return c.Driver(fmt.Sprintf("jm-%d", n)) },
			Kill:       by(c.Kill),
			Expire:     by(c.ExpireSession),
			Freeze:     by(c.Freeze),
			Thaw:       by(c.Thaw),
			Disconnect: by(c.Disconnect),
			Reconnect:  by(c.Reconnect),
		}
	}
}

func TestConformance(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  Config
	}{
		{"no faults", Config{}},
		{"late notice", Config{Notice: 3 * time.Second}},
		{"slow network", Config{Faults: Faults{Delay: randomDelay(1, 50*time.Millisecond)}}},
	} {
		t.Run(tc.name, func(t *testing.T) { hatest.ConformanceInBubble(t, fixture(tc.cfg)) })
	}
}

func TestConformanceOutsideABubble(t *testing.T) {
	hatest.Conformance(t, fixture(Config{SessionTimeout: 50 * time.Millisecond, Detection: time.Millisecond}))
}

func randomDelay(seed uint64, most time.Duration) func(Call) time.Duration {
	var mu sync.Mutex // guards r
	r := rand.New(rand.NewPCG(seed, seed))
	return func(Call) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(r.Int64N(int64(most)))
	}
}

package drill

import (
	"fmt"
	"testing"
	"time"
)

func TestASeedRepeatsItsFaults(t *testing.T) {
	story := func(seed uint64, use bool) (s string) {
		faults := newSchedule(seed, Scenarios, time.Second)
		for range 3 * len(Scenarios) {
			f := faults.next()
			s += fmt.Sprint(f.scenario.Name, f.phase, " ")
			if use { // what a round draws must not change the next round
				f.random.IntN(10)
			}
		}
		return s
	}
	if a, b := story(1, false), story(1, true); a != b {
		t.Errorf("seed 1 gave\n%s, then\n%s", a, b)
	}
	if story(1, false) == story(2, false) {
		t.Error("seeds 1 and 2 give the same faults")
	}
}

func TestNoScenarioIsForgotten(t *testing.T) {
	faults := newSchedule(7, Scenarios, time.Second)
	for range 3 {
		seen := map[string]bool{}
		for range Scenarios {
			f := faults.next()
			seen[f.scenario.Name] = true
			if f.phase < 0 || f.phase >= time.Second {
				t.Errorf("phase %s, want one within the checkpoint interval", f.phase)
			}
		}
		if len(seen) != len(Scenarios) {
			t.Errorf("%d of %d scenarios in one bag", len(seen), len(Scenarios))
		}
	}
}

package drill

import (
	"math/rand/v2"
	"time"
)

// schedule draws faults. The same seed and choices give the same faults, whatever happens in between: what a
// round leaves to chance comes from a source of its own.
type schedule struct {
	choices  []Scenario
	interval time.Duration // between checkpoints
	source   *rand.Rand
	// bag holds the choices that have not come since it was filled: none is forgotten for long.
	bag []Scenario
}

// fault is one round's part of a schedule.
type fault struct {
	scenario Scenario
	// phase is how long to wait before it, up to the checkpoint interval: so faults meet checkpoints at every
	// stage.
	phase time.Duration
	// random decides the rest.
	random *rand.Rand
}

func newSchedule(seed uint64, choices []Scenario, interval time.Duration) *schedule {
	return &schedule{choices: choices, interval: interval, source: rand.New(rand.NewPCG(seed, 0))}
}

func (s *schedule) next() fault {
	if len(s.bag) == 0 {
		s.bag = append(s.bag, s.choices...)
		s.source.Shuffle(len(s.bag), func(i, j int) { s.bag[i], s.bag[j] = s.bag[j], s.bag[i] })
	}
	f := fault{scenario: s.bag[0]}
	s.bag = s.bag[1:]
	f.phase = time.Duration(s.source.Int64N(int64(s.interval)))
	f.random = rand.New(rand.NewPCG(s.source.Uint64(), 1))
	return f
}

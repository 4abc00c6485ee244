package metrics

import (
	"sync"
	"time"
)

const (
	// meterSpan is the time over which a rate is taken. Flink's MeterView has the same.
	meterSpan = time.Minute
	// meterStep is the shortest time between two readings that are kept.
	meterStep = time.Second
)

// Meters turn counters into rates, one for each key; a key that is not marked any more is forgotten.
type Meters[K comparable] struct {
	mu     sync.Mutex // guards meters
	meters map[K]*meter
}

// meter keeps readings of the last meterSpan, oldest first, and one from before if there is none.
type meter struct {
	readings []reading
	marked   time.Time
}

type reading struct {
	at    time.Time
	value float64
}

// Rate takes in a counter's value now and returns its growth in a second, over the last minute or as far as
// known; 0 at the first reading. A counter that has fallen begins anew.
func (m *Meters[K]) Rate(key K, value float64, now time.Time) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.meters == nil {
		m.meters = map[K]*meter{}
	}
	one := m.meters[key]
	if one == nil {
		one = &meter{}
		m.meters[key] = one
	}
	return one.rate(reading{now, value})
}

func (m *meter) rate(now reading) float64 {
	m.marked = now.at
	n := len(m.readings)
	if n > 0 && now.value < m.readings[n-1].value {
		m.readings, n = m.readings[:0], 0
	}
	if n == 0 || now.at.Sub(m.readings[n-1].at) >= meterStep {
		m.readings = append(m.readings, now)
	}
	for len(m.readings) > 2 && now.at.Sub(m.readings[1].at) >= meterSpan {
		m.readings = m.readings[1:]
	}
	first := m.readings[0]
	elapsed := now.at.Sub(first.at).Seconds()
	if elapsed <= 0 {
		return 0
	}
	return (now.value - first.value) / elapsed
}

// Forget drops what was not marked since then.
func (m *Meters[K]) Forget(since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, one := range m.meters {
		if one.marked.Before(since) {
			delete(m.meters, key)
		}
	}
}

package worker

import (
	"sync/atomic"
	"time"

	"github.com/tamias-project/tamias/pkg/protocol"
)

// meter holds the counters of one task. The task writes, anyone reads.
type meter struct {
	started atomic.Int64 // Unix nanoseconds, 0 before the task runs
	ended   atomic.Int64
	waiting atomic.Int64 // since when the task waits for input, 0 when it does not

	recordsIn, recordsOut, bytesIn, bytesOut atomic.Int64
	idle, blocked, gap                       atomic.Int64 // nanoseconds
}

// read returns the counters since the task started.
func (m *meter) read() protocol.TaskMetrics {
	idle, blocked := m.idle.Load(), m.blocked.Load()
	var total int64
	if start := m.started.Load(); start > 0 {
		now := time.Now().UnixNano()
		if end := m.ended.Load(); end > 0 {
			now = end
		}
		total = now - start
		if since := m.waiting.Load(); since > 0 {
			idle += max(now-since, 0)
		}
	}
	const ms = int64(time.Millisecond)
	return protocol.TaskMetrics{
		RecordsIn: m.recordsIn.Load(), RecordsOut: m.recordsOut.Load(),
		BytesIn: m.bytesIn.Load(), BytesOut: m.bytesOut.Load(),
		BusyMillis: max(total-idle-blocked, 0) / ms, IdleMillis: idle / ms, BackPressuredMillis: blocked / ms,
		MaxGapMillis: m.gap.Load() / ms,
	}
}

// wait brackets a wait for input.
func (m *meter) wait(f func() error) error {
	start := time.Now()
	m.waiting.Store(start.UnixNano())
	err := f()
	m.waiting.Store(0)
	m.idle.Add(int64(time.Since(start)))
	return err
}

// polled counts what a source did. Time in a source that had nothing before counts as idle.
func (m *meter) polled(p Polled, wasDry bool) {
	m.recordsIn.Add(int64(p.Records))
	if wasDry {
		m.idle.Add(int64(p.Reading))
	}
	if gap := int64(p.Gap); gap > m.gap.Load() {
		m.gap.Store(gap) // the task is the only writer
	}
}

// sent publishes what the outputs have counted.
func (t *task) sent() {
	var records, bytes, blocked int64
	for _, o := range t.outputs {
		records += o.Records
		bytes += o.Bytes
		blocked += int64(o.Blocked)
	}
	t.meter.recordsOut.Store(records)
	t.meter.bytesOut.Store(bytes)
	t.meter.blocked.Store(blocked)
}

package rest

import (
	"slices"

	"github.com/tamias-project/tamias/pkg/protocol"
)

// aggregatedStatistics is Flink's AggregatedTaskDetailsInfo.
type aggregatedStatistics struct {
	Metrics        map[string]subtaskStatistics             `json:"metrics"`
	StatusDuration map[protocol.TaskState]subtaskStatistics `json:"status-duration"`
}

type subtaskStatistics struct {
	Min    int64 `json:"min"`
	Max    int64 `json:"max"`
	Avg    int64 `json:"avg"`
	Sum    int64 `json:"sum"`
	Median int64 `json:"median"`
	P25    int64 `json:"p25"`
	P75    int64 `json:"p75"`
	P95    int64 `json:"p95"`
}

func statisticsOf(subtasks []subtaskLine) aggregatedStatistics {
	over := func(f func(subtaskLine) int64) subtaskStatistics {
		var values []int64
		for _, t := range subtasks {
			values = append(values, f(t))
		}
		return aggregateOf(values)
	}
	a := aggregatedStatistics{
		Metrics: map[string]subtaskStatistics{
			"read-bytes":                     over(func(t subtaskLine) int64 { return t.Metrics.ReadBytes }),
			"write-bytes":                    over(func(t subtaskLine) int64 { return t.Metrics.WriteBytes }),
			"read-records":                   over(func(t subtaskLine) int64 { return t.Metrics.ReadRecords }),
			"write-records":                  over(func(t subtaskLine) int64 { return t.Metrics.WriteRecords }),
			"accumulated-backpressured-time": over(func(t subtaskLine) int64 { return t.Metrics.BackPressuredTime }),
			"accumulated-idle-time":          over(func(t subtaskLine) int64 { return t.Metrics.IdleTime }),
			"accumulated-busy-time":          over(func(t subtaskLine) int64 { return int64(t.Metrics.BusyTime) }),
		},
		StatusDuration: map[protocol.TaskState]subtaskStatistics{},
	}
	for _, state := range taskStates {
		a.StatusDuration[state] = over(func(t subtaskLine) int64 { return max(0, t.StatusDuration[state]) })
	}
	return a
}

func aggregateOf(values []int64) (s subtaskStatistics) {
	if len(values) == 0 {
		return s
	}
	slices.Sort(values)
	for _, v := range values {
		s.Sum += v
	}
	s.Min, s.Max, s.Avg = values[0], values[len(values)-1], s.Sum/int64(len(values))
	s.P25, s.Median, s.P75, s.P95 = quantile(values, 0.25), quantile(values, 0.5), quantile(values, 0.75), quantile(values, 0.95)
	return s
}

// quantile returns the nearest-rank quantile of sorted values, 0 for none.
func quantile(values []int64, q float64) int64 {
	if len(values) == 0 {
		return 0
	}
	return values[int(q*float64(len(values)-1)+0.5)]
}

// summaryStatistics is Flink's StatsSummaryDto.
type summaryStatistics struct {
	Min  int64   `json:"min"`
	Max  int64   `json:"max"`
	Avg  int64   `json:"avg"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P95  float64 `json:"p95"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
}

func summaryOf(values []int64) summaryStatistics {
	a := aggregateOf(values) // sorts values
	at := func(q float64) float64 { return float64(quantile(values, q)) }
	return summaryStatistics{a.Min, a.Max, a.Avg, at(0.5), at(0.9), at(0.95), at(0.99), at(0.999)}
}

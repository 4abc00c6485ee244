package drill

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/tamias-project/tamias/pkg/protocol"
)

// Report is the result of a drill, as printed with -o json.
type Report struct {
	Scenario string  `json:"scenario"`
	HA       string  `json:"ha"`
	Rounds   []Round `json:"rounds"`
	// Baseline is the longest gap in processing before the first fault, in milliseconds.
	Baseline float64 `json:"baseline_processing_gap_ms"`
	Summary  Summary `json:"summary"`
	// OK: nothing was restarted, lost or repeated.
	OK bool `json:"ok"`
}

// Round is one fault. Times are milliseconds from the fault on.
type Round struct {
	// NewLeaderMillis until a client was told of the new leading Dispatcher.
	NewLeaderMillis float64 `json:"new_leader_ms"`
	// AdoptionMillis until the new JobMaster said that all tasks run.
	AdoptionMillis float64 `json:"adoption_ms"`
	// ProcessingGapMillis is the longest pause between two records that the job processed.
	ProcessingGapMillis float64 `json:"processing_gap_ms"`
	// CommitGapMillis is the longest pause between two commits of output; without a fault it is the
	// checkpoint interval.
	CommitGapMillis float64 `json:"commit_gap_ms"`

	injected, ended time.Time
}

// Summary is over all rounds.
type Summary struct {
	NewLeader     Spread `json:"new_leader_ms"`
	Adoption      Spread `json:"adoption_ms"`
	ProcessingGap Spread `json:"processing_gap_ms"`
	CommitGap     Spread `json:"commit_gap_ms"`
	// TaskRestarts counts attempts beyond the first of each subtask.
	TaskRestarts    int   `json:"task_restarts"`
	Records         int64 `json:"records"`
	RecordsLost     int64 `json:"records_lost"`
	RecordsRepeated int64 `json:"records_repeated"`
}

// Spread of a figure over the rounds.
type Spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
}

func spread(rounds []Round, figure func(Round) float64) Spread {
	var vs []float64
	for _, r := range rounds {
		vs = append(vs, figure(r))
	}
	slices.Sort(vs)
	at := func(q float64) float64 { return vs[int(math.Ceil(q*float64(len(vs))))-1] }
	return Spread{Min: vs[0], Median: at(0.5), P99: at(0.99), Max: vs[len(vs)-1]}
}

func (r *Report) summarize(d protocol.JobDetails, v verdict) {
	s := &r.Summary
	s.NewLeader = spread(r.Rounds, func(r Round) float64 { return r.NewLeaderMillis })
	s.Adoption = spread(r.Rounds, func(r Round) float64 { return r.AdoptionMillis })
	s.ProcessingGap = spread(r.Rounds, func(r Round) float64 { return r.ProcessingGapMillis })
	s.CommitGap = spread(r.Rounds, func(r Round) float64 { return r.CommitGapMillis })
	for _, t := range d.Subtasks {
		s.TaskRestarts += t.Execution.Attempt.Attempt
	}
	s.Records, s.RecordsLost, s.RecordsRepeated = v.records, v.lost, v.repeated
	r.OK = s.TaskRestarts == 0 && s.RecordsLost == 0 && s.RecordsRepeated == 0 && s.Records > 0
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, s Spread) {
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%.1f\t\n", name, s.Min, s.Median, s.P99, s.Max)
	}
	fmt.Fprintf(w, "%s, high-availability.type %s, %d rounds\n", r.Scenario, r.HA, len(r.Rounds))
	fmt.Fprintln(t, "milliseconds\tmin\tmedian\tp99\tmax\t")
	row("a new leader", r.Summary.NewLeader)
	row("all tasks adopted", r.Summary.Adoption)
	row("longest gap in processing", r.Summary.ProcessingGap)
	row("longest gap between commits", r.Summary.CommitGap)
	t.Flush()
	fmt.Fprintf(w, "longest gap in processing before the first fault: %.1f ms\n", r.Baseline)
	fmt.Fprintf(w, "task restarts %d, records %d, lost %d, repeated %d\n",
		r.Summary.TaskRestarts, r.Summary.Records, r.Summary.RecordsLost, r.Summary.RecordsRepeated)
	if r.OK {
		fmt.Fprintln(w, "OK: the job did not notice")
	} else {
		fmt.Fprintln(w, "BROKEN: a promise was not kept")
	}
}

package drill

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is the result of a drill, as printed with -o json.
type Report struct {
	Scenario string `json:"scenario"`
	HA       string `json:"ha"`
	// Seed repeats what was left to chance.
	Seed    uint64  `json:"seed"`
	Rounds  []Round `json:"rounds"`
	Summary Summary `json:"summary"`
	// OK: no promise was broken.
	OK bool `json:"ok"`
	// Broken names the promises that were.
	Broken []string `json:"broken,omitempty"`
}

// Round is one fault. Times are milliseconds from the fault on; what did not happen in a round is left out.
type Round struct {
	Scenario string `json:"scenario"`
	// Detail says what exactly was done, if the scenario leaves it open.
	Detail string `json:"detail,omitempty"`
	// NewLeaderMillis until a client was told of the new leading Dispatcher.
	NewLeaderMillis *float64 `json:"new_leader_ms,omitempty"`
	// AdoptionMillis until the new JobMaster said that all tasks run.
	AdoptionMillis *float64 `json:"adoption_ms,omitempty"`
	// RunningMillis until all tasks ran again, where tasks had to be started again.
	RunningMillis *float64 `json:"running_ms,omitempty"`
	// HealedMillis until what was taken away was there again, where the drill brings it back.
	HealedMillis *float64 `json:"healed_ms,omitempty"`
	// ProcessingGapMillis is the longest pause between two records at one subtask, from the fault to the end of
	// the round; BaselineGapMillis the same for as long a time before the fault.
	ProcessingGapMillis float64 `json:"processing_gap_ms"`
	BaselineGapMillis   float64 `json:"baseline_processing_gap_ms"`
	// CommitGapMillis is the longest pause between two commits of one subtask; without a fault it is the
	// checkpoint interval.
	CommitGapMillis float64 `json:"commit_gap_ms"`
	// TaskRestarts counts attempts that were started beyond those that ran.
	TaskRestarts  int `json:"task_restarts"`
	LeaderChanges int `json:"leader_changes"`
	// LeaderWritesRefused and MessagesRefused came from leaders of the past, or from who believed in one, and
	// were counted by the processes that are there at the end of the round.
	LeaderWritesRefused int64 `json:"leader_writes_refused"`
	MessagesRefused     int64 `json:"messages_refused"`
	// WritesAccepted counts records in the HA store of a leader of the past that came after those of its
	// successor.
	WritesAccepted int64 `json:"leader_writes_accepted"`
	// Stale are messages that the drill sent in the name of the leaders before the fault.
	Stale Stale `json:"stale_messages"`
	// Steps of the new leaders, as they tell them.
	Steps map[string]float64 `json:"steps_ms,omitempty"`

	injected, ended time.Time
}

// Stale says what became of messages under the tokens of leaders of the past.
type Stale struct {
	Sent     int `json:"sent"`
	Refused  int `json:"refused"`
	Accepted int `json:"accepted"`
}

// line tells a round to people.
func (r *Round) line() string {
	var parts []string
	if r.Detail != "" {
		parts = append(parts, r.Detail)
	}
	for _, f := range []struct {
		what string
		ms   *float64
	}{
		{"new leader after", r.NewLeaderMillis}, {"all tasks adopted after", r.AdoptionMillis},
		{"healed after", r.HealedMillis}, {"all tasks run again after", r.RunningMillis},
	} {
		if f.ms != nil {
			parts = append(parts, fmt.Sprintf("%s %.0f ms", f.what, *f.ms))
		}
	}
	if r.TaskRestarts > 0 {
		parts = append(parts, fmt.Sprintf("%d tasks restarted", r.TaskRestarts))
	}
	if r.MessagesRefused > 0 || r.LeaderWritesRefused > 0 {
		parts = append(parts, fmt.Sprintf("%d messages and %d writes refused", r.MessagesRefused, r.LeaderWritesRefused))
	}
	if len(parts) == 0 {
		parts = append(parts, "no change")
	}
	return strings.Join(parts, ", ")
}

// Summary is over all rounds.
type Summary struct {
	NewLeader     Spread `json:"new_leader_ms"`
	Adoption      Spread `json:"adoption_ms"`
	ProcessingGap Spread `json:"processing_gap_ms"`
	CommitGap     Spread `json:"commit_gap_ms"`
	Running       Spread `json:"running_ms"`
	// BaselineGap is ProcessingGap for as long a time before each fault.
	BaselineGap         Spread  `json:"baseline_processing_gap_ms"`
	TaskRestarts        int     `json:"task_restarts"`
	Records             int64   `json:"records"`
	RecordsLost         int64   `json:"records_lost"`
	RecordsRepeated     int64   `json:"records_repeated"`
	CountsWrong         int64   `json:"counts_wrong"`
	LeaderWritesRefused int64   `json:"leader_writes_refused"`
	MessagesRefused     int64   `json:"messages_refused"`
	WritesAccepted      int64   `json:"leader_writes_accepted"`
	Stale               Stale   `json:"stale_messages"`
	Load                float64 `json:"machine_load"`
}

// Spread of a figure over those rounds that have it; all zero if none has.
type Spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
	// Count of the rounds.
	Count int `json:"count"`
}

// spread takes the figure of each round; nil for none.
func spread(rounds []Round, figure func(*Round) *float64) Spread {
	var vs []float64
	for i := range rounds {
		if v := figure(&rounds[i]); v != nil {
			vs = append(vs, *v)
		}
	}
	if len(vs) == 0 {
		return Spread{}
	}
	slices.Sort(vs)
	// The smallest value that at least the share q of all do not exceed.
	at := func(q float64) float64 { return vs[max(int(math.Ceil(q*float64(len(vs)))), 1)-1] }
	return Spread{Min: vs[0], Median: at(0.5), P99: at(0.99), Max: vs[len(vs)-1], Count: len(vs)}
}

// summarize adds the summary and the verdict. restarts are those of the whole job.
func (r *Report) summarize(restarts int, v verdict) {
	s := &r.Summary
	s.NewLeader = spread(r.Rounds, func(r *Round) *float64 { return r.NewLeaderMillis })
	s.Adoption = spread(r.Rounds, func(r *Round) *float64 { return r.AdoptionMillis })
	s.Running = spread(r.Rounds, func(r *Round) *float64 { return r.RunningMillis })
	s.ProcessingGap = spread(r.Rounds, func(r *Round) *float64 { return &r.ProcessingGapMillis })
	s.BaselineGap = spread(r.Rounds, func(r *Round) *float64 { return &r.BaselineGapMillis })
	s.CommitGap = spread(r.Rounds, func(r *Round) *float64 { return &r.CommitGapMillis })
	s.TaskRestarts = restarts
	for _, round := range r.Rounds {
		s.LeaderWritesRefused += round.LeaderWritesRefused
		s.MessagesRefused += round.MessagesRefused
		s.WritesAccepted += round.WritesAccepted
		s.Stale.Sent += round.Stale.Sent
		s.Stale.Refused += round.Stale.Refused
		s.Stale.Accepted += round.Stale.Accepted
	}
	s.Records, s.RecordsLost, s.RecordsRepeated = v.Records, v.Lost, v.Repeated
	s.CountsWrong = v.OutOfOrder + v.CountGaps + v.Malformed
	s.Load = load()
	r.judge(restarts)
}

// judge says which promises were broken.
func (r *Report) judge(restarts int) {
	broken := func(format string, args ...any) { r.Broken = append(r.Broken, fmt.Sprintf(format, args...)) }
	s := &r.Summary
	switch {
	case s.Records == 0:
		broken("nothing was committed")
	case s.RecordsLost > 0:
		broken("%d records were lost", s.RecordsLost)
	}
	if s.RecordsRepeated > 0 {
		broken("%d records were repeated", s.RecordsRepeated)
	}
	if s.CountsWrong > 0 {
		broken("%d running counts or lines are wrong", s.CountsWrong)
	}
	if s.WritesAccepted > 0 {
		broken("%d writes of old leaders were accepted", s.WritesAccepted)
	}
	if s.Stale.Accepted > 0 {
		broken("%d messages in the name of old leaders were accepted", s.Stale.Accepted)
	}
	unexplained := restarts
	for i, round := range r.Rounds {
		unexplained -= round.TaskRestarts
		if scenario, err := find(round.Scenario); err == nil && !scenario.restarts && round.TaskRestarts > 0 {
			broken("round %d, %s: %d tasks were restarted", i+1, round.Scenario, round.TaskRestarts)
		}
	}
	if unexplained > 0 {
		broken("%d tasks were restarted between the rounds", unexplained)
	}
	r.OK = len(r.Broken) == 0
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, s Spread) {
		if s.Count > 0 {
			fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%.1f\t\n", name, s.Min, s.Median, s.P99, s.Max)
		}
	}
	s := &r.Summary
	fmt.Fprintf(w, "%s, high-availability.type %s, rounds: %d, seed %d, load of the machine: %.1f\n", r.Scenario, r.HA, len(r.Rounds), r.Seed, s.Load)
	fmt.Fprintln(t, "milliseconds\tmin\tmedian\tp99\tmax\t")
	row("a new leader", s.NewLeader)
	row("all tasks adopted", s.Adoption)
	row("all tasks run again", s.Running)
	row("longest gap in processing", s.ProcessingGap)
	row("the same before the fault", s.BaselineGap)
	row("longest gap between commits", s.CommitGap)
	t.Flush()
	fmt.Fprintf(w, "task restarts %d, records %d, lost %d, repeated %d, wrong counts %d\n",
		s.TaskRestarts, s.Records, s.RecordsLost, s.RecordsRepeated, s.CountsWrong)
	fmt.Fprintf(w, "of leaders of the past: writes refused %d, accepted %d; messages refused %d; of %d more in their name %d refused, %d accepted\n",
		s.LeaderWritesRefused, s.WritesAccepted, s.MessagesRefused, s.Stale.Sent, s.Stale.Refused, s.Stale.Accepted)
	for _, b := range r.Broken {
		fmt.Fprintln(w, "BROKEN:", b)
	}
	if r.OK {
		fmt.Fprintln(w, "OK: every promise was kept")
	}
}

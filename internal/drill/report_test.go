package drill

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tamias-project/tamias/examples/numbered/verify"
)

// sound is what a drill without any fault in the cluster reports.
func sound(rounds ...Round) (*Report, verdict) {
	return &Report{Scenario: "kill-leader", HA: "local", Rounds: rounds}, verdict{Report: verify.Report{Records: 1000}}
}

func TestEveryBrokenPromiseIsNamed(t *testing.T) {
	leader, worker := Round{Scenario: "kill-leader"}, Round{Scenario: "kill-taskmanager", TaskRestarts: 4}
	for _, tc := range []struct {
		name     string
		rounds   []Round
		restarts int
		spoil    func(*Report, *verdict)
		want     string // empty: nothing is broken
	}{
		{"nothing", []Round{leader, worker}, 4, func(*Report, *verdict) {}, ""},
		{"no output", []Round{leader}, 0, func(_ *Report, v *verdict) { v.Records = 0 }, "nothing was committed"},
		{"lost", []Round{leader}, 0, func(_ *Report, v *verdict) { v.Lost = 2 }, "2 records were lost"},
		{"repeated", []Round{leader}, 0, func(_ *Report, v *verdict) { v.Repeated = 3 }, "3 records were repeated"},
		{"wrong counts", []Round{leader}, 0, func(_ *Report, v *verdict) { v.CountGaps, v.OutOfOrder, v.Malformed = 1, 1, 1 },
			"3 running counts or lines are wrong"},
		{"restart because of a leader", []Round{leader, {Scenario: "kill-leader", TaskRestarts: 4}}, 4, func(*Report, *verdict) {},
			"round 2, kill-leader: 4 tasks were restarted"},
		{"restart between rounds", []Round{leader, worker}, 5, func(*Report, *verdict) {}, "1 tasks were restarted between the rounds"},
		{"write of an old leader", []Round{leader}, 0, func(r *Report, _ *verdict) { r.Rounds[0].WritesAccepted = 1 },
			"1 writes of old leaders were accepted"},
		{"message of an old leader", []Round{leader}, 0, func(r *Report, _ *verdict) { r.Rounds[0].Stale = Stale{Sent: 3, Refused: 2, Accepted: 1} },
			"1 messages in the name of old leaders were accepted"},
	} {
		r, v := sound(slices.Clone(tc.rounds)...)
		tc.spoil(r, &v)
		r.summarize(tc.restarts, v)
		if got := strings.Join(r.Broken, "; "); got != tc.want || r.OK != (tc.want == "") {
			t.Errorf("%s: broken %q, ok %t; want %q", tc.name, got, r.OK, tc.want)
		}
		var printed bytes.Buffer
		r.Print(&printed)
		if got := printed.String(); tc.want != "" && !strings.Contains(got, "BROKEN: "+tc.want) || tc.want == "" && !strings.Contains(got, "OK:") {
			t.Errorf("%s: printed\n%s", tc.name, got)
		}
	}
}

// Programs read the report: these names stay.
func TestReportAsJSON(t *testing.T) {
	ms := 20.0
	r, v := sound(Round{Scenario: "kill-leader", NewLeaderMillis: &ms, AdoptionMillis: &ms})
	r.summarize(0, v)
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Rounds  []map[string]any
		Summary map[string]any
	}
	var top map[string]any
	for _, into := range []any{&got, &top} {
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	has := func(where string, m map[string]any, names ...string) {
		t.Helper()
		for _, name := range names {
			if _, ok := m[name]; !ok {
				t.Errorf("%s has no %q, only %q", where, name, slices.Sorted(maps.Keys(m)))
			}
		}
	}
	has("the report", top, "scenario", "ha", "rounds", "summary", "ok")
	has("the summary", got.Summary, "new_leader_ms", "adoption_ms", "processing_gap_ms", "commit_gap_ms",
		"task_restarts", "records_lost", "records_repeated", "leader_writes_refused", "messages_refused")
	for _, spread := range []string{"new_leader_ms", "adoption_ms", "processing_gap_ms", "commit_gap_ms"} {
		m, _ := got.Summary[spread].(map[string]any)
		has(spread, m, "min", "median", "p99", "max")
	}
	has("a round", got.Rounds[0], "scenario", "new_leader_ms", "adoption_ms", "processing_gap_ms", "commit_gap_ms", "task_restarts")
	if _, there := got.Rounds[0]["running_ms"]; there {
		t.Error("running_ms is there although no task was started again")
	}
}

func TestSpread(t *testing.T) {
	var rounds []Round
	for i := range 200 {
		v := float64(200 - i)
		rounds = append(rounds, Round{NewLeaderMillis: &v}, Round{})
	}
	got := spread(rounds, func(r *Round) *float64 { return r.NewLeaderMillis })
	if want := (Spread{Min: 1, Median: 100, P99: 198, Max: 200, Count: 200}); got != want {
		t.Errorf("spread = %+v, want %+v", got, want)
	}
	if got := spread(rounds, func(r *Round) *float64 { return r.AdoptionMillis }); got != (Spread{}) {
		t.Errorf("spread of nothing = %+v", got)
	}
}

func TestLongestGap(t *testing.T) {
	at := func(millis ...int) (list []time.Time) {
		for _, ms := range millis {
			list = append(list, time.UnixMilli(int64(ms)))
		}
		return list
	}
	s := series{"0": at(0, 10, 50, 60, 200), "1": at(0, 30, 45, 61)}
	for _, tc := range []struct{ from, to, want int }{
		{0, 60, 40},    // 10 to 50, though subtask 1 went on
		{50, 100, 16},  // 45 to 61 ends in it
		{61, 199, 0},   // nothing ends in it
		{61, 200, 140}, // the gap may begin before
		{200, 300, 0},
	} {
		if got := s.longestGap(time.UnixMilli(int64(tc.from)), time.UnixMilli(int64(tc.to))); got != time.Duration(tc.want)*time.Millisecond {
			t.Errorf("longestGap(%d, %d) = %s, want %d ms", tc.from, tc.to, got, tc.want)
		}
	}
}

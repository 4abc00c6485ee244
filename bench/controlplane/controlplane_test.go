package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain lets the tests' program be the JobManagers and fleets that a testbed starts.
func TestMain(m *testing.M) {
	if isJobManager() || isFleet() {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// small is a run that shows that everything works, and measures nothing.
func small(t *testing.T) options {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	return options{
		taskManagers: []int{50}, jobs: 5, ha: "local", fleets: 2, rounds: 1,
		window: 1200 * time.Millisecond, // a heartbeat at least, when they are counted
		settle: 100 * time.Millisecond,
	}
}

func TestAllMeasurements(t *testing.T) {
	o := small(t)
	o.json = filepath.Join(t.TempDir(), "measurements.jsonl")
	var tables bytes.Buffer
	if err := measureAll(t.Context(), o, nil, &tables); err != nil {
		t.Fatal(err)
	}
	checkNothingIsLeft(t)
	measured := readMeasurements(t, o.json)
	for _, tc := range []struct {
		kind   string
		rows   int
		figure string // of the last row
		want   func(float64) bool
	}{
		{"registration", 1, "task_managers", equals(50)},
		{"heartbeat", 1, "heartbeats", func(n float64) bool { return n > 0 }},
		{"memory", 7, "tasks", equals(55)},
		{"recovery", 1, "jobs", equals(5)},
		{"recovery", 1, "tasks_restarted", equals(0)},
	} {
		rows := measured[tc.kind]
		if len(rows) != tc.rows {
			t.Errorf("%d measurements of %s, want %d", len(rows), tc.kind, tc.rows)
			continue
		}
		if v, ok := rows[len(rows)-1][tc.figure].(float64); !ok || !tc.want(v) {
			t.Errorf("%s: %s is %v", tc.kind, tc.figure, rows[len(rows)-1][tc.figure])
		}
		if head := strings.ReplaceAll(tc.figure, "_", " "); !strings.Contains(tables.String(), head) {
			t.Errorf("the tables have no column %q:\n%s", head, tables.String())
		}
	}
}

func TestRecoveryWithZooKeeper(t *testing.T) {
	o := small(t)
	o.ha = "zookeeper"
	if err := measureAll(t.Context(), o, []string{"recovery"}, io.Discard); err != nil {
		t.Fatal(err)
	}
	checkNothingIsLeft(t)
}

// TestInterruptedRunLeavesNothing ends a run in the middle, as Ctrl-C does.
func TestInterruptedRunLeavesNothing(t *testing.T) {
	o := small(t)
	o.settle = time.Hour
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	ended := make(chan error, 1) // room for the one result
	go func() { ended <- measureAll(ctx, o, []string{"registration"}, io.Discard) }()
	for len(children(t)) < 3 { // the JobManager and two fleets
		select {
		case err := <-ended:
			t.Fatalf("ended before it was interrupted: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	interrupt()
	if err := <-ended; !errors.Is(err, errInterrupted) {
		t.Errorf("an interrupted run says %v, want %v", err, errInterrupted)
	}
	checkNothingIsLeft(t)
}

func equals(want float64) func(float64) bool { return func(v float64) bool { return v == want } }

// readMeasurements reads a file of JSON lines, by kind.
func readMeasurements(t *testing.T, file string) map[string][]map[string]any {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string][]map[string]any{}
	for lines := json.NewDecoder(f); lines.More(); {
		var m map[string]any
		if err := lines.Decode(&m); err != nil {
			t.Fatal(err)
		}
		all[fmt.Sprint(m["measurement"])] = append(all[fmt.Sprint(m["measurement"])], m)
	}
	return all
}

// checkNothingIsLeft looks for child processes and for files in $TMPDIR.
func checkNothingIsLeft(t *testing.T) {
	t.Helper()
	if left := children(t); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
	files, err := os.ReadDir(os.TempDir())
	if err != nil || len(files) > 0 {
		t.Errorf("files left: %v, %v", files, err)
	}
}

// children lists the processes that this one has started and that have not been waited for.
func children(t *testing.T) (list []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, stat := range stats {
		text, _ := os.ReadFile(stat) // it may end while we look
		name, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == fmt.Sprint(os.Getpid()) {
			list = append(list, name)
		}
	}
	return list
}

package harness

import (
	"encoding/json"
	"path/filepath"
	"testing"
)

// Drill runs `tamias drill --local` and reports what it measured. Drills start clusters of their own.
func Drill(t testing.TB, args ...string) DrillReport {
	t.Helper()
	report, r := runDrill(t, args...)
	if !report.OK {
		t.Errorf("drill %q: a promise was broken: %s", args, r)
	}
	return report
}

// BrokenDrill is Drill of a cluster that cannot keep its promises.
func BrokenDrill(t testing.TB, args ...string) DrillReport {
	t.Helper()
	report, r := runDrill(t, args...)
	if report.OK || r.Code != 1 {
		t.Errorf("drill %q ended with exit code %d, OK is %t: %s", args, r.Code, report.OK, r)
	}
	return report
}

func runDrill(t testing.TB, args ...string) (DrillReport, Result) {
	t.Helper()
	dir := NewDir(t)
	c := &client{t: t, dir: dir, env: Environment(dir)}
	command := c.start(append([]string{"drill", "--local", "-o", "json"}, args...))
	t.Cleanup(command.end)
	r := command.Wait()
	var report DrillReport
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil {
		t.Fatalf("drill %q: %s", args, r)
	}
	if report.OK != (r.Code == 0) {
		t.Errorf("drill %q: OK is %t: %s", args, report.OK, r)
	}
	left := ProcessesOf(dir)
	if report.OK { // else the files are kept
		left = append(left, filesBelow(filepath.Join(dir, systemTmp), true)...)
	}
	for _, l := range left {
		t.Errorf("left behind: %s", l)
	}
	return report, r
}

// DrillReport is the part of the report that tests look at.
type DrillReport struct {
	OK     bool     `json:"ok"`
	Broken []string `json:"broken"`
	Rounds []struct {
		Detail        string `json:"detail"`
		LeaderChanges int    `json:"leader_changes"`
		TaskRestarts  int    `json:"task_restarts"`
	} `json:"rounds"`
	Summary struct {
		TaskRestarts    int   `json:"task_restarts"`
		Records         int64 `json:"records"`
		RecordsLost     int64 `json:"records_lost"`
		RecordsRepeated int64 `json:"records_repeated"`
	} `json:"summary"`
}

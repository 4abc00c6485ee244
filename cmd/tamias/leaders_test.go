package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// leadershipAnswer is what a JobManager answers after one change of leaders.
func leadershipAnswer() json.RawMessage {
	at := started.UnixMilli()
	return json.RawMessage(fmt.Sprintf(`{"now":%d,"leaders":[
		{"component":"dispatcher","epoch":2,"address":"tamias://b:6123/dispatcher","since":%d,"process":"%s","host":"b","pid":22,"rpc-address":"b:6123"},
		{"component":"job_manager","job-id":"%s","epoch":2,"address":"tamias://b:6123/job_manager/x","since":%[2]d,"process":"%[3]s","host":"b","pid":22,"rpc-address":"b:6123"}
	],"history":[
		{"component":"job_manager","job-id":"%[4]s","epoch":2,"leader":{"host":"b","pid":22},"predecessor":{"host":"a","pid":11},"reason":"process-gone",
		 "detected":%[2]d,"won":%[2]d,"ended":-1,"last-heard":-1,"steps-ms":{"won":1.25,"stores-read":2,"confirmed":3.5,"adopted":11.04},"tasks":8,"adopted-tasks":8},
		{"component":"dispatcher","epoch":2,"leader":{"host":"b","pid":22},"predecessor":{"host":"a","pid":11},"reason":"process-gone",
		 "detected":%[2]d,"won":%[2]d,"ended":-1,"last-heard":-1,"steps-ms":{"won":0.4,"stores-read":2.1,"confirmed":2.9},"tasks":0,"adopted-tasks":0},
		{"component":"dispatcher","epoch":1,"leader":{"host":"a","pid":11},"predecessor":null,"reason":"first",
		 "detected":%[5]d,"won":%[5]d,"ended":%[2]d,"last-heard":-1,"steps-ms":{"won":0.3},"tasks":0,"adopted-tasks":0}
	],"totals":{"changes":{"dispatcher":1,"resource_manager":0,"rest_server":0},"leaderless-ms":{"dispatcher":1003},"adoptions":1,"adopted-tasks":8,"lost-tasks":0}}`,
		at+90_000, at, strings.Repeat("0b", 16), theJob, at-60_000))
}

func TestLeaders(t *testing.T) {
	c := newCluster(t)
	c.leadership = leadershipAnswer()
	job := theJob.String()
	tamias(t, "leaders", "-m", c.address()).check(t, 0, ""+
		"COMPONENT                             EPOCH  PROCESS  ADDRESS                        SINCE\n"+
		"dispatcher                            2      b:22     tamias://b:6123/dispatcher     2024-03-01 10:20:30 (1m30s)\n"+
		"resource_manager                      -      -        (no leader is known)           -\n"+
		"rest_server                           -      -        (no leader is known)           -\n"+
		"job "+job+"  2      b:22     tamias://b:6123/job_manager/x  2024-03-01 10:20:30 (1m30s)\n"+
		"\n"+
		"History, newest first; steps in milliseconds after the loss of the leader before was noticed\n"+
		"NOTICED                  COMPONENT                             EPOCH  LEADER  WHY           BEFORE  WON  READ  CONFIRMED  ADOPTED  TASKS\n"+
		"2024-03-01 10:20:30.000  job "+job+"  2      b:22    process-gone  a:11    1.2  2.0   3.5        11.0     8 of 8\n"+
		"2024-03-01 10:20:30.000  dispatcher                            2      b:22    process-gone  a:11    0.4  2.1   2.9        -        -\n"+
		"2024-03-01 10:19:30.000  dispatcher                            1      a:11    first         -       0.3  -     -          -        -\n"+
		"\n"+
		"dispatcher: 1 change of leaders, 1.003s without one in all\n"+
		"adoptions of jobs: 1; tasks that ran on: 8, that did not: 0\n", "")
}

func TestLeadersAsJSON(t *testing.T) {
	c := newCluster(t)
	c.leadership = leadershipAnswer()
	r := tamias(t, "leaders", "-m", c.address(), "-o", "json")
	var got, want any
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.code != 0 {
		t.Fatalf("rc %d, %v in %q", r.code, err, r.stdout)
	}
	if err := json.Unmarshal(c.leadership, &want); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("printed %v, want what the server answered: %v", got, want)
	}
	tamias(t, "leaders", "-m", c.address(), "-o", "xml").check(t, 1, `The output format "xml" is unknown: expected table or json.`+hint, "")
}

func TestLeadersShowsTheLatest(t *testing.T) {
	var l leadership
	for i := range shownTerms + 5 {
		l.History = append(l.History, leaderTerm{Component: "dispatcher", Epoch: uint64(100 - i), Detected: started.Add(-time.Duration(i) * time.Hour).UnixMilli()})
	}
	for _, tc := range []struct {
		all  bool
		rows int
		more bool
	}{{false, shownTerms, true}, {true, shownTerms + 5, false}} {
		var b strings.Builder
		if err := printLeadership(&b, l, tc.all); err != nil {
			t.Fatal(err)
		}
		if rows := strings.Count(b.String(), "  dispatcher  "); rows != tc.rows || strings.Contains(b.String(), "(5 more with --all)") != tc.more {
			t.Errorf("all %t: %d rows of %d in\n%s", tc.all, rows, tc.rows, b.String())
		}
	}
}

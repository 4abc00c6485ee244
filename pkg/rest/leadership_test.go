package rest

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

func sampleLeadership() protocol.Leadership {
	a := protocol.LeaderProcess{Process: id.Instance{0xa}, Host: "a", PID: 11, Address: "a:6123"}
	b := protocol.LeaderProcess{Process: id.Instance{0xb}, Host: "b", PID: 22, Address: "b:6123"}
	lost := after(time.Minute)
	second := protocol.LeaderTerm{
		Component: "dispatcher", Epoch: 2, Leader: b, Address: "tamias://b:6123/dispatcher", Predecessor: &a, Reason: protocol.Silent,
		LastHeard: lost.Add(-2 * time.Second), Detected: lost, Won: lost.Add(400 * time.Microsecond), StoresRead: lost.Add(2 * time.Millisecond),
		Confirmed: lost.Add(2500 * time.Microsecond), Adopted: lost.Add(11 * time.Millisecond), Tasks: 8, AdoptedTasks: 8,
	}
	first := protocol.LeaderTerm{
		Component: "dispatcher", Epoch: 1, Leader: a, Reason: protocol.FirstLeader, Detected: t0, Won: after(time.Millisecond),
		Confirmed: after(2 * time.Millisecond), Ended: lost,
	}
	job := second
	job.Component, job.Job, job.Address = "job_manager", running, "tamias://b:6123/job_manager/"+running.String()
	return protocol.Leadership{
		Leaders: []protocol.LeaderTerm{second, job},
		History: protocol.LeadershipHistory{Terms: []protocol.LeaderTerm{job, second, first}, Totals: protocol.LeadershipTotals{
			Changes: map[string]int64{"dispatcher": 1}, Leaderless: map[string]time.Duration{"dispatcher": 2003 * time.Millisecond},
			Adoptions: 1, AdoptedTasks: 8,
		}},
	}
}

func TestLeadership(t *testing.T) {
	f := newFixture(t)
	l := f.sampleLeader("jm:1")
	l.leadership = sampleLeadership()
	f.announce(l)
	response, body := f.do("GET", "/cluster/leadership", nil)
	if response.StatusCode != 200 {
		t.Fatalf("GET /cluster/leadership = %d: %s", response.StatusCode, body)
	}
	golden(t, "cluster-leadership", regexp.MustCompile(`"now":\d+`).ReplaceAllString(body, `"now":0`))
}

// put stores a history as a Dispatcher does that has ended since.
type put struct {
	services *haservices.Services
	election *haservices.LeaderElection
	history  protocol.LeadershipHistory
	stop     context.CancelFunc
}

func (p put) Lead(ctx context.Context, token id.FencingToken) error {
	defer p.stop()
	return p.services.Leadership(p.election).Put(ctx, token, p.history)
}

// TestLeadershipWithoutLeader: what is stored is shown, because that is when one wants to know.
func TestLeadershipWithoutLeader(t *testing.T) {
	f := newFixture(t)
	f.server.dispatcher.wait = 10 * time.Millisecond
	if response, body := f.do("GET", "/cluster/leadership", nil); response.StatusCode != 200 || !strings.Contains(body, `"leaders":[],"history":[]`) {
		t.Errorf("before anybody led: %d, %s", response.StatusCode, body)
	}
	services := f.server.cfg.Services
	ctx, stop := context.WithCancel(t.Context())
	election := services.LeaderElection(haservices.Component{Kind: haservices.Dispatcher})
	if err := election.Run(ctx, put{services, election, sampleLeadership().History, stop}); err != nil {
		t.Fatal(err)
	}
	if response, body := f.do("GET", "/cluster/leadership", nil); response.StatusCode != 200 || !strings.Contains(body, `"leaders":[],"history":[{"component":"job_manager"`) {
		t.Errorf("after the last leader: %d, %s", response.StatusCode, body)
	}
}

// Nobody leads, and what is stored cannot be read either: that is the answer, in time.
func TestLeadershipWithoutLeaderAndServices(t *testing.T) {
	f := newFixture(t)
	f.server.dispatcher.wait = 10 * time.Millisecond
	f.server.cfg.LeaderTimeout = 10 * time.Millisecond
	f.ha.Disconnect("rest")
	defer f.ha.Reconnect("rest")
	if response, body := f.do("GET", "/cluster/leadership", nil); response.StatusCode != 503 {
		t.Errorf("%d, %s; want 503", response.StatusCode, body)
	}
}

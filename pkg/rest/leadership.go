package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// leadership is the answer to GET /cluster/leadership, which Flink does not have: who leads now, who led
// before, why that changed, and how long each step took. Times are milliseconds since 1970.
type leadership struct {
	Now int64 `json:"now"`
	// Leaders is empty, and what follows is as stored, while no Dispatcher leads.
	Leaders []leaderLine `json:"leaders"`
	// History is newest first.
	History []termLine     `json:"history"`
	Totals  leadershipSums `json:"totals"`
}

type leaderLine struct {
	Component string `json:"component"`
	Job       string `json:"job-id,omitempty"`
	Epoch     uint64 `json:"epoch"`
	Address   string `json:"address"`
	Since     int64  `json:"since"`
	protocol.LeaderProcess
}

type termLine struct {
	Component   string                    `json:"component"`
	Job         string                    `json:"job-id,omitempty"`
	Epoch       uint64                    `json:"epoch"`
	Address     string                    `json:"address"`
	Leader      protocol.LeaderProcess    `json:"leader"`
	Predecessor *protocol.LeaderProcess   `json:"predecessor"`
	Reason      protocol.SuccessionReason `json:"reason"`
	// LastHeard is -1 unless the predecessor fell silent, Ended -1 as long as the term lasts.
	LastHeard int64 `json:"last-heard"`
	Detected  int64 `json:"detected"`
	Won       int64 `json:"won"`
	Ended     int64 `json:"ended"`
	// Steps are milliseconds from detection to each step that was reached.
	Steps        termSteps `json:"steps-ms"`
	Tasks        int       `json:"tasks"`
	AdoptedTasks int       `json:"adopted-tasks"`
}

type termSteps struct {
	Won        float64  `json:"won"`
	StoresRead *float64 `json:"stores-read,omitempty"`
	Confirmed  *float64 `json:"confirmed,omitempty"`
	Adopted    *float64 `json:"adopted,omitempty"`
}

// leadershipSums count since the cluster began.
type leadershipSums struct {
	Changes      map[string]int64 `json:"changes"`
	LeaderlessMS map[string]int64 `json:"leaderless-ms"`
	Adoptions    int64            `json:"adoptions"`
	AdoptedTasks int64            `json:"adopted-tasks"`
	LostTasks    int64            `json:"lost-tasks"`
}

// leadership asks the Dispatcher. While none leads, or it is of a build that keeps no history, what is
// stored is shown: that is when one wants to know.
func (s *Server) leadership(r *http.Request) (leadership, error) {
	known, err := ask(r.Context(), s.dispatcher, protocol.DescribeLeadership, protocol.Empty{})
	if errors.Is(err, errNoLeader) || errors.Is(err, rpc.ErrVersion) {
		known = protocol.Leadership{}
		known.History, err = s.storedHistory(r.Context())
	}
	if err != nil {
		return leadership{}, err
	}
	return leadershipOf(known, time.Now()), nil
}

// storedHistory reads the history without a leader. It fails with errNoLeader when the HA backend does not answer
// either: reads wait for it.
func (s *Server) storedHistory(ctx context.Context) (h protocol.LeadershipHistory, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.LeaderTimeout)
	defer cancel()
	if h, err = s.cfg.Services.Leadership(nil).Get(ctx); err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w of the dispatcher, and %w", errNoLeader, err)
	}
	return h, err
}

func leadershipOf(known protocol.Leadership, now time.Time) leadership {
	answer := leadership{Now: now.UnixMilli(), Leaders: []leaderLine{}, History: []termLine{}}
	for _, t := range known.Leaders {
		answer.Leaders = append(answer.Leaders, leaderLine{
			Component: t.Component, Job: jobName(t.Job), Epoch: t.Epoch, Address: t.Address, Since: millis(t.Won), LeaderProcess: t.Leader,
		})
	}
	for _, t := range known.History.Terms {
		answer.History = append(answer.History, termLineOf(t))
	}
	totals := known.History.Totals
	answer.Totals = leadershipSums{
		Changes: map[string]int64{}, LeaderlessMS: map[string]int64{},
		Adoptions: totals.Adoptions, AdoptedTasks: totals.AdoptedTasks, LostTasks: totals.LostTasks,
	}
	for _, kind := range []haservices.Kind{haservices.Dispatcher, haservices.ResourceManager, haservices.RestServer} {
		answer.Totals.Changes[string(kind)] = totals.Changes[string(kind)]
		answer.Totals.LeaderlessMS[string(kind)] = totals.Leaderless[string(kind)].Milliseconds()
	}
	return answer
}

func termLineOf(t protocol.LeaderTerm) termLine {
	after := func(at time.Time) *float64 {
		if at.IsZero() {
			return nil
		}
		ms := float64(at.Sub(t.Detected).Microseconds()) / 1000
		return &ms
	}
	line := termLine{
		Component: t.Component, Job: jobName(t.Job), Epoch: t.Epoch, Address: t.Address, Leader: t.Leader,
		Predecessor: t.Predecessor, Reason: t.Reason, LastHeard: millis(t.LastHeard), Detected: millis(t.Detected),
		Won: millis(t.Won), Ended: millis(t.Ended), Tasks: t.Tasks, AdoptedTasks: t.AdoptedTasks,
		Steps: termSteps{StoresRead: after(t.StoresRead), Confirmed: after(t.Confirmed), Adopted: after(t.Adopted)},
	}
	if won := after(t.Won); won != nil {
		line.Steps.Won = *won
	}
	return line
}

// jobName is empty for what is no job's.
func jobName(job id.Job) string {
	if job.IsZero() {
		return ""
	}
	return job.String()
}

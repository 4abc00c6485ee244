package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// leadership is the answer of /cluster/leadership. Times are milliseconds since 1970.
type leadership struct {
	Now     int64         `json:"now"`
	Leaders []leaderLine  `json:"leaders"`
	History []leaderTerm  `json:"history"`
	Totals  leaderCounter `json:"totals"`
}

type leaderProcess struct {
	Host string `json:"host"`
	PID  int    `json:"pid"`
}

type leaderLine struct {
	Component string `json:"component"`
	Job       string `json:"job-id"`
	Epoch     uint64 `json:"epoch"`
	Address   string `json:"address"`
	Since     int64  `json:"since"`
	leaderProcess
}

type leaderTerm struct {
	Component    string         `json:"component"`
	Job          string         `json:"job-id"`
	Epoch        uint64         `json:"epoch"`
	Leader       leaderProcess  `json:"leader"`
	Predecessor  *leaderProcess `json:"predecessor"`
	Reason       string         `json:"reason"`
	Detected     int64          `json:"detected"`
	Ended        int64          `json:"ended"`
	Tasks        int            `json:"tasks"`
	AdoptedTasks int            `json:"adopted-tasks"`
	// Steps are milliseconds after Detected, nil for those that were not reached.
	Steps struct {
		Won        *float64 `json:"won"`
		StoresRead *float64 `json:"stores-read"`
		Confirmed  *float64 `json:"confirmed"`
		Adopted    *float64 `json:"adopted"`
	} `json:"steps-ms"`
}

type leaderCounter struct {
	Changes      map[string]int64 `json:"changes"`
	LeaderlessMS map[string]int64 `json:"leaderless-ms"`
	Adoptions    int64            `json:"adoptions"`
	AdoptedTasks int64            `json:"adopted-tasks"`
	LostTasks    int64            `json:"lost-tasks"`
}

// clusterComponents are those that there is one leader of in a cluster.
var clusterComponents = []string{"dispatcher", "resource_manager", "rest_server"}

func (c *cli) leadersCommand() *cobra.Command {
	var output string
	var all bool
	cmd := &cobra.Command{
		Use:   "leaders [OPTIONS]",
		Short: "Show who leads, who led before, why that changed, and how long each step took",
		Long: "Shows the processes that lead the components of the cluster and its jobs, and the history of leaders: when the\n" +
			"loss of the one before was noticed and why it had left, and the milliseconds from then until the new leader had\n" +
			"won its epoch, had read the stores, was confirmed, and had adopted all tasks.",
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return sentence("The output format %q is unknown: expected table or json.", output)
			}
			client, err := c.connect()
			if err != nil {
				return err
			}
			defer client.close()
			var answer json.RawMessage
			if err := client.get(cmd.Context(), "/cluster/leadership", &answer); err != nil {
				return fail(err, "Failed to retrieve the leaders.")
			}
			if output == "json" {
				return c.printJSON(answer)
			}
			var l leadership
			if err := json.Unmarshal(answer, &l); err != nil {
				return fail(err, "The answer is not what was expected.")
			}
			return printLeadership(c.stdout, l, all)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "the whole history, not only the latest 20 changes")
	return c.common(cmd)
}

// shownTerms is how much of the history people see at first.
const shownTerms = 20

func printLeadership(w io.Writer, l leadership, all bool) error {
	if err := printLeaders(w, l); err != nil {
		return err
	}
	shown := l.History
	if !all && len(shown) > shownTerms {
		shown = shown[:shownTerms]
	}
	if err := printHistory(w, shown); err != nil {
		return err
	}
	if rest := len(l.History) - len(shown); rest > 0 {
		fmt.Fprintf(w, "(%d more with --all)\n", rest)
	}
	return printTotals(w, l.Totals)
}

func newTable(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

func printLeaders(w io.Writer, l leadership) error {
	table := newTable(w)
	fmt.Fprintln(table, "COMPONENT\tEPOCH\tPROCESS\tADDRESS\tSINCE")
	show := func(line leaderLine) {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\n", componentName(line.Component, line.Job), line.Epoch, line.leaderProcess,
			line.Address, sinceWhen(line.Since, l.Now))
	}
	for _, component := range clusterComponents {
		i := slices.IndexFunc(l.Leaders, func(line leaderLine) bool { return line.Component == component })
		if i < 0 {
			fmt.Fprintf(table, "%s\t-\t-\t(no leader is known)\t-\n", component)
			continue
		}
		show(l.Leaders[i])
	}
	for _, line := range l.Leaders {
		if line.Job != "" {
			show(line)
		}
	}
	return table.Flush()
}

func printHistory(w io.Writer, terms []leaderTerm) error {
	fmt.Fprintln(w, "\nHistory, newest first; steps in milliseconds after the loss of the leader before was noticed")
	table := newTable(w)
	fmt.Fprintln(table, "NOTICED\tCOMPONENT\tEPOCH\tLEADER\tWHY\tBEFORE\tWON\tREAD\tCONFIRMED\tADOPTED\tTASKS")
	for _, t := range terms {
		fmt.Fprintln(table, strings.Join(t.cells(), "\t"))
	}
	return table.Flush()
}

func printTotals(w io.Writer, totals leaderCounter) error {
	fmt.Fprintln(w)
	for _, component := range clusterComponents {
		if n := totals.Changes[component]; n > 0 {
			fmt.Fprintf(w, "%s: %s of leaders, %s without one in all\n", component, counted(n, "change"),
				time.Duration(totals.LeaderlessMS[component])*time.Millisecond)
		}
	}
	_, err := fmt.Fprintf(w, "adoptions of jobs: %d; tasks that ran on: %d, that did not: %d\n", totals.Adoptions, totals.AdoptedTasks, totals.LostTasks)
	return err
}

func componentName(component, job string) string {
	if job == "" {
		return component
	}
	return "job " + job
}

// String is host:pid.
func (p leaderProcess) String() string { return fmt.Sprintf("%s:%d", p.Host, p.PID) }

func (t leaderTerm) cells() []string {
	before, tasks := "-", "-"
	if t.Predecessor != nil {
		before = t.Predecessor.String()
	}
	adopted := t.Steps.Adopted
	if t.Tasks == 0 {
		adopted = nil // there was nothing to adopt
	} else if adopted != nil {
		tasks = fmt.Sprintf("%d of %d", t.AdoptedTasks, t.Tasks)
	}
	return []string{
		time.UnixMilli(t.Detected).Format("2006-01-02 15:04:05.000"), componentName(t.Component, t.Job), fmt.Sprint(t.Epoch),
		t.Leader.String(), t.Reason, before,
		step(t.Steps.Won), step(t.Steps.StoresRead), step(t.Steps.Confirmed), step(adopted), tasks,
	}
}

func step(ms *float64) string {
	if ms == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f", *ms)
}

func sinceWhen(since, now int64) string {
	lasting := time.Duration(now-since) * time.Millisecond
	return fmt.Sprintf("%s (%s)", time.UnixMilli(since).Format(time.DateTime), lasting.Round(time.Second))
}

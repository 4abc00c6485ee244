package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

const (
	// pollPause is the pause between two looks at a job.
	pollPause = 250 * time.Millisecond
	// checkpointPause is the least time between two lines about checkpoints.
	checkpointPause = 5 * time.Second
	// slotPatience is how long a job may wait for slots without an explanation.
	slotPatience = 2 * time.Second
)

// watcher follows a job to its end and says what happens to it.
type watcher struct {
	client *client
	job    id.Job
	out    io.Writer // of progress
	// patience is how long nobody may answer before we give up.
	patience time.Duration

	last         protocol.JobDetails // as seen last
	checkpointAt time.Time           // of the last line about checkpoints
	silentSince  time.Time           // zero while we get answers
	slotlessFrom time.Time           // zero while the job does not wait for slots, or that was explained
}

// wait returns the job's details when it has ended. Leaders may come and go meanwhile.
func (w *watcher) wait(ctx context.Context) (protocol.JobDetails, error) {
	for {
		var d protocol.JobDetails
		err := w.client.once(ctx, call{method: http.MethodGet, path: "/jobs/" + w.job.String() + "/details"}, &d)
		switch {
		case err == nil:
			w.answered()
			w.tell(d)
			w.tellSlots(ctx, d)
			if w.last = d; d.Overview.State.Terminal() {
				return d, nil
			}
		case ctx.Err() != nil:
			return d, w.interrupted()
		case !errors.Is(err, errUnavailable):
			return d, fail(err, "Could not find out what became of job %s.", w.job)
		default:
			if err := w.unanswered(err); err != nil {
				return d, err
			}
		}
		if !sleep(ctx, pollPause) {
			return d, w.interrupted()
		}
	}
}

func (w *watcher) interrupted() error {
	w.say("Not waiting any longer; the job goes on. To end it: tamias cancel %s", w.job)
	return errInterrupted
}

func (w *watcher) say(format string, args ...any) {
	fmt.Fprintf(w.out, "%s %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

func (w *watcher) answered() {
	if !w.silentSince.IsZero() {
		w.say("A JobManager answers again after %s.", time.Since(w.silentSince).Round(100*time.Millisecond))
		w.silentSince = time.Time{}
	}
}

// unanswered returns an error when we have waited too long.
func (w *watcher) unanswered(err error) error {
	if w.silentSince.IsZero() {
		w.silentSince = time.Now()
		w.say("No JobManager answers; the job's tasks do not need one. Trying again.")
	}
	if silent := time.Since(w.silentSince); silent > w.patience {
		return fail(err, "No answer about job %s for %s (client.timeout). The job may well be running; look for it with: tamias list", w.job, w.patience)
	}
	return nil
}

// tell says what has changed since the last look.
func (w *watcher) tell(d protocol.JobDetails) {
	was, is := w.last.Overview, d.Overview
	first := was.State == ""
	if !first && d.JobMasterEpoch > w.last.JobMasterEpoch && w.last.JobMasterEpoch > 0 {
		w.say("Another JobManager leads the job now (epoch %d after %d).", d.JobMasterEpoch, w.last.JobMasterEpoch)
	}
	w.tellFailures(d, first)
	if is.State.Terminal() { // the last checkpoint belongs before the end
		w.tellCheckpoint(d)
	}
	if is.State != was.State || taskLine(is) != taskLine(was) || !sameWaiting(d.Waiting, w.last.Waiting) {
		line := "Job is " + stateLine(is)
		if is.Restarts > 0 {
			line += ", " + counted(is.Restarts, "restart") + " so far"
		}
		if d.Waiting != "" {
			line += "; waiting: " + d.Waiting
		}
		w.say("%s", line)
	}
	if !is.State.Terminal() {
		w.tellCheckpoint(d)
	}
}

// tellSlots says, once for each wait for slots that is no moment's, what the cluster has.
func (w *watcher) tellSlots(ctx context.Context, d protocol.JobDetails) {
	switch was, is := strings.Contains(w.last.Waiting, "slots"), strings.Contains(d.Waiting, "slots"); {
	case !is:
		w.slotlessFrom = time.Time{}
	case !was:
		w.slotlessFrom = time.Now()
	case !w.slotlessFrom.IsZero() && time.Since(w.slotlessFrom) >= slotPatience:
		w.slotlessFrom = time.Time{}
		var cluster struct {
			TaskManagers int `json:"taskmanagers"`
			Slots        int `json:"slots-total"`
			Free         int `json:"slots-available"`
		}
		if err := w.client.once(ctx, call{method: http.MethodGet, path: "/overview"}, &cluster); err == nil {
			w.say("The cluster has %s with %s, %d of them free. Start more TaskManagers (scripts/taskmanager.sh start), or use less parallelism (-p).",
				counted(cluster.TaskManagers, "TaskManager"), counted(cluster.Slots, "slot"), cluster.Free)
		}
	}
}

// sameWaiting reports whether two reasons for waiting differ in nothing but figures, such as the seconds
// that are left.
func sameWaiting(a, b string) bool {
	untilDigit := func(s string) string {
		if i := strings.IndexAny(s, "0123456789"); i >= 0 {
			return s[:i]
		}
		return s
	}
	return untilDigit(a) == untilDigit(b)
}

// tellFailures says what is new in the history of failures, oldest first.
func (w *watcher) tellFailures(d protocol.JobDetails, first bool) {
	if first || d.Overview.State.Terminal() {
		return // the end is reported as a whole
	}
	var seen time.Time
	if len(w.last.Failures) > 0 {
		seen = w.last.Failures[0].At
	}
	for i := len(d.Failures) - 1; i >= 0; i-- {
		if f := d.Failures[i]; f.At.After(seen) {
			w.say("Failure%s: %s", ofTask(f), message(f))
		}
	}
}

func (w *watcher) tellCheckpoint(d protocol.JobDetails) {
	latest := d.Checkpoints.Latest
	if latest == nil || w.last.Checkpoints.Latest != nil && w.last.Checkpoints.Latest.ID == latest.ID ||
		time.Since(w.checkpointAt) < checkpointPause {
		return
	}
	w.checkpointAt = time.Now()
	w.say("Checkpoint %d completed (%s in %s)", latest.ID, size(latest.Bytes), latest.Ended.Sub(latest.Triggered).Round(time.Millisecond))
}

func ofTask(f protocol.JobFailure) string {
	var b strings.Builder
	if f.Task != "" {
		b.WriteString(" of " + f.Task)
	}
	if f.TaskManager != "" {
		b.WriteString(" at " + string(f.TaskManager))
	}
	return b.String()
}

// message is what was said of a failure, without the name of the task, which ofTask says.
func message(f protocol.JobFailure) string { return strings.TrimPrefix(f.Failure.Message, f.Task+": ") }

// counted is "1 restart" or "2 restarts".
func counted[N int | int64](n N, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// stateLine is a job's state and, once it has tasks, how many run.
func stateLine(o protocol.JobOverview) string {
	for _, n := range o.Tasks {
		if n > 0 {
			return string(o.State) + ", " + taskLine(o)
		}
	}
	return string(o.State)
}

// taskLine counts tasks: those that run or have ended, of all; others by state.
func taskLine(o protocol.JobOverview) string {
	total := 0
	for _, n := range o.Tasks {
		total += n
	}
	line := fmt.Sprintf("%d of %d tasks running", o.Tasks[protocol.Running], total)
	for _, state := range []protocol.TaskState{protocol.Finished, protocol.Canceled, protocol.Failed} {
		if n := o.Tasks[state]; n > 0 {
			line += fmt.Sprintf(", %d %s", n, strings.ToLower(string(state)))
		}
	}
	return line
}

func size(bytes int64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	case bytes >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10))
	default:
		return fmt.Sprintf("%d bytes", bytes)
	}
}

// report prints how a job ended; the error, if any, is the job's.
func (c *cli) report(d protocol.JobDetails, err error) error {
	if err != nil {
		return err
	}
	o := d.Overview
	switch o.State {
	case protocol.JobFinished:
		fmt.Fprintf(c.stdout, "Program execution finished\nJob with JobID %s has finished.\nJob Runtime: %d ms\n\n", o.ID, o.End.Sub(o.Start).Milliseconds())
		return nil
	case protocol.JobCanceled:
		return fail(sentence("Job was cancelled."), "The program did not finish (JobID: %s).", o.ID)
	}
	cause := "no cause is known"
	if len(d.Failures) > 0 {
		f := d.Failures[0]
		cause = message(f)
		if where := ofTask(f); where != "" {
			cause = "Failure" + where + ": " + cause
		}
		if f.Failure.Stack != "" {
			cause += "\n\n" + strings.TrimRight(f.Failure.Stack, "\n")
		}
	}
	return fail(errors.New(cause), "Job failed (JobID: %s).", o.ID)
}

package taskmanager

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// job is what this TaskManager has of one job. It exists from the first leased slot until there are
// neither slots nor tasks, and every end of a task has been taken by a master. Owned by the main thread.
// Flink's JobTable.Job.
type job struct {
	tm         *TaskManager
	id         id.Job
	log        *zap.Logger
	attachment attachment
	// lostAt is when the last master was lost, zero while there is one.
	lostAt     time.Time
	executions *executions
	// worker is the job's process, nil when none runs.
	worker *worker
	// spec is that of the last process.
	spec LaunchSpec
	// session is the present one with a JobMaster, nil when there is none.
	session *masterSession
	// doomed slots are freed when their tasks have ended.
	doomed map[id.Allocation]bool
	// releasing: the job has ended; nothing of it is started any more.
	releasing bool
	// gone is closed when nothing of the job is left.
	gone chan struct{}
	// unfollow ends the goroutine that follows the job's leaders.
	unfollow func()
}

func (tm *TaskManager) newJob(j id.Job) *job {
	now := time.Now()
	timeout := max(tm.cfg.OrphanTimeout, 0)
	n := &job{
		tm: tm, id: j, log: tm.log.With(logging.Job(j)),
		attachment: attachment{state: waiting, fence: &tm.fences.of(j, now).FollowerFence, heardAt: now, orphanTimeout: timeout},
		executions: newExecutions(), doomed: map[id.Allocation]bool{}, gone: make(chan struct{}),
	}
	tm.jobs[j] = n
	n.unfollow = tm.spawn(func(ctx context.Context) {
		tm.follow(ctx, haservices.JobMaster(j), n.attend)
	})
	return n
}

// leased takes in a new slot of the job.
func (j *job) leased(a id.Allocation) {
	j.log.Info("slot leased", logging.Allocation(a))
	j.attachment.leased(time.Now())
	j.tell()
}

// tell wakes the session: there is something to tell or to offer.
func (j *job) tell() {
	if j.session != nil {
		signal(j.session.wake)
	}
}

// report says all that there is of the job to the master with that token.
func (j *job) report(token id.FencingToken) protocol.JobReport {
	return protocol.JobReport{Allocations: j.tm.slots.of(j.id), Executions: j.executions.report(token)}
}

// prepare returns the job's process, and starts it if there is none.
func (j *job) prepare(spec LaunchSpec) *worker {
	if j.worker == nil {
		j.spec = spec
		j.worker = j.startWorker(spec)
	}
	return j.worker
}

// deploy starts attempts. Attempts known already, or overtaken by newer ones, are left alone.
func (j *job) deploy(r protocol.DeployTasksRequest) (protocol.Empty, error) {
	for _, task := range r.Tasks {
		if !j.tm.slots.holds(j.id, task.Allocation) {
			return protocol.Empty{}, fmt.Errorf("%w: %s for attempt %s", protocol.ErrUnknownAllocation, task.Allocation, task.Attempt)
		}
	}
	for _, task := range r.Tasks { // its master has taken the slot, even if the answer to the offer was lost
		j.tm.slots.accept(j.id, []id.Allocation{task.Allocation})
	}
	forward := protocol.DeployTasksRequest{Job: r.Job}
	var attempts []id.ExecutionAttempt
	for _, task := range r.Tasks {
		started := j.executions.deploy(protocol.Execution{
			Attempt: task.Attempt, State: protocol.Deploying, Allocation: task.Allocation, StartedAt: time.Now(),
		})
		if started {
			forward.Tasks = append(forward.Tasks, task)
			attempts = append(attempts, task.Attempt)
		}
	}
	if len(attempts) == 0 {
		return protocol.Empty{}, nil
	}
	j.log.Info("tasks deployed", zap.Int("tasks", len(attempts)), zap.Int("attempt", attempts[0].Attempt))
	if j.worker == nil {
		j.fail(attempts, &protocol.Failure{Message: "the job process has ended", Process: true})
		return protocol.Empty{}, nil
	}
	send(j.worker, protocol.WorkerDeploy, forward, func(err error) {
		j.fail(attempts, &protocol.Failure{Message: fmt.Sprintf("the job process refused the task: %v", err)})
	})
	j.tell()
	return protocol.Empty{}, nil
}

// fail ends attempts here, whatever their process thinks.
func (j *job) fail(attempts []id.ExecutionAttempt, f *protocol.Failure) {
	j.executions.fail(attempts, f)
	j.tasksEnded()
	j.tell()
}

// cancel asks the process to end attempts. Those that are unknown or have ended are ignored.
func (j *job) cancel(r protocol.CancelTasksRequest) (protocol.Empty, error) {
	j.cancelLive(r)
	return protocol.Empty{}, nil
}

func (j *job) cancelTasks(attempts []id.ExecutionAttempt) {
	j.cancelLive(protocol.CancelTasksRequest{Job: j.id, Attempts: attempts})
}

func (j *job) cancelLive(r protocol.CancelTasksRequest) {
	live := make([]id.ExecutionAttempt, 0, len(r.Attempts))
	for _, a := range r.Attempts {
		if j.executions.cancelled(a, time.Now()) {
			live = append(live, a)
		}
	}
	if r.Attempts = live; len(live) > 0 && j.worker != nil {
		send(j.worker, protocol.WorkerCancel, r, nil)
	}
}

func (j *job) trigger(r protocol.TriggerCheckpointRequest) (protocol.Empty, error) {
	return protocol.Empty{}, forward(j, protocol.WorkerTriggerCheckpoint, r)
}

func (j *job) finish(r protocol.FinishTasksRequest) (protocol.Empty, error) {
	return protocol.Empty{}, forward(j, protocol.WorkerFinish, r)
}

func (j *job) complete(r protocol.CompleteCheckpointRequest) (protocol.Empty, error) {
	j.executions.complete(r.Checkpoint)
	return protocol.Empty{}, forward(j, protocol.WorkerCompleteCheckpoint, r)
}

func (j *job) abort(r protocol.AbortCheckpointRequest) (protocol.Empty, error) {
	j.executions.abort(r.First, r.Last)
	return protocol.Empty{}, forward(j, protocol.WorkerAbortCheckpoint, r)
}

// forward passes a call on to the process. Without a process there are no tasks that it could concern,
// and the master has been told of their end.
func forward[Req any](j *job, call protocol.Call[Req, protocol.Empty], r Req) error {
	if j.worker != nil {
		send(j.worker, call, r, nil)
	}
	return nil
}

func (j *job) heartbeat(protocol.JobMasterHeartbeatRequest) (protocol.JobReport, error) {
	return j.report(j.attachment.fence.Highest()), nil
}

func (j *job) releaseSlots(r protocol.ReleaseSlotsRequest) (protocol.Empty, error) {
	j.free(r.Allocations)
	return protocol.Empty{}, nil
}

// free gives slots back: at once, or when the tasks in them have been cancelled.
func (j *job) free(allocations []id.Allocation) {
	for _, a := range allocations {
		if !j.tm.slots.holds(j.id, a) {
			continue
		}
		if live := j.executions.live(a); len(live) > 0 {
			j.doomed[a] = true
			j.cancelTasks(live)
			continue
		}
		j.freeNow(a)
	}
	j.tidy()
}

func (j *job) freeNow(a id.Allocation) {
	delete(j.doomed, a)
	if j.tm.slots.release(j.id, a) {
		j.log.Info("slot freed", logging.Allocation(a))
		j.tm.slotsChanged()
	}
}

// tasksEnded frees the slots that waited for it.
func (j *job) tasksEnded() {
	for a := range j.doomed {
		if len(j.executions.live(a)) == 0 {
			j.freeNow(a)
		}
	}
	j.tidy()
}

// event takes in what the process tells.
func (j *job) event(e protocol.WorkerEvent) {
	switch {
	case e.State != nil:
		j.stateChanged(*e.State)
	case e.Acknowledge != nil:
		j.executions.acknowledge(*e.Acknowledge)
	case e.Decline != nil:
		j.executions.decline(*e.Decline)
	}
	j.tell()
}

func (j *job) stateChanged(x protocol.Execution) {
	if !j.executions.change(x) {
		j.log.Debug("state of an unknown or ended attempt ignored", logging.Attempt(x.Attempt), zap.String("state", string(x.State)))
		return
	}
	if x.State == protocol.Failed && x.Failure != nil {
		j.log.Warn("task failed", logging.Attempt(x.Attempt), zap.String("cause", x.Failure.Message))
	}
	if x.State.Terminal() {
		j.tasksEnded()
	}
}

// passTime acts on what is overdue at now.
func (j *job) passTime(now time.Time) {
	if a, ok := j.executions.stubborn(now.Add(-j.tm.cfg.CancellationTimeout)); ok && j.tm.cfg.CancellationTimeout > 0 {
		j.killFor(fmt.Sprintf("task %s did not end within %s of its cancellation (task.cancellation.timeout)", a, j.tm.cfg.CancellationTimeout))
	}
	before := j.attachment.state
	if j.attachment.tick(now) {
		j.expire()
	}
	if before == attached && j.attachment.state != attached {
		j.log.Warn("job orphaned: its master is silent", zap.Time("heard", j.attachment.heardAt))
		if j.session != nil {
			signal(j.session.silent)
		}
	}
	j.tidy()
}

// expire ends a job whose master has not been heard for the orphan timeout. Its tasks' ends are kept.
func (j *job) expire() {
	reason := fmt.Sprintf("no JobMaster was heard for %s (taskmanager.job.orphan-timeout)", j.attachment.orphanTimeout)
	j.log.Warn("job expired: tasks are ended and slots freed", zap.String("reason", reason))
	j.executions.fail(j.executions.live(), &protocol.Failure{Message: reason})
	held := j.tm.slots.of(j.id) // not those leased anew while the process ends
	j.endProcess(func() {
		for _, a := range held {
			j.freeNow(a)
		}
		j.tidy()
	})
}

// killFor kills the process, whose tasks then fail for that reason.
func (j *job) killFor(reason string) {
	if j.worker != nil && j.worker.condemned == nil {
		j.log.Warn("job process killed", zap.String("reason", reason))
		j.worker.condemned = &protocol.Failure{Message: reason, Process: true}
		j.worker.kill()
	}
}

const (
	// discardTimeout is how long a job process may take to discard what its sinks have prepared before it is ended.
	discardTimeout = 3 * time.Second
	// startTimeout is added if it has to be started for that.
	startTimeout = 7 * time.Second
)

// releaseFor is release, after the process has discarded what the request names. A process that has ended, here or
// with another TaskManager, leaves the files of its sinks behind: another one is started to clean up.
func (j *job) releaseFor(r protocol.ReleaseJobRequest) {
	patience := discardTimeout
	if p := r.Prepare; p != nil && len(j.spec.Graph.Vertices) == 0 {
		j.spec = LaunchSpec{Graph: p.Graph, BlobServer: p.BlobServer}
	}
	if j.worker == nil && len(r.Sinks) > 0 && len(j.spec.Graph.Vertices) > 0 && !j.releasing && !j.tm.stopping {
		j.log.Info("job process is started once more, for its sinks to clean up")
		j.worker = j.startWorker(j.spec)
		patience += startTimeout
	}
	if w := j.worker; w != nil && len(r.Discard)+len(r.Sinks) > 0 && !j.releasing {
		discard := protocol.CancelTasksRequest{Job: j.id, Attempts: r.Discard, Discard: true, Completed: r.Completed, Sinks: r.Sinks}
		w.queue(command{method: protocol.WorkerCancel.Method, run: invoke(protocol.WorkerCancel, discard), done: w.kill})
		late := time.AfterFunc(patience, w.kill)
		w.afterwards = append(w.afterwards, func() { late.Stop() })
		w.lingers = true
	}
	j.release(r.Reason)
}

// release ends the job here for good.
func (j *job) release(reason string) {
	if j.releasing {
		return
	}
	j.releasing = true
	j.log.Info("job released", zap.String("reason", reason))
	j.endProcess(func() {
		if j.tm.stopping {
			return // the files go with the working directory
		}
		j.tm.spawn(func(ctx context.Context) {
			if err := j.tm.cfg.Launcher.Release(j.id); err != nil {
				j.log.Warn("files of a released job not removed", zap.Error(err))
			}
			j.tm.main.Post(ctx, j.remove)
		})
	})
}

// endProcess kills the process, unless that will happen by itself, and calls then when nothing of it is left.
func (j *job) endProcess(then func()) {
	if j.worker == nil {
		then()
		return
	}
	j.worker.afterwards = append(j.worker.afterwards, then)
	if !j.worker.lingers {
		j.worker.kill()
	}
}

// tidy removes the job when there is nothing left to hold: no slot, no task, no news, or news that nobody
// came for. The process goes first.
func (j *job) tidy() {
	untaken := !j.executions.settled() && time.Since(j.attachment.heardAt) < max(j.attachment.orphanTimeout, j.tm.cfg.SlotTimeout)
	if j.releasing || len(j.tm.slots.of(j.id)) > 0 || len(j.executions.live()) > 0 || untaken {
		return
	}
	j.release("neither slots nor tasks are left")
}

// remove is the end of the job here.
func (j *job) remove() {
	if j.tm.slots.releaseJob(j.id) > 0 {
		j.tm.slotsChanged()
	}
	if j.tm.jobs[j.id] == j {
		delete(j.tm.jobs, j.id)
		j.unfollow()
		close(j.gone)
	}
}

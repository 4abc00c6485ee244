package taskmanager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// registerCalls binds the RPCs: those of the ResourceManager behind one fence, those of JobMasters behind
// one fence for each job.
func (tm *TaskManager) registerCalls() {
	rpc.Handle(tm.endpoint, protocol.RequestSlot, rpc.GuardFunc(tm.admitResourceManager), tm.requestSlot)
	rpc.Handle(tm.endpoint, protocol.ResourceManagerHeartbeat, rpc.GuardFunc(tm.admitResourceManager), tm.resourceManagerHeartbeat)

	handleJob(tm, protocol.DeployTasks, func(r protocol.DeployTasksRequest) id.Job { return r.Job }, (*job).deploy)
	handleJob(tm, protocol.CancelTasks, func(r protocol.CancelTasksRequest) id.Job { return r.Job }, (*job).cancel)
	handleJob(tm, protocol.TriggerCheckpoint, func(r protocol.TriggerCheckpointRequest) id.Job { return r.Job }, (*job).trigger)
	handleJob(tm, protocol.CompleteCheckpoint, func(r protocol.CompleteCheckpointRequest) id.Job { return r.Job }, (*job).complete)
	handleJob(tm, protocol.AbortCheckpoint, func(r protocol.AbortCheckpointRequest) id.Job { return r.Job }, (*job).abort)
	handleJob(tm, protocol.FinishTasks, func(r protocol.FinishTasksRequest) id.Job { return r.Job }, (*job).finish)
	handleJob(tm, protocol.ReleaseSlots, func(r protocol.ReleaseSlotsRequest) id.Job { return r.Job }, (*job).releaseSlots)
	handleJob(tm, protocol.JobMasterHeartbeat, func(r protocol.JobMasterHeartbeatRequest) id.Job { return r.Job }, (*job).heartbeat)

	rpc.HandleAsync(tm.endpoint, protocol.PrepareJob, tm.jobGuard(func(r any) id.Job { return r.(protocol.PrepareJobRequest).Job }), tm.prepareJob)
	// Releasing a job is decided in the guard, in one step with the check of the token: were it decided
	// after, a new master could adopt the job between the check of its predecessor's message and the kill.
	rpc.HandleAsync(tm.endpoint, protocol.ReleaseJob, rpc.GuardFunc(func(token id.FencingToken, r any) error {
		request := r.(protocol.ReleaseJobRequest)
		if err := tm.admitJobMaster(request.Job, token); err != nil {
			return err
		}
		j := tm.jobs[request.Job]
		if j == nil && request.Prepare != nil {
			j = tm.newJob(request.Job)
		}
		if j != nil {
			j.releaseFor(request)
		}
		return nil
	}), tm.awaitRelease)
}

// handleJob registers a call about one job that is decided at once. When the job has nothing here the
// answer is ErrUnknownJob, except for calls that only take away: their work is done already.
func handleJob[Req, Resp any](tm *TaskManager, call protocol.Call[Req, Resp], jobOf func(Req) id.Job, f func(*job, Req) (Resp, error)) {
	rpc.Handle(tm.endpoint, call, tm.jobGuard(func(r any) id.Job { return jobOf(r.(Req)) }), func(r Req) (resp Resp, err error) {
		if j := tm.jobs[jobOf(r)]; j != nil && !j.releasing {
			return f(j, r)
		}
		switch any(r).(type) {
		case protocol.CancelTasksRequest, protocol.AbortCheckpointRequest, protocol.ReleaseSlotsRequest:
			return resp, nil
		}
		return resp, fmt.Errorf("%w: task manager %s holds nothing of job %s", protocol.ErrUnknownJob, tm.cfg.ID, jobOf(r))
	})
}

func (tm *TaskManager) jobGuard(jobOf func(any) id.Job) rpc.Guard {
	return rpc.GuardFunc(func(token id.FencingToken, r any) error { return tm.admitJobMaster(jobOf(r), token) })
}

// admitResourceManager checks a call of a ResourceManager.
func (tm *TaskManager) admitResourceManager(token id.FencingToken, _ any) error {
	if tm.stopping {
		return rpc.ErrStopped
	}
	return tm.count(tm.rmFence.Observe(token))
}

// admitJobMaster checks a call of a JobMaster and takes it as a sign of life.
func (tm *TaskManager) admitJobMaster(j id.Job, token id.FencingToken) error {
	if tm.stopping {
		return rpc.ErrStopped
	}
	now := time.Now()
	if j := tm.jobs[j]; j != nil {
		return tm.count(j.attachment.heard(token, now))
	}
	return tm.count(tm.fences.of(j, now).Observe(token))
}

func (tm *TaskManager) count(err error) error {
	if errors.Is(err, rpc.ErrFenced) {
		tm.fenced.Add(1)
	}
	return err
}

func (tm *TaskManager) requestSlot(r protocol.RequestSlotRequest) (protocol.SlotReport, error) {
	j := tm.jobs[r.Job]
	if j != nil && j.releasing {
		return protocol.SlotReport{}, fmt.Errorf("%w: job %s is being released", protocol.ErrSlotTaken, r.Job)
	}
	before := tm.slots.version
	if err := tm.slots.lease(r, time.Now()); err != nil {
		return protocol.SlotReport{}, err
	}
	if tm.slots.version != before {
		if j == nil {
			j = tm.newJob(r.Job)
		}
		j.leased(r.Allocation)
		tm.slotsChanged()
	}
	return tm.slotReport(), nil
}

func (tm *TaskManager) resourceManagerHeartbeat(r protocol.ResourceManagerHeartbeatRequest) (protocol.SlotReport, error) {
	if r.Instance != tm.instance {
		return protocol.SlotReport{}, fmt.Errorf("%w: instance %s is gone, this is %s", protocol.ErrUnknownTaskManager, r.Instance, tm.instance)
	}
	tm.rm.heardAt = time.Now()
	return tm.slotReport(), nil
}

// prepareJob makes sure that the job's process runs, and waits for it. It runs on the caller's goroutine.
func (tm *TaskManager) prepareJob(ctx context.Context, r protocol.PrepareJobRequest) (protocol.PreparedJob, error) {
	w, err := rpc.Call(ctx, tm.main, func() (*worker, error) {
		j := tm.jobs[r.Job]
		if tm.stopping || j == nil || j.releasing || len(tm.slots.of(r.Job)) == 0 {
			return nil, fmt.Errorf("%w: task manager %s has no slot of job %s", protocol.ErrUnknownAllocation, tm.cfg.ID, r.Job)
		}
		return j.prepare(LaunchSpec{Graph: r.Graph, BlobServer: r.BlobServer}), nil
	})
	if err != nil {
		return protocol.PreparedJob{}, err
	}
	select {
	case <-w.ready:
		return protocol.PreparedJob{DataAddress: w.address}, w.err
	case <-ctx.Done():
		return protocol.PreparedJob{}, ctx.Err()
	}
}

// awaitRelease waits until nothing of a job is left. It runs on the caller's goroutine.
func (tm *TaskManager) awaitRelease(ctx context.Context, r protocol.ReleaseJobRequest) (protocol.Empty, error) {
	j, err := rpc.Call(ctx, tm.main, func() (*job, error) { return tm.jobs[r.Job], nil })
	if err != nil || j == nil {
		return protocol.Empty{}, err
	}
	select {
	case <-j.gone:
		return protocol.Empty{}, nil
	case <-ctx.Done():
		return protocol.Empty{}, ctx.Err()
	}
}

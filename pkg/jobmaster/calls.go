package jobmaster

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// registerCalls binds the RPCs that TaskManagers make. All are fenced by the token of the term.
func (t *term) registerCalls() {
	rpc.HandleAsync(t.endpoint, protocol.RegisterAtJobMaster, &t.fence, t.admitTaskManager)
	rpc.Handle(t.endpoint, protocol.OfferSlots, &t.fence, t.offerSlots)
	rpc.Handle(t.endpoint, protocol.TaskStateChanged, &t.fence, t.taskStateChanged)
	rpc.Handle(t.endpoint, protocol.AcknowledgeCheckpoint, &t.fence, t.acknowledge)
	rpc.Handle(t.endpoint, protocol.DeclineCheckpoint, &t.fence, t.decline)
}

// ready checks that a call is for this job and that the term has begun. Main thread, as all below.
func (t *term) ready(job id.Job) error {
	if job != t.jm.id {
		return fmt.Errorf("%w: this is the master of job %s", protocol.ErrUnknownJob, t.jm.id)
	}
	if !t.begun {
		return protocol.ErrNotReady
	}
	return nil
}

// admitTaskManager registers a TaskManager, once the term has begun. The address is published a moment before,
// and TaskManagers are there at once: one that was sent away would come back later than need be. It runs on the
// caller's goroutine.
func (t *term) admitTaskManager(ctx context.Context, r protocol.RegisterAtJobMasterRequest) (answer protocol.RegisteredAtJobMaster, err error) {
	select {
	case <-t.beginning:
	case <-t.over:
		return answer, rpc.ErrStopped
	case <-ctx.Done():
		return answer, ctx.Err()
	}
	return rpc.Call(ctx, t.main, func() (protocol.RegisteredAtJobMaster, error) { return t.registerTaskManager(r) })
}

// registerTaskManager runs on the main thread, as all below.
func (t *term) registerTaskManager(r protocol.RegisterAtJobMasterRequest) (protocol.RegisteredAtJobMaster, error) {
	if err := t.ready(r.Job); err != nil {
		return protocol.RegisteredAtJobMaster{}, err
	}
	if _, err := rpc.ParseAddress(r.Address); err != nil {
		return protocol.RegisteredAtJobMaster{}, err
	}
	now, m := time.Now(), member{r.TaskManager, r.Instance}
	t.heard(t.sessions[m], now)
	answer, actions, err := t.schedule.register(now, m, r.Address, r.Report)
	t.perform(actions)
	if err != nil {
		return protocol.RegisteredAtJobMaster{}, err
	}
	if s := t.sessions[m]; s != nil {
		s.registrations++
	}
	t.log.Debug("task manager registered", logging.TaskManager(m.id), zap.Int("executions", len(r.Report.Executions)))
	return protocol.RegisteredAtJobMaster{
		Cancel: answer.cancel, RejectedSlots: answer.rejected,
		HeartbeatInterval: t.jm.cfg.HeartbeatInterval, HeartbeatTimeout: t.jm.cfg.HeartbeatTimeout,
		Process: t.jm.cfg.RPC.Transport().Process(),
	}, nil
}

func (t *term) offerSlots(r protocol.OfferSlotsRequest) (protocol.OfferedSlots, error) {
	if err := t.ready(r.Job); err != nil {
		return protocol.OfferedSlots{}, err
	}
	now, m := time.Now(), member{r.TaskManager, r.Instance}
	t.heard(t.sessions[m], now)
	rejected, actions, err := t.schedule.offer(now, m, r.Allocations)
	t.perform(actions)
	return protocol.OfferedSlots{Rejected: rejected}, err
}

func (t *term) taskStateChanged(r protocol.TaskStateChangedRequest) (protocol.Empty, error) {
	if err := t.ready(r.Job); err != nil {
		return protocol.Empty{}, err
	}
	now, m := time.Now(), member{r.TaskManager, r.Instance}
	t.heard(t.sessions[m], now)
	actions, err := t.schedule.report(now, m, r.Executions)
	t.perform(actions)
	return protocol.Empty{}, err
}

func (t *term) acknowledge(r protocol.AcknowledgeCheckpointRequest) (protocol.Empty, error) {
	if err := t.ready(r.Job); err != nil {
		return protocol.Empty{}, err
	}
	now := time.Now()
	if err := t.member(now, member{r.TaskManager, r.Instance}); err != nil {
		return protocol.Empty{}, err
	}
	t.perform(t.coordinate(t.coordinator.Acknowledge(now, r)))
	return protocol.Empty{}, nil
}

func (t *term) decline(r protocol.DeclineCheckpointRequest) (protocol.Empty, error) {
	if err := t.ready(r.Job); err != nil {
		return protocol.Empty{}, err
	}
	now := time.Now()
	if err := t.member(now, member{r.TaskManager, r.Instance}); err != nil {
		return protocol.Empty{}, err
	}
	t.perform(t.coordinate(t.coordinator.Decline(now, r)))
	return protocol.Empty{}, nil
}

// member takes a call as a sign of life of a TaskManager that has registered. Another one must register first: if
// it was answered, it would take that for a word of its master, and go on with tasks that were given to others.
func (t *term) member(now time.Time, m member) error {
	if _, ok := t.schedule.members[m]; !ok {
		return protocol.ErrUnknownTaskManager
	}
	t.heard(t.sessions[m], now)
	return nil
}

package jobmaster

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/checkpoint"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// carryOut does what the schedule wants, and returns what follows at once. Main thread.
func (t *term) carryOut(a action) []action {
	switch a := a.(type) {
	case writeLedger:
		if a.ledger.Wave > t.wave {
			t.coordinator.Restored(time.Now(), a.ledger.RestoredFrom)
		}
		if a.ledger.Wave > t.wave && a.ledger.RestoredFrom > 0 {
			t.log.Info("tasks restart from a checkpoint", logging.Checkpoint(a.ledger.RestoredFrom), zap.Int("wave", a.ledger.Wave))
		}
		t.wave = max(t.wave, a.ledger.Wave)
		t.write("ledger", func(ctx context.Context) error { return t.jm.ledger.Put(ctx, t.token, a.ledger) },
			func(now time.Time) []action { return t.schedule.ledgerWritten(now, a.ledger.Wave) })
	case storeIntent:
		t.log.Info("job is going to end", zap.String("intent", string(a.intent.Kind)))
		t.write("intent", func(ctx context.Context) error { return t.jm.intent.Put(ctx, t.token, a.intent) },
			func(now time.Time) []action { return t.intentStored(now, a.intent.Kind) })
	case dropIntent:
		t.write("intent", func(ctx context.Context) error { return t.jm.intent.Delete(ctx, t.token) }, t.schedule.intentDropped)
	case prepareJob, deployTasks, cancelTasks, finishTasks, releaseSlots:
		t.sendTasks(a)
	case declareSlots:
		signal(t.declare)
	case beginCheckpoints:
		return t.coordinate(t.coordinator.Begin(time.Now(), a.tasks, a.first))
	case suspendCheckpoints:
		return t.coordinate(t.coordinator.Suspend(time.Now(), a.reason))
	case lastCheckpoint:
		if !t.coordinator.Enabled() {
			return t.schedule.finalCheckpoint(time.Now())
		}
		return t.coordinate(t.coordinator.Drained(time.Now()))
	case adoptionOver:
		t.adopted(a)
	case jobEnded:
		t.end()
	}
	return nil
}

// write puts a fenced change in order behind the others. It is repeated while the term lasts: what follows
// must not happen without it.
func (t *term) write(what string, put func(context.Context) error, done func(now time.Time) []action) {
	t.writes.put(func(ctx context.Context) error {
		for pause := firstPause; ; pause = min(2*pause, lastPause) {
			err := put(ctx)
			switch {
			case err == nil:
				t.post(done)
				return nil
			case errors.Is(err, haservices.ErrNotLeader):
				return err
			case ctx.Err() != nil:
				return nil
			}
			t.log.Warn("could not write", zap.String("what", what), logging.RetryIn(pause), zap.Error(err))
			if sleep(ctx, pause) != nil {
				return nil
			}
		}
	})
}

func (t *term) intentStored(now time.Time, kind haservices.IntentKind) []action {
	if kind == haservices.CancelIntent || kind == haservices.FailIntent {
		for _, w := range t.waiters {
			close(w)
		}
		t.waiters = nil
	}
	return t.schedule.intentStored(now, kind)
}

// adopted tells the adopted attempts where checkpoints stand: all up to the latest are complete (sinks
// commit again, which is harmless), and those that were in progress never will be. Main thread.
func (t *term) adopted(a adoptionOver) {
	tasks, running := t.schedule.survivors()
	t.jm.election.Adopted(t.token, time.Now(), tasks, running)
	t.log.Info("job adopted", zap.Int("tasks", tasks), zap.Int("running", running), logging.Took(t.sinceLoss()))
	done := int64(0)
	if latest := t.coordinator.Latest(); latest != nil {
		done = latest.ID
		t.tellComplete(done, a.attempts)
	}
	if t.lastID > done {
		t.tellAbort(done+1, t.lastID)
	}
}

// sinceLoss is how long ago this process noticed that the job had lost its master.
func (t *term) sinceLoss() time.Duration {
	record, _ := t.jm.election.Record(t.token)
	return time.Since(record.Detected)
}

// end begins the conclusion. Main thread.
func (t *term) end() {
	d := t.details(time.Now())
	d.JobMasterEpoch = 0
	targets, clean := farewells{}, map[attemptID]bool{}
	for _, e := range t.schedule.executions {
		if e.place != (place{}) {
			targets.add(e.place.member, e.place.address, e.attempt)
			clean[e.attempt] = e.discarded
		}
	}
	for m, address := range t.schedule.members {
		targets.add(m, address)
	}
	if t.schedule.discards() {
		targets.discard(t.schedule.graph, t.schedule.latest, clean)
	}
	rm, known := t.rm, t.rmKnown
	t.group.Go(func() error { return t.conclude(t.ctx, d, targets, rm, known) })
}

// coordinate does what the coordinator wants, and returns what follows for the schedule. Main thread.
func (t *term) coordinate(list []checkpoint.Action) (follow []action) {
	for _, a := range list {
		switch a := a.(type) {
		case checkpoint.AskID:
			t.group.Go(func() error { return t.nextCheckpointID(t.ctx) })
		case checkpoint.Trigger:
			t.trigger(a)
		case checkpoint.Store:
			t.schedule.storingCheckpoint()
			t.group.Go(func() error { return t.storeCheckpoint(t.ctx, a.Completed) })
		case checkpoint.Complete:
			t.log.Debug("checkpoint completed", logging.Checkpoint(a.Checkpoint))
			t.tellComplete(a.Checkpoint, a.Attempts)
		case checkpoint.Abort:
			t.log.Info("checkpoint given up", logging.Checkpoint(a.First), zap.String("reason", a.Reason))
			t.tellAbort(a.First, a.Last)
		case checkpoint.FailTasks:
			follow = append(follow, t.schedule.failAll(time.Now(), a.Failure)...)
		case checkpoint.Final:
			follow = append(follow, t.schedule.finalCheckpoint(time.Now())...)
		}
	}
	return follow
}

func (t *term) nextCheckpointID(ctx context.Context) error {
	n, err := t.jm.ids.Next(ctx, t.token)
	switch {
	case err == nil:
		t.postCheckpoint(func(now time.Time) []checkpoint.Action { return t.coordinator.IDAssigned(now, n) })
	case errors.Is(err, haservices.ErrNotLeader):
		return err
	case ctx.Err() == nil:
		t.log.Warn("no checkpoint ID", zap.Error(err))
		t.postCheckpoint(t.coordinator.IDRefused)
	}
	return nil
}

// storeCheckpoint stores cp. While it is unknown whether the store has it, the same is stored again:
// then it is there, whichever try did it.
func (t *term) storeCheckpoint(ctx context.Context, cp *checkpoint.Completed) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := t.jm.checkpoints.Add(ctx, t.token, cp)
		switch {
		case errors.Is(err, haservices.ErrNotLeader):
			return err
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, haservices.ErrUnknownOutcome), errors.Is(err, haservices.ErrUnavailable):
			t.log.Warn("checkpoint is not stored yet", logging.Checkpoint(cp.ID), logging.RetryIn(pause), zap.Error(err))
			if sleep(ctx, pause) != nil {
				return nil
			}
		default:
			t.main.Post(ctx, func() { t.checkpointStored(time.Now(), cp, err) })
			return nil
		}
	}
}

// checkpointStored takes the fate of a checkpoint in. The tasks are told before any restart that follows.
// Main thread.
func (t *term) checkpointStored(now time.Time, cp *checkpoint.Completed, err error) {
	if err != nil {
		t.log.Warn("checkpoint could not be stored", logging.Checkpoint(cp.ID), zap.Error(err))
	} else {
		t.subsume(cp)
	}
	actions := t.coordinate(t.coordinator.Stored(now, cp.ID, err))
	t.perform(append(actions, t.schedule.checkpointStored(now, t.coordinator.Latest())...))
}

// subsume drops what cp made superfluous, when nothing else is being dropped: nobody waits for it, and a slow
// file system must hold up neither the sinks nor the next checkpoint. Main thread.
func (t *term) subsume(cp *checkpoint.Completed) {
	t.subsuming.Store(cp.ID)
	t.drops.put(func(ctx context.Context) error {
		if t.subsuming.Load() != cp.ID {
			return nil // a newer one is next, and drops the same and more
		}
		err := t.jm.checkpoints.Subsume(ctx, t.token, cp, t.jm.cfg.Job.Graph.Checkpointing.Retained)
		if err != nil && ctx.Err() == nil {
			t.log.Warn("old checkpoints stay until the next one", logging.Checkpoint(cp.ID), zap.Error(err))
		}
		return nil
	})
}

func (t *term) trigger(a checkpoint.Trigger) {
	t.log.Debug("checkpoint triggered", logging.Checkpoint(a.Checkpoint))
	t.byMember(a.Sources, func(s *session, list []attemptID) {
		request := protocol.TriggerCheckpointRequest{
			Job: t.jm.id, Checkpoint: a.Checkpoint, Sources: list, Dir: a.Dir, Epoch: t.token.Epoch(),
		}
		t.send(s, "trigger checkpoint", call(protocol.TriggerCheckpoint, request), func(err error) {
			if err == nil {
				return
			}
			t.postCheckpoint(func(now time.Time) []checkpoint.Action {
				return t.coordinator.Decline(now, protocol.DeclineCheckpointRequest{
					Job: t.jm.id, Attempt: list[0], Checkpoint: a.Checkpoint, Reason: err.Error(),
				})
			})
		})
	})
}

func (t *term) tellComplete(n int64, attempts []attemptID) {
	t.byMember(attempts, func(s *session, list []attemptID) {
		request := protocol.CompleteCheckpointRequest{Job: t.jm.id, Checkpoint: n, Attempts: list}
		t.send(s, "complete checkpoint", call(protocol.CompleteCheckpoint, request), nil)
	})
}

func (t *term) tellAbort(first, last int64) {
	for _, m := range t.schedule.connected() {
		request := protocol.AbortCheckpointRequest{Job: t.jm.id, First: first, Last: last}
		t.send(t.sessions[m], "abort checkpoint", call(protocol.AbortCheckpoint, request), nil)
	}
}

// byMember splits attempts by the TaskManager that has them, if it is connected. Main thread.
func (t *term) byMember(attempts []attemptID, do func(s *session, list []attemptID)) {
	var list []*execution
	for _, a := range attempts {
		if e := t.schedule.execution(a); e != nil && t.sessions[e.place.member] != nil {
			list = append(list, e)
		}
	}
	send(list, func(m member, attempts []id.ExecutionAttempt) { do(t.sessions[m], attempts) })
}

// call makes a request into something that a session can send.
func call[Req, Resp any](c protocol.Call[Req, Resp], request Req) func(context.Context, rpc.Gateway) error {
	return func(ctx context.Context, g rpc.Gateway) error {
		_, err := rpc.Invoke(ctx, g, c, request)
		return err
	}
}

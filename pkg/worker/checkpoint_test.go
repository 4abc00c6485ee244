package worker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

func TestRestoreReadsStateFiles(t *testing.T) {
	run(t, script{}, func(b *bench) {
		b.must(b.fs.Create(b.ctx, "/chk-7/part", strings.NewReader("saved")))
		req := deployments(3)
		req.Tasks[0].Restore = &protocol.RestoredState{Checkpoint: 7, Operators: []protocol.OperatorState{{
			UID: "source", Raw: []byte{5}, Keyed: []protocol.KeyedState{{File: "/chk-7/part"}},
		}}}
		req.Tasks[2].Restore = &protocol.RestoredState{Checkpoint: 7, Operators: []protocol.OperatorState{{
			UID: "source", Raw: []byte{5}, Keyed: []protocol.KeyedState{{File: "/chk-7/lost"}},
		}}}
		b.deploy(req)
		got := b.news()
		if !slices.ContainsFunc(got, func(l string) bool {
			return strings.HasPrefix(l, "source-1/3 FAILED: Source (2/2):") && strings.Contains(l, "not found")
		}) {
			t.Errorf("events %q, want a failure of source-1 because its file is not there", got)
		}
		if heard := b.program.heard(); !slices.Contains(heard, `source-0 restored "saved"`) {
			t.Errorf("chains said %q", heard)
		}
	})
}

func TestCheckpointInterruptsAnIdleSource(t *testing.T) {
	run(t, script{}, func(b *bench) {
		req := deployments(0)
		b.deploy(req)
		b.news()
		b.trigger(1, req)
		if got := b.news(); len(got) != 4 {
			t.Errorf("events %q, want four acknowledgements", got)
		}
		b.trigger(1, req)
		b.expect()
		err := b.TriggerCheckpoint(b.ctx, protocol.TriggerCheckpointRequest{Checkpoint: 2, Sources: attempts(req, sourceID), Epoch: 3})
		if !errors.Is(err, rpc.ErrFenced) {
			t.Errorf("trigger of an older epoch = %v, want ErrFenced", err)
		}
		b.expect()
	})
}

func TestAbortUnblocksAlignment(t *testing.T) {
	s := script{poll: func(c *fakeChain, ctx, read context.Context) (Polled, error) {
		select {
		case <-read.Done():
			return Polled{Dry: true}, ctx.Err()
		case <-time.After(time.Second):
			c.emit()
			return Polled{Records: 1, Dry: true}, nil
		}
	}}
	run(t, s, func(b *bench) {
		req := deployments(0)
		b.deploy(req)
		b.news()
		one := req
		one.Tasks = req.Tasks[:1] // only source-0 sends the barrier
		b.trigger(1, one)
		if got := b.news(); len(got) != 1 || !strings.HasPrefix(got[0], "source-0/0 acknowledged 1") {
			t.Errorf("events %q, want only the acknowledgement of source-0", got)
		}
		before := recordsIn(b, sinkID)
		<-time.After(10 * time.Second)
		synctest.Wait()
		held := recordsIn(b, sinkID) - before
		if held < 8 || held > 12 {
			t.Errorf("a sink took %d records in 10 s of alignment, want those of one source", held)
		}
		b.must(b.AbortCheckpoint(b.ctx, protocol.AbortCheckpointRequest{First: 1, Last: 1}))
		if after := recordsIn(b, sinkID) - before; after < 19 {
			t.Errorf("after the abort a sink has taken %d records, want those of both sources", after)
		}
		b.trigger(2, req)
		if got := b.news(); len(got) != 4 {
			t.Errorf("events %q, want four acknowledgements of 2", got)
		}
	})
}

func TestHigherBarrierOvertakes(t *testing.T) {
	run(t, script{}, func(b *bench) {
		req := deployments(0)
		b.deploy(req)
		b.news()
		one := req
		one.Tasks = req.Tasks[:1]
		b.trigger(1, one)
		b.news()
		b.trigger(2, req)
		got := strings.Join(b.news(), "\n")
		for _, want := range []string{
			"sink-0/0 declined 1: checkpoint 2 has begun", "sink-1/0 declined 1", "sink-0/0 acknowledged 2", "sink-1/0 acknowledged 2",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in:\n%s", want, got)
			}
		}
	})
}

func TestUnwritableStateDeclines(t *testing.T) {
	run(t, script{}, func(b *bench) {
		req := deployments(0)
		b.deploy(req)
		b.news()
		b.fs.Hook(func(o filesystem.Operation) error {
			if strings.Contains(o.Path, sinkID.String()) {
				return errors.New("disk full")
			}
			return nil
		})
		b.trigger(1, req)
		got := strings.Join(b.news(), "\n")
		if !strings.Contains(got, "sink-0/0 declined 1") || !strings.Contains(got, "disk full") || strings.Contains(got, "FAILED") {
			t.Errorf("events:\n%s\nwant the sinks to decline and to live on", got)
		}
		b.fs.Hook(nil)
		b.trigger(2, req)
		if got := b.news(); len(got) != 4 {
			t.Errorf("events %q, want four acknowledgements of 2", got)
		}
	})
}

func TestFailedSnapshotFailsTheTask(t *testing.T) {
	s := script{snapshot: func(c *fakeChain, n int64) error {
		if c.task.Vertex.ID == sinkID {
			return errors.New("cannot prepare")
		}
		return nil
	}}
	run(t, s, func(b *bench) {
		req := deployments(0)
		b.deploy(req)
		b.news()
		b.trigger(1, req)
		got := strings.Join(b.news(), "\n")
		if !strings.Contains(got, "sink-0/0 FAILED: Sink (1/2): snapshot for checkpoint 1: cannot prepare") {
			t.Errorf("events:\n%s", got)
		}
	})
}

func recordsIn(b *bench, v id.Vertex) (n int64) {
	metrics, err := b.Metrics(b.ctx)
	b.must(err)
	for _, a := range metrics.Attempts {
		if a.Attempt.Vertex == v && a.Attempt.Subtask == 0 {
			n = a.Metrics.RecordsIn
		}
	}
	return n
}

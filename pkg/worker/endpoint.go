package worker

import (
	"context"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// Endpoint offers the worker's methods as RPCs. Its guard lets everything pass: the socket belongs to the
// TaskManager alone, which has checked the token already.
func (w *Worker) Endpoint() *rpc.Endpoint {
	e := rpc.NewEndpoint(protocol.WorkerEndpoint, w.main)
	open := rpc.GuardFunc(func(id.FencingToken, any) error { return nil })
	rpc.HandleAsync(e, protocol.StartWorker, open, w.Start)
	rpc.HandleAsync(e, protocol.WorkerDeploy, open, plain(w.Deploy))
	rpc.HandleAsync(e, protocol.WorkerCancel, open, plain(w.Cancel))
	rpc.HandleAsync(e, protocol.WorkerTriggerCheckpoint, open, plain(w.TriggerCheckpoint))
	rpc.HandleAsync(e, protocol.WorkerCompleteCheckpoint, open, plain(w.CompleteCheckpoint))
	rpc.HandleAsync(e, protocol.WorkerAbortCheckpoint, open, plain(w.AbortCheckpoint))
	rpc.HandleAsync(e, protocol.WorkerFinish, open, plain(w.Finish))
	rpc.HandleAsync(e, protocol.WorkerEvents, open, w.Events)
	rpc.HandleAsync(e, protocol.WorkerMetrics, open, func(ctx context.Context, _ protocol.Empty) (protocol.WorkerMetricsAnswer, error) {
		return w.Metrics(ctx)
	})
	return e
}

// plain makes a call without an answer of f.
func plain[Req any](f func(context.Context, Req) error) func(context.Context, Req) (protocol.Empty, error) {
	return func(ctx context.Context, req Req) (protocol.Empty, error) { return protocol.Empty{}, f(ctx, req) }
}

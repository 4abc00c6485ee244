package entrypoint

import (
	"context"
	"os"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// serveProcess answers questions about this process until ctx ends. Everybody may ask: the answer is about no
// term of leadership.
func serveProcess(ctx context.Context, service *rpc.Service, services *haservices.Services) error {
	main := rpc.NewMainThread()
	e := rpc.NewEndpoint(protocol.ProcessEndpoint, main)
	anybody := rpc.GuardFunc(func(id.FencingToken, any) error { return nil })
	rpc.Handle(e, protocol.DescribeProcess, anybody, func(protocol.Empty) (protocol.ProcessStatus, error) {
		return protocol.ProcessStatus{
			PID: os.Getpid(), Process: service.Transport().Process(),
			FencedMessages: service.FencedMessages(), RefusedWrites: services.RefusedWrites(),
		}, nil
	})
	service.Add(e)
	defer service.Remove(e)
	return main.Run(ctx)
}

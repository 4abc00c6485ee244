package resourcemanager

import (
	"context"

	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// Overview is what ListTaskManagers answers, for the process itself: leading is false, and the list empty,
// while another process leads.
func (rm *ResourceManager) Overview(ctx context.Context) (list protocol.TaskManagerList, leading bool) {
	type overview struct {
		list    protocol.TaskManagerList
		leading bool
	}
	o, err := rpc.Call(ctx, rm.main, func() (overview, error) {
		if rm.term == nil {
			return overview{}, nil
		}
		return overview{rm.term.list(), true}, nil
	})
	return o.list, err == nil && o.leading
}

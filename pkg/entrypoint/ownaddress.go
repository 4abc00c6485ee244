package entrypoint

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// ownAddressPatience is how long a process waits to hear itself.
const ownAddressPatience = 2 * time.Second

// checkOwnAddress asks who answers at the address that a JobManager announces. The next in line watches the leader
// there: if nobody listens, it takes the leader for dead, and with type local it shoots it. Silence proves nothing
// about what others hear, unless they are on this very machine, as with local. t serves already.
func checkOwnAddress(ctx context.Context, cfg *config.Configuration, t *rpc.GRPC, log *zap.Logger) error {
	process, err := t.WhoAnswers(ctx, t.Address(), ownAddressPatience)
	switch {
	case ctx.Err() != nil:
		return nil // the process is stopping
	case err == nil && process == t.Process():
		return nil
	case err == nil:
		err = errors.New("another process answers")
	case errors.Is(err, rpc.ErrSilent) && config.HAType.In(cfg) != config.HALocal:
		log.Warn("this process does not hear itself at the address that it announces", zap.String("address", t.Address()), zap.Error(err))
		return nil
	}
	return fmt.Errorf("this JobManager announces itself at %s but is not found there: %w; correct %s, the host that others find it by, or %s, where it listens; the port comes from %s",
		t.Address(), err, config.JobManagerRPCAddress.Key, config.JobManagerBindHost.Key, config.HAJobManagerPort.Key)
}

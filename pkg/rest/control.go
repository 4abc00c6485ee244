package rest

import (
	"context"
	"fmt"
	"net/http"

	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

type empty struct{}

// cancel serves PATCH /jobs/:jobid and its GET twin, which the Web UI uses.
func (s *Server) cancel(r *http.Request) (int, any, error) {
	job, err := jobParameter(r)
	if err != nil {
		return 0, nil, err
	}
	switch mode := r.URL.Query().Get("mode"); mode {
	case "", "cancel":
	case "stop":
		return 0, nil, failWith(http.StatusPermanentRedirect, classHandler,
			"The termination mode \"stop\" has been removed. Cancel the job instead.")
	default:
		return 0, nil, badParameter("query", "mode", mode)
	}
	_, err = ask(r.Context(), s.dispatcher, protocol.CancelJob, protocol.CancelJobRequest{Job: job})
	return http.StatusAccepted, empty{}, unknownJob(job, err)
}

// stopCluster ends the leading JobManager's process in order. Unlike other calls it is not repeated: it
// would stop the next leader too.
func (s *Server) stopCluster(r *http.Request) (int, any, error) {
	_, err := askWhile(r.Context(), s.dispatcher, protocol.StopCluster, protocol.Empty{}, refused)
	switch {
	case r.Context().Err() == nil && isAny(err, rpc.ErrStopped, context.Canceled):
		err = nil // the leader left faster than its answer
	case isAny(err, rpc.ErrUnreachable, context.DeadlineExceeded):
		err = fmt.Errorf("%w: %w", errNoLeader, err)
	}
	return http.StatusOK, empty{}, err
}

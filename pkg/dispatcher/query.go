package dispatcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// detailsTimeout bounds how long a JobMaster may take to describe its job; after it, what the
// Dispatcher knows is shown.
const detailsTimeout = 2 * time.Second

// endpoint is the term's RPC side. ctx is the term's.
func (t *term) endpoint(ctx context.Context) *rpc.Endpoint {
	e := rpc.NewEndpoint(protocol.DispatcherEndpoint, t.main)
	rpc.HandleAsync(e, protocol.SubmitJob, &t.fence, func(call context.Context, req protocol.SubmitJobRequest) (protocol.Empty, error) {
		return t.submit(ctx, call, req)
	})
	rpc.HandleAsync(e, protocol.CancelJob, &t.fence, t.cancel)
	rpc.HandleAsync(e, protocol.ListJobs, &t.fence, t.list)
	rpc.HandleAsync(e, protocol.DescribeJob, &t.fence, t.describe)
	rpc.Handle(e, protocol.DescribeLeadership, &t.fence, t.describeLeadership)
	rpc.Handle(e, protocol.StopCluster, &t.fence, func(protocol.Empty) (protocol.Empty, error) {
		t.log.Info("cluster is asked to stop")
		t.cfg.Stop()
		return protocol.Empty{}, nil
	})
	return e
}

// snapshot is what the main thread says of a job.
type snapshot struct {
	*job
	phase    phase
	master   JobMaster
	overview protocol.JobOverview
	cause    error
}

func (j *job) snapshot() snapshot { return snapshot{j, j.phase, j.master, j.overview, j.cause} }

// find returns a job: ErrNotReady, ErrUnknownJob.
func (t *term) find(ctx context.Context, jobID id.Job) (snapshot, error) {
	return rpc.Call(ctx, t.main, func() (snapshot, error) {
		if !t.ready {
			return snapshot{}, protocol.ErrNotReady
		}
		j := t.jobs[jobID]
		if j == nil {
			return snapshot{}, fmt.Errorf("%w: %s", protocol.ErrUnknownJob, jobID)
		}
		return j.snapshot(), nil
	})
}

func (t *term) cancel(ctx context.Context, req protocol.CancelJobRequest) (protocol.Empty, error) {
	s, err := t.find(ctx, req.Job)
	if err != nil {
		return protocol.Empty{}, err
	}
	switch s.phase {
	case submitting:
		err = protocol.ErrNotReady
	case running:
		err = s.master.Cancel(ctx)
	case quarantined:
		err = fmt.Errorf("%w: it could not be recovered (%w); its files are kept", protocol.ErrJobEnded, s.cause)
	case ended:
		if s.overview.State != protocol.JobCanceled {
			err = fmt.Errorf("%w: job %s is %s", protocol.ErrJobEnded, req.Job, s.overview.State)
		}
	}
	return protocol.Empty{}, err
}

func (t *term) list(ctx context.Context, _ protocol.Empty) (protocol.JobList, error) {
	all, err := rpc.Call(ctx, t.main, func() (all []snapshot, err error) {
		if !t.ready {
			return nil, protocol.ErrNotReady
		}
		for _, j := range t.jobs {
			if j.phase != submitting { // not stored yet: nobody was promised anything
				all = append(all, j.snapshot())
			}
		}
		return all, nil
	})
	if err != nil {
		return protocol.JobList{}, err
	}
	list := protocol.JobList{Jobs: make([]protocol.JobOverview, len(all))}
	var asking sync.WaitGroup
	for i, s := range all {
		asking.Go(func() { list.Jobs[i] = t.overviewOf(ctx, s) })
	}
	asking.Wait()
	slices.SortFunc(list.Jobs, func(a, b protocol.JobOverview) int {
		return cmp.Or(a.Start.Compare(b.Start), slices.Compare(a.ID[:], b.ID[:]))
	})
	return list, nil
}

func (t *term) overviewOf(ctx context.Context, s snapshot) protocol.JobOverview {
	switch s.phase {
	case ended:
		return s.overview
	case quarantined:
		return unreadable(s).Overview
	default:
		return t.ask(ctx, s).Overview
	}
}

func (t *term) describe(ctx context.Context, req protocol.DescribeJobRequest) (protocol.JobDetails, error) {
	s, err := t.find(ctx, req.Job)
	if err != nil {
		return protocol.JobDetails{}, err
	}
	switch s.phase {
	case quarantined:
		return unreadable(s), nil
	case running:
		return t.ask(ctx, s), nil
	case submitting:
		return protocol.JobDetails{}, fmt.Errorf("%w: %s", protocol.ErrUnknownJob, req.Job)
	}
	result, err := t.results.Get(ctx, req.Job)
	if errors.Is(err, haservices.ErrNotFound) { // dropped as too old just now
		return protocol.JobDetails{}, fmt.Errorf("%w: %s", protocol.ErrUnknownJob, req.Job)
	}
	return result.Details, err
}

// ask lets the JobMaster describe its job. While it cannot, the Dispatcher says what it knows.
func (t *term) ask(ctx context.Context, s snapshot) protocol.JobDetails {
	ctx, cancel := context.WithTimeout(ctx, detailsTimeout)
	defer cancel()
	d, err := s.master.Details(ctx)
	if err == nil {
		return d
	}
	g := s.stored.Graph
	state := protocol.JobInitializing
	if s.recovered {
		state = protocol.JobReconciling // its tasks may be running all the time
	}
	d = protocol.JobDetails{
		Overview: protocol.JobOverview{
			ID: s.id, Name: g.Name, State: state, Start: s.stored.Submitted, LastModified: s.stored.Submitted,
			Tasks: map[protocol.TaskState]int{},
		},
		Graph:      g,
		StateTimes: map[protocol.JobState]time.Time{protocol.JobInitializing: s.stored.Submitted},
		Waiting:    "the job master is starting: " + err.Error(),
	}
	for _, v := range g.Vertices {
		d.Overview.Tasks[protocol.Created] += v.Parallelism
	}
	if s.cause != nil {
		d.Waiting = "the job master failed and is started again: " + s.cause.Error()
	}
	return d
}

// unreadable describes a job of which nothing is known but that it is stored. It is shown as FAILED, as
// users of the REST interface know no better state, but it has no result and may still be recovered.
func unreadable(s snapshot) protocol.JobDetails {
	return protocol.JobDetails{
		Overview: protocol.JobOverview{
			ID: s.id, Name: "(not recovered)", State: protocol.JobFailed, Tasks: map[protocol.TaskState]int{},
		},
		Failures: []protocol.JobFailure{{Failure: protocol.Failure{
			Message: fmt.Sprintf("job could not be recovered: %v; its files are kept, and reading them is tried again", s.cause),
		}}},
	}
}

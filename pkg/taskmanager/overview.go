package taskmanager

import (
	"cmp"
	"context"
	"slices"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// JobOverview is what this TaskManager has of one job, for the process itself.
type JobOverview struct {
	ID id.Job
	// Name is empty until a process of the job was started.
	Name string
	// Orphaned: no JobMaster is heard.
	Orphaned bool
	// Tasks are the attempts that have not ended.
	Tasks []TaskOverview
}

// TaskOverview is one attempt with the name of its vertex.
type TaskOverview struct {
	protocol.Execution
	Vertex string
}

// Jobs describes the jobs that are here; none before and after Run.
func (tm *TaskManager) Jobs(ctx context.Context) []JobOverview {
	jobs, err := rpc.Call(ctx, tm.main, func() (list []JobOverview, _ error) {
		for _, j := range tm.jobs {
			list = append(list, j.overview())
		}
		return list, nil
	})
	if err != nil {
		return nil
	}
	slices.SortFunc(jobs, func(a, b JobOverview) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
	return jobs
}

// overview is made on the main thread.
func (j *job) overview() JobOverview {
	o := JobOverview{ID: j.id, Orphaned: j.attachment.state == orphaned}
	for _, x := range j.executions.byAttempt {
		if x.State.Terminal() {
			continue
		}
		t := TaskOverview{Execution: x.Execution}
		if j.worker != nil {
			if v := j.worker.spec.Graph.Vertex(x.Attempt.Vertex); v != nil {
				t.Vertex = v.Name
			}
		}
		o.Tasks = append(o.Tasks, t)
	}
	if j.worker != nil {
		o.Name = j.worker.spec.Graph.Name
	}
	return o
}

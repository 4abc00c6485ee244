package dispatcher

import (
	"context"
	"sync"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// jobs is what fake JobMasters of all processes know together: the TaskManagers, so to say.
type jobs struct {
	mu   sync.Mutex // guards all below
	jobs map[id.Job]*fakeJob
	// violations are broken promises of a Dispatcher.
	violations []string
}

type fakeJob struct {
	end       chan protocol.JobState // room for one: how the job is to end
	ending    protocol.JobState      // once it has ended, it ends so again
	runs      int
	active    map[string]int // JobMasters in Run, by process
	concluded bool           // conclude has returned nil
	released  int
	failures  int // that many Runs fail at once
}

func (j *jobs) job(job id.Job) *fakeJob {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.jobs[job] == nil {
		j.jobs[job] = &fakeJob{end: make(chan protocol.JobState, 1), active: map[string]int{}}
	}
	return j.jobs[job]
}

func (j *jobs) with(job id.Job, f func(*fakeJob)) {
	fake := j.job(job)
	j.mu.Lock()
	defer j.mu.Unlock()
	f(fake)
}

// finish ends a job.
func (j *jobs) finish(job id.Job, state protocol.JobState) {
	select {
	case j.job(job).end <- state:
	default:
	}
}

func (j *jobs) runs(job id.Job) (n int) {
	j.with(job, func(f *fakeJob) { n = f.runs })
	return n
}

func (j *jobs) broken() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.violations...)
}

// fakeMaster is the JobMaster of one job in one term.
type fakeMaster struct {
	jobs     *jobs
	process  string
	job      haservices.StoredJob
	conclude func(context.Context, protocol.JobDetails) error
}

func (m *fakeMaster) Run(ctx context.Context) error {
	job := m.job.Graph.ID
	var fail bool
	m.jobs.with(job, func(f *fakeJob) {
		f.runs++
		f.active[m.process]++
		if f.active[m.process] > 1 {
			m.jobs.violations = append(m.jobs.violations, "two job masters of one job at a time in "+m.process)
		}
		if f.concluded {
			m.jobs.violations = append(m.jobs.violations, "job "+job.String()+" ran again after its end")
		}
		fail = f.failures > 0
		f.failures--
	})
	defer m.jobs.with(job, func(f *fakeJob) { f.active[m.process]-- })
	if fail {
		return context.DeadlineExceeded
	}
	state := m.await(ctx)
	if state == "" {
		return ctx.Err()
	}
	d := m.details(state)
	for {
		err := m.conclude(ctx, d)
		if err == nil {
			m.jobs.with(job, func(f *fakeJob) { f.concluded = true })
			return nil
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// await returns how the job ends, or "" when ctx ends first.
func (m *fakeMaster) await(ctx context.Context) (state protocol.JobState) {
	fake := m.jobs.job(m.job.Graph.ID)
	m.jobs.with(m.job.Graph.ID, func(f *fakeJob) { state = f.ending })
	if state != "" {
		return state
	}
	select {
	case state = <-fake.end:
		m.jobs.with(m.job.Graph.ID, func(f *fakeJob) { f.ending = state })
		return state
	case <-ctx.Done():
		return ""
	}
}

func (m *fakeMaster) Release(context.Context) error {
	m.jobs.with(m.job.Graph.ID, func(f *fakeJob) { f.released++ })
	return nil
}

func (m *fakeMaster) Cancel(context.Context) error {
	m.jobs.finish(m.job.Graph.ID, protocol.JobCanceled)
	return nil
}

func (m *fakeMaster) Details(context.Context) (protocol.JobDetails, error) {
	return m.details(protocol.JobRunning), nil
}

func (m *fakeMaster) details(state protocol.JobState) protocol.JobDetails {
	return protocol.JobDetails{
		Overview: protocol.JobOverview{ID: m.job.Graph.ID, Name: m.job.Graph.Name, State: state, Start: m.job.Submitted},
		Graph:    m.job.Graph,
	}
}

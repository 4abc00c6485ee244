package rest

import (
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

var (
	t0       = time.UnixMilli(1_700_000_000_000)
	finished = id.Job{0x11}
	failed   = id.Job{0x22}
	running  = id.Job{0x33}
	numbers  = id.Vertex{0xaa}
	sums     = id.Vertex{0xbb}
)

func after(d time.Duration) time.Time { return t0.Add(d) }

// sampleJob is a job that has ended, so that no figure depends on the clock.
func sampleJob(job id.Job, name string, state protocol.JobState) protocol.JobDetails {
	d := protocol.JobDetails{
		Overview: protocol.JobOverview{
			ID: job, Name: name, State: state, Start: t0, End: after(time.Minute), LastModified: after(time.Minute),
			Tasks: map[protocol.TaskState]int{protocol.Finished: 4}, Restarts: 1, Adoptions: 2,
		},
		Graph: jobgraph.JobGraph{
			ID: job, Name: name, MaxParallelism: 128, DefaultParallelism: 2,
			Vertices: []jobgraph.Vertex{
				{ID: numbers, Name: "Source: numbers -> Map", Parallelism: 2, Source: true,
					Operators: []jobgraph.Operator{{UID: "1", Name: "Source: numbers"}, {UID: "2", Name: "Map <T>"}}},
				{ID: sums, Name: "sums", Parallelism: 2, Operators: []jobgraph.Operator{{UID: "3", Name: "sums"}}},
			},
			Edges:         []jobgraph.Edge{{From: numbers, To: sums, Partition: jobgraph.Hash}},
			Checkpointing: jobgraph.Checkpointing{Interval: time.Second, Timeout: time.Minute, Dir: "file:///cp", Retained: 1},
			Config:        map[string]string{"parallelism.default": "2", "my.password": "hush"},
		},
		StateTimes: map[protocol.JobState]time.Time{protocol.JobCreated: t0, protocol.JobRunning: after(time.Second)},
		Checkpoints: protocol.CheckpointsSummary{
			Completed: 2, Failed: 1, Restored: 1,
			LatestRestored: &protocol.RestoredCheckpoint{ID: 1, At: after(1500 * time.Millisecond), Path: "file:///cp/chk-1"},
			Latest:         &protocol.CheckpointInfo{ID: 3, Status: "COMPLETED", Triggered: after(3 * time.Second), Ended: after(3100 * time.Millisecond), Bytes: 3000, Path: "file:///cp/chk-3"},
			History: []protocol.CheckpointInfo{
				{ID: 3, Status: "COMPLETED", Triggered: after(3 * time.Second), Ended: after(3100 * time.Millisecond), Bytes: 3000, Path: "file:///cp/chk-3"},
				{ID: 2, Status: "FAILED", Triggered: after(2 * time.Second), Ended: after(2500 * time.Millisecond), Failure: "leader changed"},
				{ID: 1, Status: "COMPLETED", Triggered: after(time.Second), Ended: after(1200 * time.Millisecond), Bytes: 1000, Path: "file:///cp/chk-1"},
			},
		},
	}
	for _, v := range d.Graph.Vertices {
		for subtask := range v.Parallelism {
			d.Subtasks = append(d.Subtasks, protocol.SubtaskDetails{
				Execution: protocol.Execution{
					Attempt: id.ExecutionAttempt{Vertex: v.ID, Subtask: subtask, Attempt: 1}, State: protocol.Finished,
					StartedAt: after(time.Duration(subtask+1) * time.Second),
					Metrics:   protocol.TaskMetrics{RecordsIn: 10, RecordsOut: int64(20 * (subtask + 1)), BytesIn: 100, BytesOut: 200, BusyMillis: 5, IdleMillis: 6, BackPressuredMillis: 7},
				},
				TaskManager: "tm-1", Host: "worker-1", EndedAt: after(time.Minute),
			})
		}
	}
	return d
}

func failedJob() protocol.JobDetails {
	d := sampleJob(failed, "broken", protocol.JobFailed)
	d.Failures = []protocol.JobFailure{
		{At: after(59 * time.Second), Task: "sums (1/2)", TaskManager: "tm-1", Failure: protocol.Failure{
			Message: "panic: index out of range [3] with length 3",
			Stack:   "goroutine 17 [running]:\nmain.sum(...)\n\t/src/job.go:42",
		}},
		{At: after(30 * time.Second), TaskManager: "tm-2", Failure: protocol.Failure{Message: "job process ended: signal: killed", Process: true}},
	}
	return d
}

func runningJob() protocol.JobDetails {
	d := sampleJob(running, "going", protocol.JobRunning)
	d.Overview.End = time.Time{}
	d.Overview.Tasks = map[protocol.TaskState]int{protocol.Running: 3, protocol.Deploying: 1}
	for i := range d.Subtasks {
		d.Subtasks[i].EndedAt = time.Time{}
		d.Subtasks[i].Execution.State = protocol.Running
	}
	d.Graph.Checkpointing.Interval = 0
	return d
}

func sampleTaskManagers() []protocol.TaskManagerInfo {
	return []protocol.TaskManagerInfo{{
		ID: "tm-1", Address: "tamias://worker-1:6122/task_manager", LastHeartbeat: after(time.Minute),
		Host: protocol.HostInfo{PID: 7, CPUs: 4, Memory: 8 << 30},
		Slots: []protocol.Slot{
			{Index: 0, Allocation: id.Allocation{1}, Job: running}, {Index: 1}, {Index: 2}, {Index: 3},
		},
	}}
}

func (f *fixture) sampleLeader(address string) *leaders {
	l := f.lead(address)
	l.jobs = []protocol.JobDetails{sampleJob(finished, "done", protocol.JobFinished), failedJob()}
	l.workers = sampleTaskManagers()
	return l
}

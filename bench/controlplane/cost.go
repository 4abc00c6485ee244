package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
)

// largest is the highest number of TaskManagers with a port each that costs are measured at.
const largest = 4000

// measureHeartbeats takes the CPU time of a JobManager whose TaskManagers get heartbeats every second, and of
// one whose TaskManagers get none: the difference is the heartbeats'.
func measureHeartbeats(ctx context.Context, b *bench) error {
	for _, size := range b.taskManagers {
		size = min(size, largest)
		var with, without heartbeats
		for _, m := range []struct {
			interval, timeout string
			result            *heartbeats
		}{{"1 s", "60 s", &with}, {"1 h", "2 h", &without}} {
			err := withTestbed(ctx, b, map[string]string{"heartbeat.interval": m.interval, "heartbeat.timeout": m.timeout}, func(ctx context.Context, t *testbed) error {
				b.say("heartbeat: %d TaskManagers, interval %s", size, m.interval)
				if err := t.grow(ctx, size, 2, b.portSharing(size)); err != nil {
					return err
				}
				if err := pause(ctx, 5*time.Second); err != nil {
					return err
				}
				var err error
				*m.result, err = t.countHeartbeats(ctx, fmt.Sprintf("heartbeat-%d-%s", size, m.interval[:1]+m.interval[2:]))
				return err
			})
			if err != nil {
				return err
			}
		}
		count := float64(max(with.count, 1))
		b.report.add("heartbeat",
			figure{"task_managers", float64(size)}, figure{"heartbeats", float64(with.count)},
			figure{"jobmanager_cpu_s", with.jobManager}, figure{"without_cpu_s", without.jobManager},
			figure{"cpu_us_per_heartbeat", (with.jobManager - without.jobManager) * 1e6 / count},
			figure{"fleet_cpu_us_per_heartbeat", (with.fleets - without.fleets) * 1e6 / count},
			figure{"others_cpu_s", with.others},
		)
	}
	return nil
}

type heartbeats struct {
	load
	count int64
}

func (t *testbed) countHeartbeats(ctx context.Context, name string) (h heartbeats, err error) {
	err = t.profileLeader(name, t.leaderPID(), func() error {
		before, err := t.witnessed(question{})
		if err != nil {
			return err
		}
		used := t.meter(t.leaderPID())
		if err := pause(ctx, t.bench.window); err != nil {
			return err
		}
		h.load = used()
		after, err := t.witnessed(question{})
		h.count = after.Heartbeats - before.Heartbeats
		return err
	})
	return h, err
}

// measureMemory takes the memory of a JobManager with more and more TaskManagers, then with more and more
// jobs of one task, then with a job of many tasks.
func measureMemory(ctx context.Context, b *bench) error {
	top := 0
	for _, size := range b.taskManagers {
		top = max(top, min(size, largest))
	}
	return withTestbed(ctx, b, nil, func(ctx context.Context, t *testbed) error {
		var steps memorySteps
		if err := steps.take(ctx, t, 0, 0, 0); err != nil {
			return err
		}
		for _, size := range []int{top / 4, top / 2, top} {
			b.say("memory: %d TaskManagers", size)
			if err := t.grow(ctx, size, 2, 1); err != nil {
				return err
			}
			if err := steps.take(ctx, t, size, 0, 0); err != nil {
				return err
			}
		}
		var jobs []id.Job
		for _, count := range []int{b.jobs / 4, b.jobs / 2, b.jobs} {
			count = min(count, top)
			b.say("memory: %d jobs", count)
			more, err := t.submit(ctx, count-len(jobs), 1, 0)
			if err != nil {
				return err
			}
			jobs = append(jobs, more...)
			if _, err := t.awaitRunning(ctx, jobs, 1); err != nil {
				return err
			}
			if err := steps.take(ctx, t, top, count, count); err != nil {
				return err
			}
		}
		wide := min(1000, top)
		b.say("memory: a job of %d tasks", wide)
		more, err := t.submit(ctx, 1, wide, 0)
		if err != nil {
			return err
		}
		if _, err := t.awaitRunning(ctx, more, 1); err != nil {
			return err
		}
		return steps.take(ctx, t, top, len(jobs)+1, len(jobs)+wide)
	})
}

// memorySteps compares each measurement with the one that has as many of everything but one thing, and
// least of that.
type memorySteps struct{ last, base memoryStep }

type memoryStep struct {
	memory
	taskManagers, jobs, tasks int
}

func (s *memorySteps) take(ctx context.Context, t *testbed, taskManagers, jobs, tasks int) error {
	if err := pause(ctx, 12*time.Second); err != nil { // each TaskManager has had a heartbeat
		return err
	}
	m, err := memoryOf(t.dir, t.leaderPID())
	if err != nil {
		return err
	}
	step := memoryStep{m, taskManagers, jobs, tasks}
	if taskManagers == s.last.taskManagers && (s.base.taskManagers != taskManagers || jobs == s.last.jobs+1) {
		s.base = s.last // another thing grows from here on
	}
	s.last = step
	more := float64(max(taskManagers-s.base.taskManagers, tasks-s.base.tasks, 1))
	t.bench.report.add("memory",
		figure{"task_managers", float64(taskManagers)}, figure{"jobs", float64(jobs)}, figure{"tasks", float64(tasks)},
		figure{"resident_MiB", m.Resident / (1 << 20)}, figure{"heap_MiB", m.Heap / (1 << 20)}, figure{"stacks_MiB", m.Stacks / (1 << 20)},
		figure{"goroutines", float64(m.Goroutines)},
		figure{"more", more},
		figure{"resident_KiB_each", (m.Resident - s.base.Resident) / 1024 / more},
		figure{"heap_KiB_each", (m.Heap - s.base.Heap) / 1024 / more},
		figure{"goroutines_each", float64(m.Goroutines-s.base.Goroutines) / more},
	)
	if t.bench.profiles == "" {
		return nil
	}
	for _, kind := range []string{"heap", "goroutine"} {
		file := filepath.Join(t.bench.profiles, fmt.Sprintf("memory-%d-%d-%d.%s", taskManagers, jobs, tasks, kind))
		if err := profile(t.dir, t.leaderPID(), "/debug/pprof/"+kind, file); err != nil {
			return err
		}
	}
	return nil
}

func openFilesLimit() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 1024
	}
	return int(limit.Max)
}

// noListener is the listener of a client, which nobody calls.
type noListener struct{}

func (noListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (noListener) Close() error              { return nil }
func (noListener) Addr() net.Addr            { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

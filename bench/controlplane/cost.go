package main

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// largest is the highest number of TaskManagers with a port each that costs are measured at.
const largest = 4000

// measureHeartbeats takes the CPU time of a JobManager whose TaskManagers get heartbeats every second, and of
// one whose TaskManagers get none: the difference is the heartbeats'.
func measureHeartbeats(ctx context.Context, b *bench) error {
	for _, size := range b.taskManagers {
		size = min(size, largest)
		with, err := b.countHeartbeats(ctx, size, "1 s", "60 s")
		if err != nil {
			return err
		}
		without, err := b.countHeartbeats(ctx, size, "1 h", "2 h")
		if err != nil {
			return err
		}
		count := float64(max(with.count, 1))
		b.report.add("heartbeat",
			figure{"task_managers", float64(size)}, figure{"heartbeats", float64(with.count)},
			figure{"jobmanager_cpu_s", with.jobManager}, figure{"without_cpu_s", without.jobManager},
			figure{"jobmanager_us_each", (with.jobManager - without.jobManager) * 1e6 / count},
			figure{"fleets_us_each", (with.fleets - without.fleets) * 1e6 / count},
			figure{"others_cpu_s", with.others},
		)
	}
	return nil
}

type heartbeats struct {
	load
	count int64
}

// countHeartbeats counts what happens in the window, when all TaskManagers are connected.
func (b *bench) countHeartbeats(ctx context.Context, size int, interval, timeout string) (h heartbeats, err error) {
	settings := map[string]string{"heartbeat.interval": interval, "heartbeat.timeout": timeout}
	err = withTestbed(ctx, b, settings, func(ctx context.Context, t *testbed) error {
		b.say("heartbeat: %d TaskManagers, interval %s", size, interval)
		if err := t.grow(ctx, size, 2, b.portSharing(size)); err != nil {
			return err
		}
		if err := pause(ctx, min(5*time.Second, b.settle)); err != nil {
			return err
		}
		return t.profiled(fmt.Sprintf("heartbeat-%d-%s", size, interval), t.leaderPID(), func() error {
			before, err := t.witnessed(question{})
			if err != nil {
				return err
			}
			used := t.meter(t.leaderPID())
			if err := pause(ctx, b.window); err != nil {
				return err
			}
			h.load = used()
			after, err := t.witnessed(question{})
			h.count = after.Heartbeats - before.Heartbeats
			return err
		})
	})
	return h, err
}

// measureMemory takes the memory of a JobManager with more and more TaskManagers, then with more and more
// jobs of one task, then with a job of many tasks.
func measureMemory(ctx context.Context, b *bench) error {
	top := min(slices.Max(b.taskManagers), largest)
	return withTestbed(ctx, b, nil, func(ctx context.Context, t *testbed) error {
		empty, err := t.takeMemory(ctx, memoryStep{})
		if err != nil {
			return err
		}
		full := empty
		for _, size := range []int{top / 4, top / 2, top} {
			b.say("memory: %d TaskManagers", size)
			if err := t.grow(ctx, size, 2, 1); err != nil {
				return err
			}
			if full, err = t.takeMemory(ctx, memoryStep{taskManagers: size}); err != nil {
				return err
			}
			b.addMemory(full, empty, size)
		}
		return t.measureTaskMemory(ctx, full)
	})
}

func (t *testbed) measureTaskMemory(ctx context.Context, without memoryStep) error {
	step := without
	for _, count := range []int{t.bench.jobs / 4, t.bench.jobs / 2, t.bench.jobs} {
		count = min(count, t.size)
		t.bench.say("memory: %d jobs", count)
		if err := t.run(ctx, count-step.jobs, 1); err != nil {
			return err
		}
		var err error
		if step, err = t.takeMemory(ctx, memoryStep{taskManagers: t.size, jobs: count, tasks: count}); err != nil {
			return err
		}
		t.bench.addMemory(step, without, count)
	}
	wide := min(1000, t.size)
	t.bench.say("memory: a job of %d tasks", wide)
	if err := t.run(ctx, 1, wide); err != nil {
		return err
	}
	last, err := t.takeMemory(ctx, memoryStep{taskManagers: t.size, jobs: step.jobs + 1, tasks: step.tasks + wide})
	t.bench.addMemory(last, step, wide)
	return err
}

// run submits jobs and waits until they run.
func (t *testbed) run(ctx context.Context, count, parallelism int) error {
	jobs, err := t.submit(ctx, count, parallelism, 0)
	if err == nil {
		_, err = t.awaitRunning(ctx, jobs, 1)
	}
	return err
}

// memoryStep is the memory of a JobManager with so many TaskManagers, jobs and tasks.
type memoryStep struct {
	memory
	taskManagers, jobs, tasks int
}

// takeMemory fills in the memory of the leading JobManager when each TaskManager has had a heartbeat.
func (t *testbed) takeMemory(ctx context.Context, s memoryStep) (_ memoryStep, err error) {
	if err := pause(ctx, t.bench.settle); err != nil {
		return s, err
	}
	if s.memory, err = memoryOf(t.dir, t.leaderPID()); err != nil {
		return s, err
	}
	return s, t.snapshots(fmt.Sprintf("memory-%d-%d-%d", s.taskManagers, s.jobs, s.tasks), t.leaderPID())
}

// addMemory reports a step, and what each of those costs that the base has not.
func (b *bench) addMemory(s, base memoryStep, more int) {
	each := float64(more)
	b.report.add("memory",
		figure{"task_managers", float64(s.taskManagers)}, figure{"jobs", float64(s.jobs)}, figure{"tasks", float64(s.tasks)},
		figure{"resident_MiB", s.Resident / (1 << 20)}, figure{"heap_MiB", s.Heap / (1 << 20)}, figure{"stacks_MiB", s.Stacks / (1 << 20)},
		figure{"goroutines", float64(s.Goroutines)}, figure{"more", each},
		figure{"resident_KiB_each", (s.Resident - base.Resident) / 1024 / each},
		figure{"heap_KiB_each", (s.Heap - base.Heap) / 1024 / each},
		figure{"stacks_KiB_each", (s.Stacks - base.Stacks) / 1024 / each},
		figure{"goroutines_each", float64(s.Goroutines-base.Goroutines) / each},
	)
}

func openFilesLimit() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 1024
	}
	return int(limit.Max)
}

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tamias-project/tamias/internal/localcluster"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
)

// measureRegistration kills leaders of clusters with more and more TaskManagers and takes the time until all
// are registered with the next one.
func measureRegistration(ctx context.Context, b *bench) error {
	for _, size := range b.taskManagers {
		err := withTestbed(ctx, b, nil, func(ctx context.Context, t *testbed) error {
			perPort := b.portSharing(size)
			b.say("registration: %d TaskManagers, %d to a port", size, perPort)
			if err := t.grow(ctx, size, 2, perPort); err != nil {
				return err
			}
			for round := range b.rounds {
				if err := t.registrationRound(ctx, round, perPort); err != nil {
					return fmt.Errorf("%d TaskManagers, round %d: %w", size, round+1, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// portSharing is how many TaskManagers have to share a port: a JobManager holds connectionsPerPort open
// files for each.
func (b *bench) portSharing(taskManagers int) int {
	if b.perPort > 0 {
		return b.perPort
	}
	const spare = 200
	ports := (openFilesLimit() - spare) / connectionsPerPort
	return (taskManagers + ports - 1) / ports
}

// connectionsPerPort: a JobManager calls TaskManagers on one connection and is called on another.
const connectionsPerPort = 2

func (t *testbed) registrationRound(ctx context.Context, round, perPort int) error {
	old, next, err := t.prepareKill(ctx)
	if err != nil {
		return err
	}
	var registered []time.Time
	var killed, confirmed time.Time
	var used load
	err = t.profiled(fmt.Sprintf("registration-%d-%d", t.size, round), next.PID(), func() error {
		meter := t.meter(next.PID())
		killed = time.Now()
		t.kill(old)
		if err := t.awaitLeader(ctx, old); err != nil {
			return err
		}
		_, confirmed = t.leaders[haservices.ResourceManager].now()
		epoch := t.epoch(haservices.ResourceManager)
		err := t.await(ctx, "registrations", pollInterval, func() (bool, error) {
			w, err := t.witnessed(question{Epoch: epoch})
			registered = w.Registered
			return len(registered) == t.size, err
		})
		used = meter()
		return err
	})
	if err != nil {
		return err
	}
	if err := t.awaitRegistered(ctx); err != nil {
		return err
	}
	idle, err := t.idle(ctx, fmt.Sprintf("registered-%d-%d", t.size, round), next)
	if err != nil {
		return err
	}
	t.bench.report.add("registration",
		figure{"task_managers", float64(t.size)}, figure{"per_port", float64(perPort)}, figure{"round", float64(round + 1)},
		figure{"new_leader_ms", millis(confirmed.Sub(killed))},
		figure{"half_ms", millis(quantile(registered, 0.5).Sub(killed))},
		figure{"p99_ms", millis(quantile(registered, 0.99).Sub(killed))},
		figure{"all_ms", millis(registered[len(registered)-1].Sub(killed))},
		figure{"jobmanager_cpu_s", used.jobManager}, figure{"fleets_cpu_s", used.fleets}, figure{"others_cpu_s", used.others},
		figure{"cpu_ms_per_tm", (used.jobManager + used.fleets) * 1000 / float64(t.size)},
		figure{"afterwards_cpu_%", idle},
		figure{"jobmanager_files", float64(openFiles(next.PID()))}, figure{"peak_MiB", peakMemory(next.PID()) / (1 << 20)},
	)
	t.bench.say("registration: %d TaskManagers with the new leader after %s", t.size, registered[len(registered)-1].Sub(killed).Round(time.Millisecond))
	return nil
}

// prepareKill starts a standby beside the leader and returns both.
func (t *testbed) prepareKill(ctx context.Context) (leading, standby *localcluster.Process, err error) {
	if err := t.startStandby(ctx); err != nil {
		return nil, nil, err
	}
	return t.leading(haservices.ResourceManager), t.cluster.JobManagers[len(t.cluster.JobManagers)-1], nil
}

// measureRecovery kills leaders of a cluster with many small jobs and takes the time until all are RUNNING under the
// next one.
func measureRecovery(ctx context.Context, b *bench) error {
	return withTestbed(ctx, b, nil, func(ctx context.Context, t *testbed) error {
		const slots = 10
		size := (b.jobs + slots - 1) / slots
		b.say("recovery: %d jobs on %d TaskManagers with %d slots", b.jobs, size, slots)
		if err := t.grow(ctx, size, slots, 1); err != nil {
			return err
		}
		began := time.Now()
		var jobs []id.Job
		err := t.profiled("submission", t.leaderPID(), func() (err error) {
			jobs, err = t.submit(ctx, b.jobs, 1, b.checkpoint)
			return err
		})
		if err != nil {
			return err
		}
		submitted := time.Since(began)
		running, err := t.awaitRunning(ctx, jobs, 1)
		if err != nil {
			return err
		}
		b.say("recovery: submitted in %s, all running after %s", submitted.Round(time.Millisecond), running[len(running)-1].Sub(began).Round(time.Millisecond))
		for round := range b.rounds {
			if err := t.recoveryRound(ctx, round, jobs); err != nil {
				return fmt.Errorf("round %d: %w", round+1, err)
			}
		}
		return nil
	})
}

func (t *testbed) recoveryRound(ctx context.Context, round int, jobs []id.Job) error {
	old, next, err := t.prepareKill(ctx)
	if err != nil {
		return err
	}
	before, err := t.witnessed(question{Tasks: true})
	if err != nil {
		return err
	}
	epoch := uint64(round + 2) // each JobMaster's first epoch is 1
	var attached, running []time.Time
	var killed, confirmed time.Time
	var used load
	err = t.profiled(fmt.Sprintf("recovery-%d-%d", len(jobs), round), next.PID(), func() error {
		meter := t.meter(next.PID())
		killed = time.Now()
		t.kill(old)
		if err := t.awaitLeader(ctx, old); err != nil {
			return err
		}
		_, confirmed = t.leaders[haservices.Dispatcher].now()
		err := t.await(ctx, "tasks to be adopted", pollInterval, func() (bool, error) {
			w, err := t.witnessed(question{Epoch: epoch})
			attached = w.Attached
			return len(attached) == len(jobs), err
		})
		if err != nil {
			return err
		}
		used = meter()
		running, err = t.awaitRunning(ctx, jobs, epoch)
		return err
	})
	if err != nil {
		return err
	}
	after, err := t.witnessed(question{Tasks: true})
	if err != nil {
		return err
	}
	if restarted, lost := after.Started-before.Started, after.Lost-before.Lost; restarted > 0 || lost > 0 {
		return fmt.Errorf("a leader change cost %d restarts of tasks and %d lost tasks", restarted, lost)
	}
	idle, err := t.idle(ctx, fmt.Sprintf("recovered-%d-%d", len(jobs), round), next)
	if err != nil {
		return err
	}
	t.bench.report.add("recovery",
		figure{"jobs", float64(len(jobs))}, figure{"task_managers", float64(t.size)}, figure{"round", float64(round + 1)},
		figure{"new_leader_ms", millis(confirmed.Sub(killed))},
		figure{"attached_half_ms", millis(quantile(attached, 0.5).Sub(killed))},
		figure{"attached_all_ms", millis(attached[len(attached)-1].Sub(killed))},
		figure{"running_half_ms", millis(quantile(running, 0.5).Sub(killed))},
		figure{"running_all_ms", millis(running[len(running)-1].Sub(killed))},
		figure{"tasks_restarted", float64(after.Started - before.Started)}, figure{"tasks_lost", float64(after.Lost - before.Lost)},
		figure{"jobmanager_cpu_s", used.jobManager}, figure{"fleets_cpu_s", used.fleets}, figure{"others_cpu_s", used.others},
		figure{"afterwards_cpu_%", idle}, figure{"peak_MiB", peakMemory(next.PID()) / (1 << 20)},
	)
	t.bench.say("recovery: %d jobs running after %s", len(jobs), running[len(running)-1].Sub(killed).Round(time.Millisecond))
	return nil
}

// idle is the CPU time of a JobManager, in percent of a core, when nothing happens but heartbeats.
func (t *testbed) idle(ctx context.Context, name string, p *localcluster.Process) (float64, error) {
	if err := pause(ctx, t.bench.settle); err != nil {
		return 0, err
	}
	used := t.meter(p.PID())
	err := t.profiled(name, p.PID(), func() error { return pause(ctx, t.bench.window) })
	return used().jobManager * 100 / t.bench.window.Seconds(), err
}

func millis(d time.Duration) float64 {
	return float64(d.Round(100*time.Microsecond)) / float64(time.Millisecond)
}

func quantile(sorted []time.Time, q float64) time.Time { return sorted[int(q*float64(len(sorted)-1))] }

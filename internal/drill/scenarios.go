package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// Scenario is a fault.
type Scenario struct {
	Name string
	// Doc is one line.
	Doc string
	// restarts: tasks may be started again from the latest checkpoint. Otherwise none may.
	restarts bool
	// masters is how many JobManagers it needs.
	masters int
	// spare: it needs a TaskManager more than the job has work for.
	spare bool
	// servers: it needs ZooKeeper servers that may be stopped.
	servers bool
	// cuts: it needs links that may be cut.
	cuts bool
	// run breaks something and returns when the cluster has coped. heal, which may be nil, undoes what is not
	// undone by starting processes again.
	run  func(*round) error
	heal func(*round) error
}

// Names of scenarios that are looked at elsewhere.
const (
	random    = "random"
	partition = "partition"
)

// Scenarios are all that can be drilled. Random is a mixture of the others.
var Scenarios = []Scenario{
	{
		Name: "kill-leader", masters: 2,
		Doc: "kill -9 the JobManager that leads",
		run: func(r *round) error { return r.endLeader(process.Kill) },
	},
	{
		Name: "terminate-leader", masters: 2,
		Doc: "SIGTERM to the JobManager that leads",
		run: func(r *round) error { return r.endLeader(process.Terminate) },
	},
	{
		Name: "freeze-leader", masters: 2,
		Doc: "SIGSTOP to the JobManager that leads, SIGCONT when another one leads",
		run: (*round).freezeLeader, heal: (*round).thawLeader,
	},
	{
		Name: "kill-leader-twice", masters: 3,
		Doc: "kill -9 the JobManager that leads, and its successor while it takes over",
		run: (*round).killLeaderTwice,
	},
	{
		Name: "kill-all-jobmanagers", masters: 1,
		Doc: "kill -9 all JobManagers, and start one again after --outage (0 s)",
		run: (*round).killAllMasters,
	},
	{
		Name: "kill-taskmanager", masters: 1, restarts: true, spare: true,
		Doc: "kill -9 a TaskManager with tasks; another one has room for them",
		run: (*round).killTaskManager,
	},
	{
		Name: "kill-leader-and-taskmanager", masters: 2, restarts: true, spare: true,
		Doc: "kill -9 the JobManager that leads and a TaskManager with tasks, at once",
		run: (*round).killLeaderAndTaskManager,
	},
	{
		Name: "kill-job-process", masters: 1, restarts: true,
		Doc: "kill -9 the job's process at a TaskManager",
		run: (*round).killJobProcess,
	},
	{
		Name: "restart-zookeeper", masters: 1, servers: true,
		Doc: "kill -9 all ZooKeeper servers, and start them again after --outage (3 s); with --rolling one after the other",
		run: (*round).restartZooKeeper,
	},
	{
		Name: partition, masters: 2, cuts: true,
		Doc: "cut the links that --cut names for --outage (3 s)",
		run: (*round).partition, heal: (*round).healPartition,
	},
	{
		Name: random, masters: 3, restarts: true, spare: true, cuts: true,
		Doc: "one of the others after the other for --duration, drawn from --seed",
	},
}

// Cuts are the values of --cut, in the order in which they take turns.
var Cuts = []Cut{
	{Name: "leader-zookeeper", Doc: "all connections between the leading JobManager and ZooKeeper, until another one leads", zooKeeper: true},
	{Name: "standbys-zookeeper", Doc: "all connections between the other JobManagers and ZooKeeper", zooKeeper: true},
	{Name: "taskmanagers-zookeeper", Doc: "all connections between TaskManagers and ZooKeeper", zooKeeper: true},
	{Name: "leader-standbys", Doc: "the connections that the other JobManagers have opened to the leading one", zooKeeper: true},
	{Name: "leader-taskmanagers", Doc: "the connections that TaskManagers have opened to the leading JobManager; those that it has opened to them stay"},
}

// Cut is a set of links.
type Cut struct {
	Name, Doc string
	zooKeeper bool // makes sense with high-availability.type zookeeper only
}

// knownCut says whether there is such a cut with that backend.
func knownCut(name, ha string) bool {
	return slices.ContainsFunc(Cuts, func(c Cut) bool { return c.Name == name && (!c.zooKeeper || ha == "zookeeper") })
}

// cutLeader is the one cut that changes the leader.
const cutLeader = "leader-zookeeper"

// find looks a scenario up.
func find(name string) (Scenario, error) {
	i := slices.IndexFunc(Scenarios, func(s Scenario) bool { return s.Name == name })
	if i < 0 {
		return Scenario{}, fmt.Errorf("unknown scenario %q", name)
	}
	return Scenarios[i], nil
}

// endLeader ends the leader by a signal.
func (r *round) endLeader(end func(process)) error {
	p, err := r.leader()
	if err != nil {
		return err
	}
	r.goneMasters = append(r.goneMasters, p)
	r.inject(func() { end(p) })
	return r.awaitSuccessor()
}

func (r *round) freezeLeader() (err error) {
	if r.victim, err = r.leader(); err != nil {
		return err
	}
	r.inject(r.victim.Freeze)
	return r.awaitSuccessor()
}

// thawLeader lets the frozen leader go on and watches what it does. The local backend has shot it by then.
func (r *round) thawLeader() error {
	r.victim.Thaw()
	if err := pause(r.ctx, r.drill.Window); err != nil {
		return err
	}
	r.result.ended = time.Now()
	if !r.victim.Alive() {
		r.goneMasters = append(r.goneMasters, r.victim)
	}
	return nil
}

// killLeaderTwice kills the successor when it is known, or at a random moment of its first 100 ms.
func (r *round) killLeaderTwice() error {
	first, err := r.leader()
	if err != nil {
		return err
	}
	delay := time.Duration(r.random.Int64N(int64(100 * time.Millisecond)))
	r.goneMasters = append(r.goneMasters, first)
	r.inject(first.Kill)
	led, err := r.drill.client.dispatcher.await(r.ctx, r.dispatcher.Token.Epoch())
	if err != nil {
		return err
	}
	if err := pause(r.ctx, time.Until(r.result.injected.Add(delay))); err != nil {
		return err
	}
	second, err := r.target.jobManager(r.ctx, led.leader)
	if err != nil {
		return err
	}
	r.goneMasters = append(r.goneMasters, second)
	// What counts is the time from the second kill on; the job may have been adopted by the second leader or not.
	r.dispatcher, r.master = led.leader, r.drill.master.last().leader
	r.inject(second.Kill)
	return r.awaitSuccessor()
}

func (r *round) killAllMasters() error {
	all, err := r.target.jobManagers(r.ctx)
	if err != nil {
		return err
	}
	if r.drill.Outage > 0 {
		r.result.Detail = "none for " + r.drill.Outage.String()
	}
	r.goneMasters = all
	r.inject(func() {
		for _, p := range all {
			p.Kill()
		}
	})
	for _, p := range all {
		if !p.WaitContext(r.ctx) {
			return r.ctx.Err()
		}
	}
	if err := pause(r.ctx, r.drill.Outage); err != nil {
		return err
	}
	if err := r.replaceMaster(); err != nil {
		return err
	}
	return r.awaitSuccessor()
}

// busyTaskManager draws a TaskManager that has tasks of the job.
func (r *round) busyTaskManager() (process, error) {
	var registered []protocol.TaskManagerInfo
	var refused error // the leader may just change for a reason of its own
	err := poll(r.ctx, func() (bool, error) {
		registered, refused = r.drill.client.taskManagers(r.ctx)
		return refused == nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the TaskManagers: %w: %w", err, refused)
	}
	var busy []protocol.TaskManagerInfo
	for _, tm := range registered {
		if holds(tm, r.drill.job.id) {
			busy = append(busy, tm)
		}
	}
	if len(busy) == 0 {
		return nil, errors.New("no TaskManager has tasks of the job")
	}
	slices.SortFunc(busy, func(a, b protocol.TaskManagerInfo) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return r.target.taskManager(r.ctx, busy[r.random.IntN(len(busy))])
}

func (r *round) killTaskManager() error {
	p, err := r.busyTaskManager()
	if err != nil {
		return err
	}
	r.goneTaskManagers = append(r.goneTaskManagers, p)
	r.inject(p.Kill)
	return r.awaitRestart()
}

func (r *round) killLeaderAndTaskManager() error {
	master, err := r.leader()
	if err != nil {
		return err
	}
	tm, err := r.busyTaskManager()
	if err != nil {
		return err
	}
	r.goneMasters, r.goneTaskManagers = append(r.goneMasters, master), append(r.goneTaskManagers, tm)
	r.inject(func() { master.Kill(); tm.Kill() })
	led, err := r.drill.client.dispatcher.await(r.ctx, r.dispatcher.Token.Epoch())
	if err != nil {
		return err
	}
	r.result.NewLeaderMillis = r.since(led.at)
	return r.awaitRestart()
}

func (r *round) killJobProcess() error {
	tm, err := r.busyTaskManager()
	if err != nil {
		return err
	}
	all, err := children(tm.PID())
	if err != nil {
		return err
	}
	for _, pid := range all {
		// The job's own arguments tell its process from those of other jobs.
		if p, err := openProcess(pid, r.drill.job.output); err == nil {
			r.inject(p.Kill)
			return r.awaitRestart()
		}
	}
	return fmt.Errorf("the TaskManager with pid %d has no process of the job", tm.PID())
}

// restartZooKeeper returns when a leader answers under a ZooKeeper that serves again.
func (r *round) restartZooKeeper() error {
	servers, err := r.target.zooKeeper()
	if err != nil {
		return err
	}
	rolling := r.drill.Rolling
	if r.drill.scenario.Name == random {
		rolling = r.random.IntN(2) == 0
	}
	r.result.Detail = "all servers stopped for " + r.drill.Outage.String()
	if rolling {
		r.result.Detail = "rolling restart"
		err = restartInTurn(r, servers)
	} else {
		err = restartTogether(r, servers)
	}
	if err != nil {
		return err
	}
	r.result.HealedMillis = r.since(time.Now())
	_, err = r.drill.job.awaitDetails(r.ctx, running)
	return err
}

func restartInTurn(r *round, servers []zooKeeperServer) error {
	r.result.injected = time.Now()
	for _, s := range servers {
		r.stopped = append(r.stopped, s)
		s.Kill()
		if err := r.startServers(); err != nil {
			return err
		}
	}
	return nil
}

func restartTogether(r *round, servers []zooKeeperServer) error {
	r.stopped = servers
	r.inject(func() {
		for _, s := range servers {
			s.Kill()
		}
	})
	if err := pause(r.ctx, r.drill.Outage); err != nil {
		return err
	}
	return r.startServers()
}

// partition cuts links. Only one cut changes the leader; the others last for the outage.
func (r *round) partition() (err error) {
	if r.victim, err = r.leader(); err != nil {
		return err
	}
	cuts := r.drill.cuts()
	if len(cuts) == 0 {
		return fmt.Errorf("%w: no link can be cut", errUnsupported)
	}
	cut := cuts[r.drill.done%len(cuts)]
	if r.drill.scenario.Name == random {
		cut = cuts[r.random.IntN(len(cuts))]
	}
	r.result.Detail = "cut " + cut
	r.inject(func() { err = r.target.cut(cut, r.victim) })
	if err != nil {
		return err
	}
	if cut == cutLeader {
		return r.awaitSuccessor()
	}
	defer r.target.uncut()
	return pause(r.ctx, r.drill.Outage)
}

// healPartition lets a leader that was cut off go on and watches what it does.
func (r *round) healPartition() error {
	r.target.uncut()
	if err := pause(r.ctx, r.drill.Window); err != nil {
		return err
	}
	r.result.ended = time.Now()
	return nil
}

// cuts are the links that can be cut here.
func (d *drill) cuts() (names []string) {
	for _, c := range Cuts {
		if (!c.zooKeeper || d.HA == "zookeeper") && (d.Cut == "" || d.Cut == c.Name) && d.target.canCut(c.Name) {
			names = append(names, c.Name)
		}
	}
	return names
}

// contending reports whether every JobManager contends for all that the cluster elects, as far as the backend
// tells.
func (d *drill) contending(ctx context.Context) bool {
	if d.HA != "zookeeper" {
		return true
	}
	all, err := d.target.jobManagers(ctx)
	if err != nil {
		return false
	}
	for _, latch := range []string{"dispatcher_lock", "resource_manager_lock", "rest_server_lock"} {
		contenders, err := d.client.contenders(ctx, latch)
		if err != nil {
			return false
		}
		for _, p := range all {
			if !slices.ContainsFunc(contenders, func(c haservices.Contender) bool { return c.PID == p.PID() }) {
				return false
			}
		}
	}
	return true
}

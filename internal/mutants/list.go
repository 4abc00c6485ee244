package main

import "fmt"

// simulation runs that many seeded schedules of the whole control plane.
func simulation(seeds int) test {
	return test{"./test/simulation", "TestSchedules", []string{"-seeds", fmt.Sprint(seeds)}}
}

// lesson runs one schedule without chance.
func lesson(run string) test { return test{pkg: "./test/simulation", run: run} }

func unit(pkg, run string) test { return test{pkg: "./pkg/" + pkg, run: run} }

// mutants, by what they break.
var mutants = append(append(append(append([]mutant{}, fencing...), stores...), adoption...), lifecycle...)

// fencing: who may act.
var fencing = []mutant{
	{
		name: "embedded: no epoch check", breaks: "a deposed leader's write fails, always",
		file:  "pkg/haservices/embedded/term.go",
		old:   `if t.over || t.resigned || t.driver.cluster.election(t.component).epoch != t.token.Epoch() {`,
		new:   `if t.resigned {`,
		tests: []test{simulation(50), unit("haservices/embedded", "TestConformance"), lesson("TestAWritePausedOverAnElectionIsRefused")},
	},
	{
		name: "wrong address announced", breaks: "a JobManager that others cannot reach does not contend, and shoots nobody",
		file:  "pkg/entrypoint/clusterentrypoint.go",
		old:   `if !highlyAvailable(e.cfg) {`,
		new:   `if e.cfg != nil {`,
		tests: []test{unit("entrypoint", "TestAWrongAddressIsNotAnnounced")},
	},
	{
		name: "local: no epoch check", breaks: "a deposed leader's write fails, always",
		file:  "pkg/haservices/local/term.go",
		old:   `if epoch != t.token.Epoch() || !t.latch.current(t.lock) {`,
		new:   `if epoch < 0 {`,
		tests: []test{unit("haservices/local", "TestDeletedLock")},
	},
	{
		name: "standalone: no epoch check", breaks: "of two JobManagers on one directory the later one writes",
		file:  "pkg/haservices/standalone/term.go",
		old:   `if err == nil && epoch != t.token.Epoch() {`,
		new:   `if err == nil && epoch < t.token.Epoch() {`,
		tests: []test{unit("haservices/standalone", "TestTwoJobManagers")},
	},
	{
		name: "zookeeper: no epoch check", breaks: "a deposed leader's write fails, always",
		file:  "pkg/haservices/zookeeper/term.go",
		old:   `fence := []any{check(t.candidacy.node, anyVersion), check(t.candidacy.latch, t.epoch)}`,
		new:   `fence := []any{check(t.candidacy.node, anyVersion), check(t.candidacy.latch, anyVersion)}`,
		tests: []test{unit("haservices/zookeeper", "TestStaleLeaderIsRefusedByZooKeeper")},
	},
	{
		name: "zookeeper: no check of the latch node", breaks: "who was evicted writes nothing",
		file:  "pkg/haservices/zookeeper/term.go",
		old:   `fence := []any{check(t.candidacy.node, anyVersion), check(t.candidacy.latch, t.epoch)}`,
		new:   `fence := []any{check(t.candidacy.latch, anyVersion), check(t.candidacy.latch, t.epoch)}`,
		tests: []test{unit("haservices/zookeeper", "TestStaleLeaderIsRefusedByZooKeeper")},
	},
	{
		name: "zookeeper: confirms what is not confirmed", breaks: "unconfirmed means do nothing",
		file:  "pkg/haservices/zookeeper/leader.go",
		old:   `if address == "" || told.exists && bytes.Equal(told.data, encode(want)) {`,
		new:   `if told.exists && bytes.Equal(told.data, encode(want)) {`,
		tests: []test{unit("haservices/zookeeper", "TestAnUnconfirmedLeaderWritesNothing")},
	},
	{
		name: "leader fence: any token", breaks: "a leader hears only who knows that it leads now",
		file:  "pkg/rpc/fence.go",
		old:   `case token != f.token:`,
		new:   `case token == id.FencingToken{1, 2, 3}:`,
		tests: []test{simulation(300), unit("rpc", "TestInMemory")},
	},
	{
		name: "leader fence: between terms", breaks: "who does not lead accepts nothing",
		file:  "pkg/rpc/fence.go",
		old:   `func (f *LeaderFence) Revoke() { f.leading, f.token = false, id.FencingToken{} }`,
		new:   `func (f *LeaderFence) Revoke() {}`,
		tests: []test{unit("resourcemanager", "TestCallsAreFenced")},
	},
	{
		name: "follower fence: lower epochs", breaks: "a message of a leader of the past is refused",
		file:  "pkg/rpc/fence.go",
		old:   `if token.Epoch() < f.highest.Epoch() || token.Epoch() == f.highest.Epoch() && token != f.highest {`,
		new:   `if token.Epoch() == f.highest.Epoch() && token != f.highest {`,
		tests: []test{simulation(200), unit("rpc", "TestFollowerFenceOrdersLeaders")},
	},
	{
		name: "follower fence: rivals", breaks: "one epoch has one leader",
		file:  "pkg/rpc/fence.go",
		old:   `if token.Epoch() < f.highest.Epoch() || token.Epoch() == f.highest.Epoch() && token != f.highest {`,
		new:   `if token.Epoch() < f.highest.Epoch() {`,
		tests: []test{unit("rpc", "TestFollowerFenceOrdersLeaders")},
	},
	{
		name: "follower fence: watermark falls", breaks: "the highest epoch seen only rises",
		file:  "pkg/rpc/fence.go",
		old:   `func (f *FollowerFence) Observe(token id.FencingToken) error {`,
		new:   "func (f *FollowerFence) Observe(token id.FencingToken) error {\n\tdefer func() { f.highest = token }()",
		tests: []test{simulation(200), unit("rpc", "TestFollowerFenceOrdersLeaders")},
	},
	{
		name: "retrieval: older leader after a newer one", breaks: "a lower epoch than seen is not told",
		file:  "pkg/haservices/retrieval.go",
		old:   `if l == last || !l.IsEmpty() && l.Token.Epoch() < highest {`,
		new:   `if l == last {`,
		tests: []test{unit("haservices", "TestAnOlderLeaderIsNotToldAfterANewerOne")},
	},
	{
		name: "stores: token of an earlier term", breaks: "a term's answers do nothing in the next one",
		file:  "pkg/haservices/election.go",
		old:   `if e.term == nil || e.term.Token() != token {`,
		new:   `if e.term == nil {`,
		tests: []test{unit("haservices", "TestStoresNeedTheTokenOfTheTerm")},
	},
	{
		name: "dispatcher: publishes before it has read", breaks: "only after reading the stores a leader may be found",
		file: "pkg/dispatcher/term.go",
		old:  `if err := t.recover(ctx); err != nil {`,
		new: `if err := t.cfg.Election.Confirm(ctx, t.token, t.cfg.RPC.Address(protocol.DispatcherEndpoint)); err != nil {
		return err
	}
	if err := t.recover(ctx); err != nil {`,
		tests: []test{simulation(10)},
	},
	{
		name: "job master: publishes before it has read", breaks: "only after reading the stores a leader may be found",
		file: "pkg/jobmaster/term.go",
		old:  `if err := t.read(ctx); err != nil {`,
		new: `if err := jm.election.Confirm(ctx, token, jm.cfg.RPC.Address(protocol.JobMasterEndpoint+"/"+jm.id.String())); err != nil {
		return nil, err
	}
	if err := t.read(ctx); err != nil {`,
		tests: []test{simulation(10)},
	},
	{
		name: "job master: farewell", breaks: "losing leadership sends nothing to anyone",
		file: "pkg/jobmaster/term.go",
		old:  `if ctx.Err() != nil && !errors.Is(err, errConcluded) {`,
		new: `if ctx.Err() != nil && !errors.Is(err, errConcluded) {
		targets := farewells{}
		for m, address := range t.schedule.members {
			targets.add(m, address)
		}
		t.jm.releaseJob(context.WithoutCancel(ctx), t.token, targets, "the leader goes")`,
		tests: []test{simulation(50)},
	},
}

package main

// stores: what is durable when, and what is deleted when.
var stores = []mutant{
	{
		name: "create: node exists", breaks: "a node that is there is mine only if it says what I say",
		file:  "pkg/haservices/internal/nodes/memory.go",
		old:   "if found && !same {\n\t\t\treturn haservices.ErrExists\n\t\t}",
		new:   "",
		tests: []test{unit("haservices/embedded", "TestConformance")},
	},
	{
		name: "zookeeper create: node exists", breaks: "a node that is there is mine only if it says what I say",
		file:  "pkg/haservices/zookeeper/write.go",
		old:   "if err == nil && !same {\n\t\t\terr = haservices.ErrExists",
		new:   "if err == nil && !same && len(data) > 1<<20 {\n\t\t\terr = haservices.ErrExists",
		tests: []test{unit("haservices/zookeeper", "TestConformance/nodes")},
	},
	{
		name: "checkpoint exists", breaks: "of two masters that add one checkpoint one wins, and the other is told",
		file:  "pkg/haservices/checkpoints.go",
		old:   `if errors.Is(err, ErrExists) && s.holds(ctx, cp.ID, node.pointer) {`,
		new:   `if errors.Is(err, ErrExists) {`,
		tests: []test{unit("haservices", "TestOfTwoCheckpointsUnderOneIDOneWins")},
	},
	{
		name: "job exists", breaks: "another job under a known ID is refused",
		file:  "pkg/haservices/jobgraphs.go",
		old:   `if !bytes.Equal(encode(stored.Graph), encode(job.Graph)) {`,
		new:   `if bytes.Equal(encode(stored.Graph), nil) {`,
		tests: []test{unit("haservices", "TestJobGraphs")},
	},
	{
		name: "unknown outcome is a failure", breaks: "a file is kept while a node may point to it",
		file:  "pkg/haservices/election.go",
		old:   `func certain(err error) bool { return !errors.Is(err, ErrUnknownOutcome) }`,
		new:   `func certain(err error) bool { return true }`,
		tests: []test{simulation(300), unit("haservices", "TestLostAnswersOfALostLeader")},
	},
	{
		name: "counter starts again", breaks: "checkpoint IDs rise across leaders",
		file:  "pkg/haservices/counter.go",
		old:   `node.Last = max(node.Last, c.highest(0)) + 1`,
		new:   "if node.Epoch != token.Epoch() {\n\t\t\tnode.Last = 0\n\t\t}\n\t\tnode.Last = max(node.Last, c.highest(0)) + 1",
		tests: []test{simulation(10), unit("haservices", "TestCheckpointIDsAreUnique")},
	},
	{
		name: "latest is the oldest", breaks: "a restart begins at the newest checkpoint",
		file:  "pkg/haservices/checkpoints.go",
		old:   `for _, name := range slices.Backward(names) {`,
		new:   `for _, name := range names {`,
		tests: []test{simulation(100), unit("haservices", "TestUnreadableNewestCheckpoint")},
	},
	{
		name: "subsume first", breaks: "an old checkpoint goes only when a new one is stored",
		file:  "pkg/haservices/checkpoints.go",
		old:   `if err := s.add(ctx, token, cp); err != nil {`,
		new:   "_ = s.subsume(ctx, token, cp, 0)\n\tif err := s.add(ctx, token, cp); err != nil {",
		tests: []test{unit("haservices", "TestPowerCut")},
	},
	{
		name: "sweep takes what is pointed to", breaks: "only what no pointer references is swept",
		file:  "pkg/haservices/checkpoints.go",
		old:   `if !ok || n >= cp.ID || slices.Contains(nodes, fmt.Sprintf("%019d", n)) {`,
		new:   `if !ok || n >= cp.ID {`,
		tests: []test{simulation(20), unit("haservices", "TestCheckpointsAreSubsumed")},
	},
	{
		name: "sweep takes what is under way", breaks: "a checkpoint that is not stored yet keeps its files",
		file:  "pkg/haservices/checkpoints.go",
		old:   `if !ok || n >= cp.ID || slices.Contains(nodes, fmt.Sprintf("%019d", n)) {`,
		new:   `if !ok || n == cp.ID || slices.Contains(nodes, fmt.Sprintf("%019d", n)) {`,
		tests: []test{unit("haservices", "TestCheckpointsAreSubsumed")},
	},
	{
		name: "foreign storage is taken", breaks: "of two clusters with one storage directory the second one does not lead",
		file:  "pkg/haservices/storage.go",
		old:   `if node.ID != "" && node.Claimed || file.ID != "" && file.ID != node.ID {`,
		new:   `if node.ID != "" && node.Claimed {`,
		tests: []test{unit("haservices", "TestTwoClustersOneStorageDirectory")},
	},
	{
		name: "storage claimed before its file", breaks: "a claim that was interrupted is finished by the next leader",
		file:  "pkg/haservices/storage.go",
		old:   `node.ID = rand.Text()`,
		new:   `node.ID, node.Claimed = rand.Text(), true`,
		tests: []test{unit("haservices", "TestClaimsThatAreInterrupted")},
	},
	{
		name: "missing storage is taken for empty", breaks: "a storage directory that is not there is not begun anew",
		file:  "pkg/haservices/storage.go",
		old:   `if node.ID != "" && node.Claimed || file`,
		new:   `if node.ID != "" && node.ID == file.ID || file`,
		tests: []test{unit("haservices", "TestAMissingStorageDirectoryIsWaitedFor")},
	},
	{
		name: "directories of others", breaks: "a node is not lost with a directory that its maker did not live to sync",
		file:  "pkg/haservices/internal/nodes/directories.go",
		old:   `if info.ModTime().Equal(n.durable) {`,
		new:   `if !info.ModTime().Equal(n.durable) {`,
		tests: []test{unit("haservices/internal/nodes", "TestDirectoriesOfOthersAreMadeDurable")},
	},
	{
		name: "storage not claimed", breaks: "files and nodes of two clusters are never mixed",
		file:  "pkg/dispatcher/term.go",
		old:   `lists.Go(func() error { return t.cfg.Services.ClaimStorage(listing, t.cfg.Election, t.token) })`,
		new:   "",
		tests: []test{unit("dispatcher", "TestADispatcherLeavesForeignFilesAlone")},
	},
	{
		name: "files before pointers", breaks: "never a pointer without its file",
		file: "pkg/haservices/cleanup.go",
		old:  `for _, path := range []string{jobNodes, jobGraphNodes, "leader", "leaderlatch"} {`,
		new: `if err := s.objects.files.Delete(ctx, s.objects.jobDir(job)); err != nil {
		return err
	}
	for _, path := range []string{jobNodes, jobGraphNodes, "leader", "leaderlatch"} {`,
		tests: []test{unit("haservices", "TestPowerCut")},
	},
	{
		name: "job in two steps", breaks: "a pointer is written when its file is there",
		file: "pkg/haservices/jobgraphs.go",
		old:  `p, err := objects.write(ctx, objects.jobDir(job.Graph.ID), "jobgraph", token, encode(job))`,
		new: `early := pointer{File: "/ha/test/files/jobs/" + job.Graph.ID.String() + "/early"}
	_ = s.election.write(ctx, token, Write{Operation: Put, Path: jobGraphPath(job.Graph.ID), Data: encode(jobGraphNode{pointer: early})})
	_ = s.election.write(ctx, token, Write{Operation: Delete, Path: jobGraphPath(job.Graph.ID), Version: AnyVersion})
	p, err := objects.write(ctx, objects.jobDir(job.Graph.ID), "jobgraph", token, encode(job))`,
		tests: []test{unit("haservices", "TestPowerCut")},
	},
	{
		name: "result is clean at once", breaks: "what is left of an ended job is removed, whoever leads",
		file: "pkg/dispatcher/cleanup.go",
		old:  `{"remove job graph", func(ctx context.Context) error { return t.graphs.Delete(ctx, t.token, j.id) }},`,
		new: `{"mark result clean early", func(ctx context.Context) error { return t.markClean(ctx, j.id) }},
		{"remove job graph", func(ctx context.Context) error { return t.graphs.Delete(ctx, t.token, j.id) }},`,
		tests: []test{simulation(300), unit("dispatcher", "TestCrashWhileAJobEnds")},
	},
}

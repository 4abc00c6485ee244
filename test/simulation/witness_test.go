package simulation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
)

// witness watches messages and checks what must hold at the moment when they are sent and answered. It
// knows the truth: it looks at the stores from outside.
type witness struct {
	world *world

	mu         sync.Mutex // guards all below
	violations []string
	// accepted is the newest token that each guard has let pass, of calls that have been answered.
	accepted map[guard]id.FencingToken
	// led holds the epochs under which each process accepted messages as a leader.
	led map[leadership]bool
	// refused counts the messages of leaders of the past that each life refused.
	refused map[*life]int64
	// triggered are the checkpoints that leaders of each job have begun.
	triggered map[id.Job]*begun
}

// begun is what the present leader of a job, and those before it, have begun.
type begun struct {
	epoch        uint64
	last, before int64
}

// guard is what a receiver refuses messages of the past with: one for each component that it follows or
// leads.
type guard struct {
	life *life
	of   haservices.Component
}

// leadership is one epoch of a component under which a process acted.
type leadership struct {
	process string
	of      haservices.Component
	epoch   uint64
}

func newWitness(w *world) *witness {
	return &witness{world: w, accepted: map[guard]id.FencingToken{}, led: map[leadership]bool{},
		refused: map[*life]int64{}, triggered: map[id.Job]*begun{}}
}

func (x *witness) violate(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.violations = append(x.violations, fmt.Sprintf(format, args...))
}

// messagesRefused counts the messages of leaders of the past that anybody refused.
func (x *witness) messagesRefused() (n int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, refused := range x.refused {
		n += refused
	}
	return n
}

// counted compares what a TaskManager has counted itself with what was seen.
func (x *witness) counted(l *life, count int64) {
	x.mu.Lock()
	seen := x.refused[l]
	x.mu.Unlock()
	if count < seen {
		x.violate("%s refused %d messages and counted %d", l.process.name, seen, count)
	}
}

// elected is whose leadership a message is about, and whether the receiver leads it.
func elected(r *rpc.Request) (c haservices.Component, leads bool) {
	if name, ok := strings.CutPrefix(r.Endpoint, protocol.JobMasterEndpoint+"/"); ok {
		job, _ := id.ParseJob(name)
		return haservices.JobMaster(job), true
	}
	switch {
	case r.Endpoint == protocol.DispatcherEndpoint:
		return haservices.Component{Kind: haservices.Dispatcher}, true
	case r.Endpoint == protocol.ResourceManagerEndpoint:
		return haservices.Component{Kind: haservices.ResourceManager}, true
	case r.Method == protocol.RequestSlot.Method, r.Method == protocol.ResourceManagerHeartbeat.Method:
		return haservices.Component{Kind: haservices.ResourceManager}, false
	}
	return haservices.JobMaster(decode[protocol.ReleaseJobRequest](r).Job), false // the job is field 1 of all
}

func decode[Req any](r *rpc.Request) (req Req) {
	_ = rpc.Unmarshal(r.Payload, &req) // what the receiver cannot read it refuses
	return req
}

// arrives is told of a message before it is handled. before is the newest token that its guard had let
// pass by then.
func (x *witness) arrives(l *life, r *rpc.Request) (before id.FencingToken) {
	c, _ := elected(r)
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.accepted[guard{l, c}]
}

// answers is told of the answer to a message.
func (x *witness) answers(l *life, r *rpc.Request, answer *rpc.Response, before id.FencingToken) {
	if l.killed() {
		return
	}
	c, leads := elected(r)
	switch answer.Code {
	case "":
		if r.Token.Epoch() < before.Epoch() || r.Token.Epoch() == before.Epoch() && r.Token != before && !before.IsZero() {
			x.violate("%s accepted %s of epoch %d of %s after one of epoch %d", l.process.name, r.Method, r.Token.Epoch(), c, before.Epoch())
		}
		x.note(l, c, leads, r.Token)
		x.promised(r)
	case "fenced":
		x.mu.Lock()
		x.refused[l]++
		x.mu.Unlock()
	}
}

func (x *witness) note(l *life, c haservices.Component, leads bool, token id.FencingToken) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if g := (guard{l, c}); token.Epoch() > x.accepted[g].Epoch() {
		x.accepted[g] = token
	}
	if leads {
		x.led[leadership{l.process.name, c, token.Epoch()}] = true
	}
}

// promised checks what an answer without error promises to a client.
func (x *witness) promised(r *rpc.Request) {
	switch r.Method {
	case protocol.SubmitJob.Method:
		job := decode[protocol.SubmitJobRequest](r).Graph.ID
		if !x.stored("jobgraphs/"+job.String()) && !x.ended(job) {
			x.violate("submission of job %s was answered, and it is not stored", job)
		}
	case protocol.CancelJob.Method:
		job := decode[protocol.CancelJobRequest](r).Job
		if !x.stored("jobs/"+job.String()+"/intent") && !x.ended(job) {
			x.violate("cancellation of job %s was answered, and it is not stored", job)
		}
	}
}

func (x *witness) stored(path string) bool {
	_, found := x.world.ha.Peek(path)
	return found
}

func (x *witness) ended(job id.Job) bool { return x.stored("job-results/" + job.String()) }

// sends is told of a message before it leaves. What a leader does must be in the stores before; a leader
// of the past, whose messages will be refused, is not asked.
func (x *witness) sends(l *life, r *rpc.Request) {
	if l.killed() || r.Endpoint != protocol.TaskManagerEndpoint {
		return
	}
	c, _ := elected(r)
	if x.world.ha.Epoch(c) != r.Token.Epoch() {
		return
	}
	var err error
	switch r.Method {
	case protocol.DeployTasks.Method:
		err = x.inLedger(c.Job, decode[protocol.DeployTasksRequest](r).Tasks)
	case protocol.FinishTasks.Method:
		err = x.intends(c.Job, haservices.FinishIntent)
	case protocol.ReleaseJob.Method:
		if !x.ended(c.Job) {
			err = errors.New("it has no stored result")
		}
	case protocol.TriggerCheckpoint.Method:
		err = x.begins(c.Job, r.Token.Epoch(), decode[protocol.TriggerCheckpointRequest](r).Checkpoint)
	case protocol.CompleteCheckpoint.Method:
		err = x.completed(c.Job, decode[protocol.CompleteCheckpointRequest](r).Checkpoint)
	}
	if err != nil && x.world.ha.Epoch(c) == r.Token.Epoch() {
		x.violate("%s sends %s of job %s, but %v", l.process.name, r.Method, c.Job, err)
	}
}

// begins checks that a leader begins only checkpoints above those of the leaders before it.
func (x *witness) begins(job id.Job, epoch uint64, n int64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.triggered[job]
	if b == nil {
		b = &begun{}
		x.triggered[job] = b
	}
	if epoch > b.epoch {
		b.epoch, b.before = epoch, max(b.before, b.last)
	}
	b.last = max(b.last, n)
	if n <= b.before {
		return fmt.Errorf("checkpoint %d was begun by an earlier leader", b.before)
	}
	return nil
}

// inLedger checks that the ledger names what is deployed, or later attempts, when this message is late.
func (x *witness) inLedger(job id.Job, tasks []protocol.TaskDeployment) error {
	ledger, err := x.ledger(job)
	if err != nil {
		return err
	}
	named := map[id.ExecutionAttempt]int{}
	for _, e := range ledger.Executions {
		subtask := e.Attempt
		subtask.Attempt = 0
		named[subtask] = e.Attempt.Attempt + 1
	}
	for _, task := range tasks {
		subtask := task.Attempt
		subtask.Attempt = 0
		if named[subtask] <= task.Attempt.Attempt {
			return fmt.Errorf("the ledger does not name attempt %s", task.Attempt)
		}
	}
	return nil
}

func (x *witness) ledger(job id.Job) (l haservices.Ledger, err error) {
	path := "jobs/" + job.String() + "/executions"
	data, found := x.world.ha.Peek(path)
	if !found {
		return l, errors.New("there is no ledger")
	}
	var node struct {
		File   string             `json:"file"`
		Ledger *haservices.Ledger `json:"ledger"`
	}
	if err := json.Unmarshal([]byte(data), &node); err != nil {
		return l, err
	}
	if node.Ledger != nil {
		return *node.Ledger, nil
	}
	content, err := x.world.readFile(node.File)
	if err != nil {
		return l, err
	}
	return l, json.Unmarshal(content, &l)
}

func (w *world) readFile(file string) ([]byte, error) {
	r, err := w.files.Open(w.lateCtx, file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (x *witness) intends(job id.Job, kind haservices.IntentKind) error {
	data, found := x.world.ha.Peek("jobs/" + job.String() + "/intent")
	if !found || !strings.Contains(data, strconv.Quote(string(kind))) {
		return fmt.Errorf("its intent is %q", data)
	}
	return nil
}

// completed checks that checkpoint n is stored, or has been subsumed by a later one.
func (x *witness) completed(job id.Job, n int64) error {
	for path := range x.world.ha.Nodes() {
		name, ok := strings.CutPrefix(path, "jobs/"+job.String()+"/checkpoints/")
		if later, err := strconv.ParseInt(name, 10, 64); ok && err == nil && later >= n {
			return nil
		}
	}
	if x.ended(job) {
		return nil // its nodes may be gone
	}
	return fmt.Errorf("checkpoint %d is not stored", n)
}

// deletes is told of a file or directory before it goes. Nothing goes that a node points to, and of a job that
// has not ended no state of a checkpoint that may still be completed: none above the newest that is stored.
func (x *witness) deletes(l *life, name string) {
	var newest int64
	job, n, state := stateOf(name)
	for path, data := range x.world.ha.Nodes() {
		var node struct {
			File string `json:"file"`
		}
		if json.Unmarshal([]byte(data), &node) == nil && (node.File == name || strings.HasPrefix(node.File, name+"/")) {
			x.violate("%s deletes %s, and %s points to %s", l.process.name, name, path, node.File)
		}
		if dir, stored, ok := checkpointPath(path); ok && strings.Contains(dir, job) {
			newest = max(newest, stored)
		}
	}
	if jobID, err := id.ParseJob(job); state && n > newest && err == nil && !x.ended(jobID) {
		x.violate("%s deletes %s, and the newest checkpoint stored is %d", l.process.name, name, newest)
	}
}

// stateOf parses /checkpoints/<job>/chk-<n> and what lies below it, but for the record of the checkpoint, which
// goes when its node could not be made.
func stateOf(name string) (job string, checkpoint int64, ok bool) {
	parts := strings.Split(strings.TrimPrefix(name, "/checkpoints/"), "/")
	if len(parts) < 2 || path.Base(name) == "_metadata" {
		return "", 0, false
	}
	n, err := strconv.ParseInt(strings.TrimPrefix(parts[1], "chk-"), 10, 64)
	return parts[0], n, err == nil
}

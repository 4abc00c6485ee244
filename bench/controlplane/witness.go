package main

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
	"github.com/tamias-project/tamias/pkg/rpc"
	"github.com/tamias-project/tamias/pkg/taskmanager/taskmanagertest"
)

// witness notes what happens to the TaskManagers of one fleet: on their wire, and in their simulated job
// processes.
type witness struct {
	tasks *taskmanagertest.Tasks
	// heartbeats received from ResourceManagers and JobMasters.
	resourceManager, jobMasters atomic.Int64

	mu sync.Mutex // guards all below; a leaf
	// registered says when the ResourceManager of an epoch first accepted a TaskManager.
	registered map[uint64]map[id.TaskManager]time.Time
	// attached says which JobMaster first accepted a TaskManager of its job last.
	attached map[attachment]acceptance
}

type attachment struct {
	job id.Job
	tm  id.TaskManager
}

type acceptance struct {
	epoch uint64
	at    time.Time
}

// witnessed is an answer of a fleet.
type witnessed struct {
	// Registered is when TaskManagers were accepted by the ResourceManager of the epoch asked for.
	Registered []time.Time
	// Attached is when TaskManagers were accepted by a JobMaster of that epoch or a later one.
	Attached []time.Time
	// Heartbeats received so far from ResourceManagers, and from JobMasters.
	Heartbeats, JobHeartbeats int64
	// Started and Lost are tasks since the beginning, if they were asked for: those whose process ended under them
	// are lost.
	Started, Lost int
	Violations    []string
}

func newWitness() *witness {
	return &witness{
		tasks:      taskmanagertest.New(taskmanagertest.Config{}),
		registered: map[uint64]map[id.TaskManager]time.Time{},
		attached:   map[attachment]acceptance{},
	}
}

func (w *witness) answer(q question) witnessed {
	a := witnessed{Heartbeats: w.resourceManager.Load(), JobHeartbeats: w.jobMasters.Load(), Violations: w.tasks.Violations()}
	if q.Tasks {
		a.Started, a.Lost = w.tasks.Count(id.Job{}, taskmanagertest.Started), w.tasks.Count(id.Job{}, taskmanagertest.Lost)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range w.registered[q.Epoch] {
		a.Registered = append(a.Registered, at)
	}
	for _, x := range w.attached {
		if x.epoch >= q.Epoch {
			a.Attached = append(a.Attached, x.at)
		}
	}
	slices.SortFunc(a.Registered, time.Time.Compare)
	slices.SortFunc(a.Attached, time.Time.Compare)
	return a
}

// accepted notes a call that a leader answered without error.
func (w *witness) accepted(r *rpc.Request) {
	switch r.Method {
	case protocol.RegisterTaskManager.Method:
		var request struct {
			ID id.TaskManager `cbor:"1,keyasint"`
		}
		if rpc.Unmarshal(r.Payload, &request) != nil {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		byName := w.registered[r.Token.Epoch()]
		if byName == nil {
			byName = map[id.TaskManager]time.Time{}
			w.registered[r.Token.Epoch()] = byName
		}
		if _, again := byName[request.ID]; !again {
			byName[request.ID] = time.Now()
		}
	case protocol.RegisterAtJobMaster.Method:
		var request struct {
			Job         id.Job         `cbor:"1,keyasint"`
			TaskManager id.TaskManager `cbor:"2,keyasint"`
		}
		if rpc.Unmarshal(r.Payload, &request) != nil {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		key, epoch := attachment{request.Job, request.TaskManager}, r.Token.Epoch()
		if w.attached[key].epoch < epoch {
			w.attached[key] = acceptance{epoch, time.Now()}
		}
	}
}

// watchedTransport is a transport whose calls are witnessed.
type watchedTransport struct {
	*rpc.GRPC
	witness *witness
}

// Call implements rpc.Transport.
func (t *watchedTransport) Call(ctx context.Context, address string, r *rpc.Request) (*rpc.Response, error) {
	answer, err := t.GRPC.Call(ctx, address, r)
	if err == nil && answer.Code == "" {
		t.witness.accepted(r)
	}
	return answer, err
}

// Serve implements rpc.Transport.
func (t *watchedTransport) Serve(ctx context.Context, h rpc.Handler) error {
	return t.GRPC.Serve(ctx, func(ctx context.Context, r *rpc.Request) *rpc.Response {
		switch r.Method {
		case protocol.ResourceManagerHeartbeat.Method:
			t.witness.resourceManager.Add(1)
		case protocol.JobMasterHeartbeat.Method:
			t.witness.jobMasters.Add(1)
		}
		return h(ctx, r)
	})
}

// sharedObserver follows the leader of one component once, for all TaskManagers of a fleet. Each would follow
// it itself in a process of its own, on a machine of its own; here that would only load this one.
type sharedObserver struct {
	haservices.Driver
	component haservices.Component

	mu        sync.Mutex // guards all below; held while listeners are told, who must not block
	leader    haservices.LeaderInformation
	listeners map[int]func(haservices.LeaderInformation)
	next      int
}

func observeOnce(d haservices.Driver, c haservices.Component) haservices.Driver {
	o := &sharedObserver{Driver: d, component: c, listeners: map[int]func(haservices.LeaderInformation){}}
	go d.Observe(context.Background(), c, o.tell) //nolint:errcheck // ends with the process
	return o
}

func (o *sharedObserver) tell(l haservices.LeaderInformation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.leader = l
	for _, tell := range o.listeners {
		tell(l)
	}
}

// Observe implements haservices.Driver.
func (o *sharedObserver) Observe(ctx context.Context, c haservices.Component, tell func(haservices.LeaderInformation)) error {
	if c != o.component {
		return o.Driver.Observe(ctx, c, tell)
	}
	o.mu.Lock()
	n := o.next
	o.next++
	o.listeners[n] = tell
	if !o.leader.IsEmpty() {
		tell(o.leader)
	}
	o.mu.Unlock()
	<-ctx.Done()
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.listeners, n)
	return ctx.Err()
}

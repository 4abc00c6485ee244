package haservices_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/protocol"
)

var errPower = errors.New("no power")

// outage cuts the power of one process at the nth change that it makes to nodes or files: before it is
// carried out, or after, when nobody hears of it any more.
type outage struct {
	process string
	at      int // 0: never
	applied bool

	mu    sync.Mutex // guards count
	count int
	off   chan struct{} // closed at the cut
}

func newOutage(process string, at int, applied bool) *outage {
	return &outage{process: process, at: at, applied: applied, off: make(chan struct{})}
}

type current int

const (
	on current = iota
	cut
	dark
)

// next counts a change, or only looks.
func (o *outage) next(change bool) current {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.at > 0 && o.count >= o.at {
		return dark
	}
	if change {
		o.count++
	}
	if o.at > 0 && o.count == o.at {
		close(o.off)
		return cut
	}
	return on
}

// changes is how many there were.
func (o *outage) changes() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.count
}

func (o *outage) outcome(c embedded.Call) embedded.Outcome {
	if c.Process != o.process {
		return embedded.Answered
	}
	switch o.next(slices.Contains([]string{"create", "set", "put", "delete"}, c.Operation)) {
	case cut:
		if o.applied {
			return embedded.LoseAnswer
		}
		return embedded.LoseRequest
	case dark:
		return embedded.Refuse
	}
	return embedded.Answered
}

// powered is the file system as a process under an outage sees it.
type powered struct {
	filesystem.FileSystem
	*outage
}

func (p powered) change(do func() error) error {
	switch now := p.next(true); {
	case now == on:
		return do()
	case now == cut && p.applied:
		return errors.Join(errPower, do())
	}
	return errPower
}

func (p powered) Create(ctx context.Context, path string, r io.Reader) error {
	return p.change(func() error { return p.FileSystem.Create(ctx, path, r) })
}

func (p powered) Delete(ctx context.Context, path string) error {
	return p.change(func() error { return p.FileSystem.Delete(ctx, path) })
}

func (p powered) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	if p.next(false) == dark {
		return nil, errPower
	}
	return p.FileSystem.Open(ctx, path)
}

func (p powered) List(ctx context.Context, path string) ([]string, error) {
	if p.next(false) == dark {
		return nil, errPower
	}
	return p.FileSystem.List(ctx, path)
}

// protocolOfAJob is the life of one job in the stores, from its submission until nothing but its result is
// left. A leader that finds a part of it done does the rest. Its fields are what leaders were told to be
// stored: that must never be lost.
type protocolOfAJob struct {
	submitted   bool
	wave        int
	number      int64 // of checkpoints
	checkpoint  int64
	checkpoints int
	intent      bool
	ended       bool
	clean       bool
}

const (
	wavesOfAJob       = 4
	checkpointsOfAJob = 4
	retainedOfAJob    = 2
)

var errLost = errors.New("lost")

func (p *protocolOfAJob) live(s *poweredStores) error {
	if err := s.claim(); err != nil {
		return err
	}
	result, err := s.results.Get(s.ctx, jobID)
	switch {
	case err == nil && (p.clean && result.Dirty):
		return fmt.Errorf("%w: that the result is clean", errLost)
	case err == nil:
		p.ended = true
		return p.bury(s)
	case !errors.Is(err, haservices.ErrNotFound):
		return err
	case p.ended:
		return fmt.Errorf("%w: the result", errLost)
	}
	for _, step := range []func(*poweredStores) error{
		func(s *poweredStores) error { return s.services.Sweep(s.ctx, s.election, s.token) },
		p.submit, p.deploy, p.takeCheckpoints, p.intend, p.end, p.bury,
	} {
		if err := step(s); err != nil {
			return err
		}
	}
	return nil
}

func (p *protocolOfAJob) submit(s *poweredStores) error {
	_, err := s.graphs.Get(s.ctx, jobID)
	switch {
	case errors.Is(err, haservices.ErrNotFound) && p.submitted:
		return fmt.Errorf("%w: the job", errLost)
	case err != nil && !errors.Is(err, haservices.ErrNotFound):
		return err
	}
	if err := s.services.Blobs().Put(s.ctx, jobID, emptyKey, strings.NewReader("")); err != nil {
		return err
	}
	if err := s.graphs.Put(s.ctx, s.token, storedJob("a")); err != nil {
		return err
	}
	p.submitted = true
	return nil
}

// deploy writes ledgers: small ones lie in the node, large ones in a file, which the clean-up finds.
func (p *protocolOfAJob) deploy(s *poweredStores) error {
	l, err := s.ledger.Get(s.ctx)
	switch {
	case err != nil && !errors.Is(err, haservices.ErrNotFound):
		return err
	case l.Wave < p.wave || l.Wave > p.wave+1:
		return fmt.Errorf("%w: the ledger: wave %d after %d", errLost, l.Wave, p.wave)
	}
	for p.wave = l.Wave; p.wave < wavesOfAJob; p.wave++ {
		if err := s.ledger.Put(s.ctx, s.token, ledger(p.wave+1, []int{3, 100, 3, 200}[p.wave])); err != nil {
			return err
		}
	}
	return nil
}

func (p *protocolOfAJob) takeCheckpoints(s *poweredStores) error {
	cp, err := s.checkpoints.Latest(s.ctx)
	switch {
	case err == nil && cp.ID < p.checkpoint, errors.Is(err, haservices.ErrNotFound) && p.checkpoint > 0:
		return fmt.Errorf("%w: checkpoint %d", errLost, p.checkpoint)
	case err != nil && !errors.Is(err, haservices.ErrNotFound):
		return err
	}
	for p.checkpoints < checkpointsOfAJob {
		n, err := s.ids.Next(s.ctx, s.token)
		if err != nil {
			return err
		}
		if n <= p.number {
			return fmt.Errorf("%w: checkpoint ID %d after %d", errLost, n, p.number)
		}
		p.number = n
		cp := completed(n)
		if err := s.files.Create(s.ctx, cp.Path+"/state", strings.NewReader("state")); err != nil {
			return err
		}
		if err := s.checkpoints.Add(s.ctx, s.token, cp); err != nil {
			return err
		}
		p.checkpoint = n
		p.checkpoints++
		if err := s.checkpoints.Subsume(s.ctx, s.token, cp, retainedOfAJob); err != nil {
			return err
		}
	}
	return nil
}

func (p *protocolOfAJob) intend(s *poweredStores) error {
	if _, err := s.intent.Get(s.ctx); errors.Is(err, haservices.ErrNotFound) && p.intent {
		return fmt.Errorf("%w: the intent", errLost)
	}
	err := s.intent.Put(s.ctx, s.token, haservices.Intent{Kind: haservices.CancelIntent})
	p.intent = err == nil
	return err
}

func (p *protocolOfAJob) end(s *poweredStores) error {
	err := s.results.PutDirty(s.ctx, s.token, result(protocol.JobCanceled))
	p.ended = err == nil
	return err
}

func (p *protocolOfAJob) bury(s *poweredStores) error {
	if err := s.graphs.Delete(s.ctx, s.token, jobID); err != nil {
		return err
	}
	if err := s.services.CleanupJob(s.ctx, s.election, s.token, jobID); err != nil {
		return err
	}
	err := s.results.MarkClean(s.ctx, s.token, jobID)
	p.clean = err == nil
	return err
}

// leadUnder starts a process under an outage, and waits until it leads.
func (w *world) leadUnder(o *outage) *poweredStores {
	files := powered{w.files, o}
	s := haservices.New(haservices.Config{Driver: w.cluster.Driver(o.process), FileSystem: files, StorageDir: "file:///ha", ClusterID: "/test"})
	w.Cleanup(func() { s.Close(context.Background()) })
	e, lead := w.lead(s, dispatcher)
	return &poweredStores{files: files, stores: &stores{
		services: s, election: e, ctx: lead.ctx, token: lead.token, graphs: s.JobGraphs(e), results: s.JobResults(e),
		checkpoints: s.Checkpoints(e, jobID), ids: s.CheckpointIDs(e, jobID), ledger: s.Ledger(e, jobID), intent: s.Intent(e, jobID),
	}}
}

// poweredStores are the stores of a leader under an outage, and the file system where tasks save state.
type poweredStores struct {
	*stores
	files filesystem.FileSystem
}

// live lets a leader do what it can before the power goes, and restarts the world after that. It reports
// whether the power went.
func (w *world) live(p *protocolOfAJob, o *outage) (cutOff bool) {
	w.faults.set(o.outcome)
	s := w.leadUnder(o)
	done := make(chan error, 1) // room for one: a process without power is not waited for
	go func() { done <- p.live(s) }()
	var err error
	select {
	case err = <-done:
	case <-o.off:
		synctest.Wait()
		select {
		case err = <-done:
		default: // it waits for a coordination service that it will never hear again
		}
	}
	if err != nil && o.changes() < o.at || errors.Is(err, errLost) {
		w.Errorf("%s: %v", o.process, err)
	}
	w.cluster.Kill(o.process)
	w.files.Crash()
	w.checkPointers()
	w.checkStates()
	return o.at > 0 && o.changes() >= o.at
}

// checkStates fails if a checkpoint is stored without its state.
func (w *world) checkStates() {
	w.Helper()
	files := w.files.Files()
	for path, data := range w.cluster.Nodes() {
		var node struct {
			Path string `json:"path"`
		}
		if !strings.Contains(path, "/checkpoints/") || json.Unmarshal([]byte(data), &node) != nil {
			continue
		}
		if state := strings.TrimPrefix(node.Path, "file://") + "/state"; !slices.Contains(files, state) {
			w.Errorf("node %s points to a checkpoint without %s", path, state)
		}
	}
}

// onlyTheResult fails if anything but the job's result is left, and whose storage directory it is.
func (w *world) onlyTheResult() {
	w.Helper()
	for path := range w.cluster.Nodes() {
		if path != "job-results/"+jobID.String() && path != "storage-owner" {
			w.Errorf("node %s is left", path)
		}
	}
	if files := w.files.Files(); len(files) != 2 || !strings.Contains(files[0], "/job-results/") || files[1] != ownerFile {
		w.Errorf("files %q are left, want the result and the owner", files)
	}
}

// TestPowerCutAtEveryStep cuts the power before and after every single change that the life of a job
// makes to nodes and files, and a second time at some change that the next leader makes. Whatever a
// leader was told to be stored is there for the one after it, no node ever points to a file that is not
// there, and in the end nothing is left but the result.
func TestPowerCutAtEveryStep(t *testing.T) {
	var changes int
	synctest.Test(t, func(t *testing.T) {
		w, p, o := newWorld(t), &protocolOfAJob{}, newOutage("jm-1", 0, false)
		w.live(p, o)
		w.onlyTheResult()
		changes = o.changes()
	})
	if changes < 30 {
		t.Fatalf("only %d changes seen: the cuts are not where they should be", changes)
	}
	for first := 1; first <= changes; first++ {
		for _, applied := range []bool{false, true} {
			// The second cut falls everywhere in turn; beyond the last change there is none.
			second := 1 + (first*7)%(changes+5)
			t.Run(fmt.Sprintf("%d %v, then %d", first, applied, second), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, p := newWorld(t), &protocolOfAJob{}
					if !w.live(p, newOutage("jm-1", first, applied)) {
						t.Error("the power was not cut")
					}
					w.live(p, newOutage("jm-2", second, !applied))
					w.live(p, newOutage("jm-3", 0, false))
					w.onlyTheResult()
				})
			})
		}
	}
}

// TestPowerCutTwiceAtTheSameStep lets the power go at the same change of two leaders in a row.
func TestPowerCutTwiceAtTheSameStep(t *testing.T) {
	for n := 1; n <= 60; n++ {
		synctest.Test(t, func(t *testing.T) {
			w, p := newWorld(t), &protocolOfAJob{}
			for i := range 3 {
				w.live(p, newOutage(fmt.Sprintf("jm-%d", i), n, i%2 == 0))
			}
			w.live(p, newOutage("jm-last", 0, false))
			w.onlyTheResult()
		})
		if t.Failed() {
			t.Fatalf("cut at change %d", n)
		}
	}
}

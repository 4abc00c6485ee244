package haservices_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/embedded"
	"github.com/tamias-project/tamias/pkg/haservices/local"
	"github.com/tamias-project/tamias/pkg/haservices/standalone"
	"github.com/tamias-project/tamias/pkg/id"
)

const ownerFile = "/ha/test/files/owner"

// neighbour is another cluster, with a coordination service of its own, on the same storage directory.
func (w *world) neighbour(t *testing.T) *world {
	n := newWorld(t)
	n.files = w.files
	return n
}

func (s *stores) claim() error { return s.services.ClaimStorage(s.ctx, s.election, s.token) }

// filesNow are all files with their content.
func (w *world) filesNow() map[string]string {
	w.Helper()
	all := map[string]string{}
	for _, f := range w.files.Files() {
		all[f] = w.content(f)
	}
	return all
}

// TestTwoClustersOneStorageDirectory: two clusters with the same directory and the same cluster-id, but not the same
// coordination service. The second one does not lead, and leaves everything of the first one alone.
func TestTwoClustersOneStorageDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.stores("jm-1")
		w.must(s.claim())
		w.must(s.graphs.Put(s.ctx, s.token, storedJob("a")))
		w.must(s.ledger.Put(s.ctx, s.token, ledger(1, 200)))
		before := w.filesNow()

		n := w.neighbour(t)
		services := n.process("jm-9")
		election := services.LeaderElection(dispatcher)
		err := election.Run(t.Context(), lead(func(ctx context.Context, token id.FencingToken) error {
			if err := services.ClaimStorage(ctx, election, token); err != nil {
				return err
			}
			return services.Sweep(ctx, election, token)
		}))
		if !errors.Is(err, haservices.ErrForeignStorage) {
			t.Errorf("Run of a Dispatcher of another cluster = %v, want ErrForeignStorage", err)
		}
		for _, fact := range []string{ownerFile, "coordination of jm-1", "host of jm-1", "coordination of jm-9", "cluster-id", "delete the file"} {
			if !strings.Contains(fmt.Sprint(err), fact) {
				t.Errorf("the error does not tell %q: %v", fact, err)
			}
		}
		if now := w.filesNow(); !maps.Equal(now, before) {
			t.Errorf("the files of the first cluster are %v, were %v", now, before)
		}
		if nodes := n.cluster.Nodes(); len(nodes) != 0 {
			t.Errorf("the second cluster has the nodes %v", nodes)
		}
		w.must(s.claim())
	})
}

// lead makes a function a haservices.LeaderContender.
type lead func(ctx context.Context, token id.FencingToken) error

func (f lead) Lead(ctx context.Context, token id.FencingToken) error { return f(ctx, token) }

// TestClaimsThatAreInterrupted cuts the power of a process at each change that its claim makes, before and after it.
// Then the next leader of its cluster claims the directory and another cluster tries to, in turns: whichever comes
// first may have it, unless the file was there, and it keeps it.
func TestClaimsThatAreInterrupted(t *testing.T) {
	const changes = 3
	for at := 1; at <= changes+1; at++ {
		for _, applied := range []bool{false, true} {
			for _, rivalFirst := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d %v, rival first %v", at, applied, rivalFirst), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t)
						o := newOutage("jm-1", at, applied)
						w.faults.set(o.outcome)
						s := w.leadUnder(o)
						done := make(chan error, 1) // room for one: a process without power is not waited for
						go func() { done <- s.claim() }()
						synctest.Wait()
						if o.changes() != min(at, changes) {
							t.Errorf("cut at change %d: it made %d", at, o.changes())
						}
						w.cluster.Kill("jm-1")
						w.files.Crash()

						written := len(w.files.Files()) > 0
						rival, next := w.neighbour(t).stores("jm-9"), w.stores("jm-2")
						first, second := next, rival
						if rivalFirst && !written {
							first, second = rival, next
						}
						for range 2 {
							if err := first.claim(); err != nil {
								t.Errorf("ClaimStorage of whom it belongs to = %v", err)
							}
							if err := second.claim(); !errors.Is(err, haservices.ErrForeignStorage) {
								t.Errorf("ClaimStorage of the other cluster = %v, want ErrForeignStorage", err)
							}
						}
					})
				})
			}
		}
	}
}

// TestAMissingStorageDirectoryIsWaitedFor: the nodes tell of files that are not there. Nobody takes the directory
// for an empty one, and when it is back a leader finds it.
func TestAMissingStorageDirectoryIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.stores("jm-1")
		w.must(s.claim())
		owner := w.content(ownerFile)
		w.cluster.Kill("jm-1")
		w.must(w.files.Delete(t.Context(), ownerFile))

		services, claimed := w.process("jm-2"), make(chan error, 100)
		election := services.LeaderElection(dispatcher)
		w.contendWith(election, lead(func(ctx context.Context, token id.FencingToken) error {
			err := services.ClaimStorage(ctx, election, token)
			claimed <- err
			if err == nil {
				<-ctx.Done()
			}
			return err
		}))
		for range 3 {
			err := <-claimed
			if !errors.Is(err, haservices.ErrStorageMissing) || errors.Is(err, haservices.ErrForeignStorage) || !strings.Contains(err.Error(), ownerFile) {
				t.Errorf("ClaimStorage without the file = %v, want ErrStorageMissing", err)
			}
		}
		if len(w.files.Files()) != 0 {
			t.Errorf("files %v were made", w.files.Files())
		}
		w.must(w.files.Create(t.Context(), ownerFile, strings.NewReader(owner)))
		for err := error(haservices.ErrStorageMissing); err != nil; {
			select {
			case err = <-claimed:
			case <-time.After(time.Minute):
				t.Fatal("nobody leads although the directory is back")
			}
		}
	})
}

// deleteNode does what an operator does with the service's own tools.
func (w *world) deleteNode(path string) {
	w.Helper()
	term, err := w.cluster.Driver("operator").Campaign(w.Context(), haservices.Component{Kind: haservices.RestServer}, haservices.Contender{})
	w.must(err)
	w.must(term.Write(w.Context(), haservices.Write{Operation: haservices.Delete, Path: path, Version: haservices.AnyVersion}))
	term.Resign(w.Context())
}

// TestGivingUpWhatWasLost: an operator who deletes what is left of a claim can begin anew.
func TestGivingUpWhatWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.must(w.stores("jm-1").claim())
		emptied := w.neighbour(t)
		n := emptied.stores("jm-9") // as if the nodes had been lost
		w.must(w.files.Delete(t.Context(), ownerFile))
		w.must(n.claim())
		// And now the files.
		w.must(w.files.Delete(t.Context(), "/ha"))
		if err := n.claim(); !errors.Is(err, haservices.ErrStorageMissing) {
			t.Errorf("ClaimStorage without the files = %v, want ErrStorageMissing", err)
		}
		emptied.deleteNode("storage-owner")
		w.must(n.claim())
		w.must(n.claim())
	})
}

// TestADamagedOwnerIsNotReplaced: nor is one of a newer build.
func TestADamagedOwnerIsNotReplaced(t *testing.T) {
	for content, want := range map[string]error{
		"{": haservices.ErrUnreadable, "{}": haservices.ErrUnreadable, `{"format":1000000,"id":"X"}`: haservices.ErrNewerFormat,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.must(w.files.Create(t.Context(), ownerFile, strings.NewReader(content)))
			if err := w.stores("jm-1").claim(); !errors.Is(err, want) {
				t.Errorf("ClaimStorage with the file %q = %v, want %v", content, err, want)
			}
			if got := w.content(ownerFile); got != content || len(w.cluster.Nodes()) != 0 {
				t.Errorf("after that the file is %q, the nodes %v", got, w.cluster.Nodes())
			}
		})
	}
}

// TestStandbysCheckTheStorageDirectory: they may see the nodes late, so only a contradiction counts.
func TestStandbysCheckTheStorageDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		check := func(when string, w *world, storageDir string, want error) {
			t.Helper()
			s := haservices.New(haservices.Config{Driver: w.cluster.Driver("standby"), FileSystem: w.files, StorageDir: storageDir, ClusterID: "test"})
			if err := s.CheckStorage(t.Context()); !errors.Is(err, want) {
				t.Errorf("%s: CheckStorage = %v, want %v", when, err, want)
			}
			w.must(s.Close(t.Context()))
		}
		check("nobody has led", w, "/ha", nil)
		w.must(w.stores("jm-1").claim())
		check("claimed", w, "/ha", nil)
		check("another directory is mounted", w, "/other", haservices.ErrStorageMissing)
		check("nodes only in memory", w, "", nil)
		n := w.neighbour(t)
		check("its nodes are behind, perhaps", n, "/ha", nil)
		n.files = filesystem.NewMemory()
		w.must(n.stores("jm-9").claim())
		n.files = w.files
		check("another cluster's directory", n, "/ha", haservices.ErrForeignStorage)
	})
}

// TestStorageOfBackendsWithoutServer: their nodes lie in the storage directory too, and the file keeps others out.
// NONE and local are one cluster, as their nodes are the same.
func TestStorageOfBackendsWithoutServer(t *testing.T) {
	dir := t.TempDir()
	claim := func(driver haservices.Driver, err error) error {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		s := haservices.New(haservices.Config{Driver: driver, FileSystem: filesystem.NewLocal(), StorageDir: dir})
		defer s.Close(context.WithoutCancel(t.Context()))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var claimed error
		election := s.LeaderElection(dispatcher)
		if err := election.Run(ctx, lead(func(ctx context.Context, token id.FencingToken) error {
			defer cancel()
			claimed = s.ClaimStorage(ctx, election, token)
			return nil
		})); err != nil {
			t.Errorf("Run = %v", err)
		}
		return claimed
	}
	cluster := embedded.NewCluster(embedded.Config{})
	for _, tc := range []struct {
		name  string
		claim func() error
		want  error
	}{
		{"NONE", func() error { return claim(standalone.New(standalone.Config{StorageDir: dir})) }, nil},
		{"NONE again", func() error { return claim(standalone.New(standalone.Config{StorageDir: dir})) }, nil},
		{"local", func() error { return claim(local.New(local.Config{StorageDir: dir})) }, nil},
		{"a coordination service", func() error { return claim(cluster.Driver("jm"), nil) }, haservices.ErrForeignStorage},
	} {
		if err := tc.claim(); !errors.Is(err, tc.want) {
			t.Errorf("ClaimStorage with %s = %v, want %v", tc.name, err, tc.want)
		}
	}
}

package standalone_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/hatest"
	"github.com/tamias-project/tamias/pkg/haservices/standalone"
	"github.com/tamias-project/tamias/pkg/id"
)

var job = haservices.JobMaster(id.Job{1, 2, 3})

func newDriver(t *testing.T, dir string) *standalone.Driver {
	t.Helper()
	d, err := standalone.New(standalone.Config{
		StorageDir: dir, Address: standalone.FixedAddresses("jm:6123", "http://jm:8081"), PollInterval: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformanceInMemory(t *testing.T) {
	open := func(t *testing.T) hatest.Fixture {
		return hatest.Fixture{Fixed: true, New: func() haservices.Driver { return newDriver(t, "") }}
	}
	hatest.Conformance(t, open)
	t.Run("in a bubble", func(t *testing.T) { hatest.ConformanceInBubble(t, open) })
}

func TestConformanceWithStorageDir(t *testing.T) {
	hatest.Conformance(t, func(t *testing.T) hatest.Fixture {
		return hatest.Fixture{Fixed: true, New: func() haservices.Driver { return newDriver(t, t.TempDir()) }}
	})
}

// observe returns what Observe tells, until the test ends.
func observe(t *testing.T, d haservices.Driver, c haservices.Component) <-chan haservices.LeaderInformation {
	told, done := make(chan haservices.LeaderInformation, 16), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		d.Observe(ctx, c, func(l haservices.LeaderInformation) { told <- l })
	}()
	return told
}

func TestFixedAddresses(t *testing.T) {
	taskManager := newDriver(t, "")
	defer taskManager.Close()
	for c, want := range map[haservices.Component]string{
		{Kind: haservices.ResourceManager}: "tamias://jm:6123/resource_manager",
		{Kind: haservices.Dispatcher}:      "tamias://jm:6123/dispatcher",
		{Kind: haservices.RestServer}:      "http://jm:8081",
		job:                                "tamias://jm:6123/job_manager/" + job.Job.String(),
	} {
		if got := <-observe(t, taskManager, c); got != (haservices.LeaderInformation{Address: want}) {
			t.Errorf("leader of %s is %v, want %s and the zero token", c, got, want)
		}
	}
}

// TestRestartedJobManager: a TaskManager that reads the storage directory sees the job master's tokens,
// and those of a restarted JobManager are higher.
func TestRestartedJobManager(t *testing.T) {
	dir := t.TempDir()
	taskManager := newDriver(t, dir)
	defer taskManager.Close()
	leaders := observe(t, taskManager, job)
	var last uint64
	for _, address := range []string{"tamias://jm:1/job_manager/x", "tamias://jm:2/job_manager/x"} {
		jobManager := newDriver(t, dir)
		if l := <-observe(t, jobManager, haservices.Component{Kind: haservices.Dispatcher}); !l.Token.IsZero() {
			t.Errorf("the dispatcher's token is %s, want zero", l.Token)
		}
		term, err := jobManager.Campaign(t.Context(), job, haservices.Contender{})
		if err != nil {
			t.Fatal(err)
		}
		if term.Token().Epoch() <= last {
			t.Errorf("epoch %d after %d", term.Token().Epoch(), last)
		}
		last = term.Token().Epoch()
		if err := term.Publish(t.Context(), address); err != nil {
			t.Fatal(err)
		}
		if l := <-leaders; l != (haservices.LeaderInformation{Address: address, Token: term.Token()}) {
			t.Errorf("leader is %v, want %s with %s", l, address, term.Token())
		}
		if err := jobManager.Close(); err != nil {
			t.Fatal(err)
		}
		if l := <-leaders; !l.IsEmpty() {
			t.Errorf("leader is %v, want none", l)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "default/ha/leaderlatch", job.Path(), "*"))
	if err != nil || len(files) != 1 {
		t.Errorf("epoch files are %q, %v, want one", files, err)
	}
}

// TestTwoJobManagers on one directory are a mistake; of a job at least, only the later one writes.
func TestTwoJobManagers(t *testing.T) {
	dir := t.TempDir()
	a, b := newDriver(t, dir), newDriver(t, dir)
	defer a.Close()
	defer b.Close()
	first, err := a.Campaign(t.Context(), job, haservices.Contender{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.Campaign(t.Context(), job, haservices.Contender{})
	if err != nil {
		t.Fatal(err)
	}
	write := haservices.Write{Operation: haservices.Put, Path: "jobs/x/intent", Data: []byte("1")}
	if err := first.Write(t.Context(), write); !errors.Is(err, haservices.ErrNotLeader) {
		t.Errorf("write of the earlier one = %v, want ErrNotLeader", err)
	}
	<-first.Lost()
	if err := second.Write(t.Context(), write); err != nil {
		t.Errorf("write of the later one = %v", err)
	}
}

func TestJobsOutliveTheJobManager(t *testing.T) {
	dir := t.TempDir()
	write := haservices.Write{Operation: haservices.Create, Path: "jobgraphs/a", Data: []byte("{}")}
	d := newDriver(t, dir)
	term, err := d.Campaign(t.Context(), haservices.Component{Kind: haservices.Dispatcher}, haservices.Contender{})
	if err != nil {
		t.Fatal(err)
	}
	if err := term.Write(t.Context(), write); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = newDriver(t, dir)
	defer d.Close()
	if n, err := d.Read(t.Context(), "jobgraphs/a"); err != nil || string(n.Data) != "{}" {
		t.Errorf("after a restart the node holds %q, %v", n.Data, err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "default/ha/jobgraphs/a")); err != nil || string(data) != "{}" {
		t.Errorf("its file holds %q, %v", data, err)
	}
}

package local_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/hatest"
	"github.com/tamias-project/tamias/pkg/haservices/local"
)

func newDriver(t *testing.T, cfg local.Config) *local.Driver {
	t.Helper()
	d, err := local.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformance(t *testing.T) {
	hatest.Conformance(t, func(t *testing.T) hatest.Fixture {
		// A killed driver of this process shows in nothing but its lock, so only polling finds it.
		cfg := local.Config{StorageDir: t.TempDir(), PollInterval: 20 * time.Millisecond}
		return hatest.Fixture{
			New:  func() haservices.Driver { return newDriver(t, cfg) },
			Kill: func(d haservices.Driver) { d.(*local.Driver).Abandon() },
		}
	})
}

func TestNewRefusesBadDirectories(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", "relative/dir", "s3://bucket/dir", file} {
		if _, err := local.New(local.Config{StorageDir: dir}); err == nil {
			t.Errorf("New with storageDir %q succeeded", dir)
		}
	}
}

// TestTreeIsReadable: an operator finds out with cat.
func TestTreeIsReadable(t *testing.T) {
	dir := t.TempDir()
	d := newDriver(t, local.Config{StorageDir: "file://" + dir, ClusterID: "/mine"})
	defer d.Close()
	c := haservices.Component{Kind: haservices.Dispatcher}
	term, err := d.Campaign(t.Context(), c, haservices.Contender{Host: "here", Address: "127.0.0.1:6123", PID: os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	if err := term.Publish(t.Context(), "tamias://127.0.0.1:6123/dispatcher"); err != nil {
		t.Fatal(err)
	}
	err = term.Write(t.Context(), haservices.Write{Operation: haservices.Create, Path: "jobgraphs/a", Data: []byte(`{"file":"x"}`)})
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"leader/dispatcher_lock":             term.Token().String(),
		"leaderlatch/dispatcher_lock/epoch":  "1\n",
		"leaderlatch/dispatcher_lock/holder": "127.0.0.1:6123",
		"jobgraphs/a":                        `{"file":"x"}`,
	} {
		data, err := os.ReadFile(filepath.Join(dir, "mine", "ha", file))
		if err != nil || !strings.Contains(string(data), want) {
			t.Errorf("%s holds %q, %v, want %q in it", file, data, err, want)
		}
	}
}

// TestDeletedLock: whoever deletes the lock file under a leader gets another leader, not two.
func TestDeletedLock(t *testing.T) {
	dir := t.TempDir()
	a := newDriver(t, local.Config{StorageDir: dir})
	defer a.Close()
	b := newDriver(t, local.Config{StorageDir: dir})
	defer b.Close()
	c := haservices.Component{Kind: haservices.Dispatcher}
	first, err := a.Campaign(t.Context(), c, haservices.Contender{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "default/ha/leaderlatch/dispatcher_lock/lock")); err != nil {
		t.Fatal(err)
	}
	second, err := b.Campaign(t.Context(), c, haservices.Contender{})
	if err != nil {
		t.Fatal(err)
	}
	write := haservices.Write{Operation: haservices.Put, Path: "jobgraphs/a"}
	if err := first.Write(t.Context(), write); err == nil {
		t.Error("a leader without a lock wrote")
	}
	<-first.Lost()
	if err := second.Write(t.Context(), write); err != nil {
		t.Errorf("the leader could not write: %v", err)
	}
	if second.Token().Epoch() <= first.Token().Epoch() {
		t.Errorf("epoch %d after %d", second.Token().Epoch(), first.Token().Epoch())
	}
}

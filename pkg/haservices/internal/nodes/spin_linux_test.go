package nodes

import (
	"os/exec"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
)

// TestEndOfALeaderThatIsNotUnderstood: its process ends, and nobody can tell from its file who leads now. Who follows
// it looks again when something changes, and not all the time.
func TestEndOfALeaderThatIsNotUnderstood(t *testing.T) {
	tree := newTree(t, t.TempDir())
	core, lines := observer.New(zap.DebugLevel)
	events := NewEvents(zap.NewNop())
	defer events.Close()
	leaders, c := NewLeaders(tree, events, time.Hour, zap.New(core)), haservices.JobMaster(id.NewJob())
	process := exec.Command("sleep", "60")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	owner := Self()
	owner.PID = process.Process.Pid
	var err error
	if owner.StartTime, err = startTime(owner.PID); err != nil {
		t.Fatal(err)
	}
	publish := func(record []byte) {
		if err := tree.Replace(tree.File(leaderNode(c)), record, false); err != nil {
			t.Fatal(err)
		}
	}
	publish(haservices.EncodeRecord(Leader{Address: "tamias://a:1/x", Token: id.NewFencingToken(1), Owner: owner}))
	closed, ended := make(chan struct{}), make(chan error, 1)
	told := make(chan haservices.LeaderInformation, 8)
	go func() {
		ended <- leaders.Observe(t.Context(), closed, c, func(l haservices.LeaderInformation) { told <- l })
	}()
	<-told
	publish([]byte(`{"format":99}`))
	looked := func(before int) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); lines.Len() == before; {
			if time.Now().After(deadline) {
				t.Fatal("did not look")
			}
			<-time.After(time.Millisecond)
		}
	}
	looked(0)
	before := lines.Len()
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = process.Wait() // killed
	looked(before)
	<-time.After(100 * time.Millisecond)
	if n := lines.Len(); n > before+20 {
		t.Errorf("looked %d times after the end of the leader's process", n-before)
	}
	close(closed)
	<-ended
}

package jobmaster

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
)

// TestRecordsOfANewerBuild: a JobMaster of an older build does not lead a job whose records it cannot
// read. It touches neither the records nor the tasks, and leads when it can.
func TestRecordsOfANewerBuild(t *testing.T) {
	for _, node := range []string{"executions", "checkpoint_id_counter", "checkpoints/0000000000000000001"} {
		t.Run(node, func(t *testing.T) {
			inWorld(t, func(w *world) {
				first, second, tm1, tm2 := w.twoByTwo()
				w.kill(second)
				w.until("a checkpoint is completed", 11*time.Second, w.completed(first))
				path := "jobs/" + w.graph.ID.String() + "/" + node
				before, _ := w.cluster.Peek(path)
				w.kill(first)
				w.write(path, strings.Replace(before, `"format":1,`, `"format":2,`, 1))

				third := w.jobManager("jm3")
				w.pass(10 * time.Second)
				if d := w.details(third); d.JobMasterEpoch != 0 || d.Waiting == "" {
					t.Errorf("it leads the job, under epoch %d", d.JobMasterEpoch)
				}
				for _, tm := range []*fakeTaskManager{tm1, tm2} {
					w.wantLog(tm, words("cancel", "release", "free"))
				}
				if now, _ := w.cluster.Peek(path); now != strings.Replace(before, `"format":1,`, `"format":2,`, 1) {
					t.Errorf("%s was changed to %s", node, now)
				}

				w.write(path, before)
				w.until("it leads the job", 20*time.Second, w.running(third))
				w.wantAttempts(third, "a0", "a1", "b0", "b1")
			})
		})
	}
}

// write changes a node as another process would.
func (w *world) write(path, data string) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	term, err := w.cluster.Driver("newer").Campaign(ctx, haservices.Component{Kind: haservices.RestServer}, haservices.Contender{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer term.Resign(ctx)
	if err := term.Write(ctx, haservices.Write{Operation: haservices.Set, Path: path, Data: []byte(data), Version: haservices.AnyVersion}); err != nil {
		w.t.Fatal(err)
	}
}

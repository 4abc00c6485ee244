package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/stream"
)

// bench is a sink on a file system in memory.
type bench struct {
	t    testing.TB
	fs   *filesystem.Memory
	sink sink[string]
}

func newBench(t testing.TB, opts ...Option) *bench {
	b := &bench{t: t, fs: filesystem.NewMemory()}
	b.sink = Sink("/out", Line, opts...).(sink[string])
	b.sink.fs = filesystem.Resolver{"file": b.fs}
	return b
}

func task(index, parallelism, attempt int) stream.Subtask {
	return stream.Subtask{JobID: "job", UID: "sink", Index: index, Parallelism: parallelism, Attempt: attempt}
}

func (b *bench) open(task stream.Subtask, restored ...stream.Prepared) stream.TwoPhaseWriter[string] {
	b.t.Helper()
	w, err := b.sink.Open(b.t.Context(), task, restored)
	if err != nil {
		b.t.Fatal(err)
	}
	return w.(stream.TwoPhaseWriter[string])
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// visible are the lines in files whose names are not hidden, in the order of names, and the number of hidden files.
func (b *bench) visible() (lines string, hidden int) {
	b.t.Helper()
	for _, name := range b.fs.Files() {
		if strings.HasPrefix(name, "/out/.") {
			hidden++
			continue
		}
		r, err := b.fs.Open(b.t.Context(), name)
		b.must(err)
		data, err := io.ReadAll(r)
		b.must(err)
		lines += strings.ReplaceAll(string(data), "\n", " ")
	}
	return strings.TrimSpace(lines), hidden
}

func (b *bench) want(when, lines string, hidden int) {
	b.t.Helper()
	if got, n := b.visible(); got != lines || n != hidden {
		b.t.Errorf("%s: visible %q and %d hidden files, want %q and %d; %q", when, got, n, lines, hidden, b.fs.Files())
	}
}

func TestFilesAppearWithTheirCheckpoint(t *testing.T) {
	b := newBench(t)
	w := b.open(task(0, 1, 0))
	b.must(w.Write(t.Context(), []string{"a", "b"}))
	b.want("written", "", 1)
	_, err := w.PreCommit(t.Context(), 1)
	b.must(err)
	b.must(w.Write(t.Context(), []string{"c"}))
	b.want("prepared", "", 2)
	b.must(w.Commit(t.Context(), 1))
	b.want("committed", "a b", 1)
	b.must(w.Commit(t.Context(), 1))
	state, err := w.PreCommit(t.Context(), 2) // never completes
	b.must(err)
	if len(state) == 0 {
		t.Error("nothing prepared")
	}
	b.must(w.Write(t.Context(), []string{"d"}))
	_, err = w.PreCommit(t.Context(), 3)
	b.must(err)
	b.must(w.Commit(t.Context(), 3))
	b.want("after a checkpoint that was left out", "a b c d", 0)
	if state, err := w.PreCommit(t.Context(), 4); err != nil || state != nil {
		t.Errorf("PreCommit without records = %q, %v, want nothing", state, err)
	}
	b.must(w.Close())
}

func TestDiscardLeavesWhatIsCommitted(t *testing.T) {
	b := newBench(t)
	w := b.open(task(0, 1, 0))
	for n, record := range []string{"a", "b", "c"} {
		b.must(w.Write(t.Context(), []string{record}))
		_, err := w.PreCommit(t.Context(), int64(n+1))
		b.must(err)
	}
	b.must(w.Write(t.Context(), []string{"d"}))
	b.must(w.Commit(t.Context(), 1))
	b.want("running", "a", 3)
	b.must(w.Close())
	b.want("closed", "a", 2)
	b.must(w.Commit(t.Context(), 2)) // told after it was closed
	b.must(w.(stream.Discarder).Discard(t.Context()))
	b.want("discarded", "a b", 0)
}

func TestRestoreCommitsAndSweeps(t *testing.T) {
	b := newBench(t)
	w := b.open(task(0, 2, 0))
	b.must(w.Write(t.Context(), []string{"a"}))
	state, err := w.PreCommit(t.Context(), 1)
	b.must(err)
	b.must(w.Write(t.Context(), []string{"lost 1"}))
	_, err = w.PreCommit(t.Context(), 2)
	b.must(err)
	b.must(w.Write(t.Context(), []string{"lost 2"})) // and the process dies
	other := b.open(task(1, 2, 0))
	b.must(other.Write(t.Context(), []string{"of a neighbour"}))
	b.want("before the restart", "", 4)

	again := b.open(task(0, 2, 1), stream.Prepared{Checkpoint: 1, State: state})
	b.want("restarted", "a", 1)
	if err := w.Commit(t.Context(), 2); err == nil {
		t.Error("the old attempt could still commit")
	}
	third := b.open(task(0, 2, 2), stream.Prepared{Checkpoint: 1, State: state}) // committed already
	b.want("restarted again", "a", 1)
	b.must(third.Write(t.Context(), []string{"b"}))
	_, err = third.PreCommit(t.Context(), 2)
	b.must(err)
	b.must(third.Commit(t.Context(), 2))
	b.want("going on", "a b", 1)
	b.must(errors.Join(again.Close(), third.Close(), other.Close()))
	b.want("closed", "a b", 0)
}

// TestSweepOfAnOldJob: names grow when a job has run for weeks.
func TestSweepOfAnOldJob(t *testing.T) {
	b := newBench(t, Suffix("-x.txt"))
	w := b.open(task(0, 1, 12345)).(*writer[string])
	w.number = 1_234_567
	b.must(w.Write(t.Context(), []string{"lost"}))
	other := task(0, 1, 12345)
	other.JobID = "another"
	b.must(b.open(other).Write(t.Context(), []string{"of another job"}))
	b.want("before the restart", "", 2)
	b.open(task(0, 1, 12346))
	b.want("after the restart", "", 1)
}

func TestRescaledSubtasksLeaveNothing(t *testing.T) {
	b := newBench(t)
	var restored []stream.Prepared
	for i := range 3 {
		w := b.open(task(i, 3, 0))
		b.must(w.Write(t.Context(), []string{fmt.Sprint(i)}))
		state, err := w.PreCommit(t.Context(), 1)
		b.must(err)
		b.must(w.Write(t.Context(), []string{"lost"}))
		restored = append(restored, stream.Prepared{Checkpoint: 1, Subtask: i, State: state})
	}
	b.open(task(0, 1, 1), restored...)
	b.want("restored by one subtask", "0 1 2", 0)
}

func TestFilesRoll(t *testing.T) {
	b := newBench(t, RollSize(10), Suffix(".txt"))
	w := b.open(task(0, 1, 0))
	b.must(w.Write(t.Context(), []string{"123456", "789012", "345678", "9"}))
	_, err := w.PreCommit(t.Context(), 1)
	b.must(err)
	b.must(w.Commit(t.Context(), 1))
	b.want("committed", "123456 789012 345678 9", 0)
	files := b.fs.Files()
	if len(files) != 2 || !strings.HasSuffix(files[0], "-0000-000000.txt") {
		t.Errorf("files: %q", files)
	}
}

func TestSinksDoNotDisturbEachOther(t *testing.T) {
	b := newBench(t)
	first := b.open(task(0, 1, 0))
	b.must(first.Write(t.Context(), []string{"first"}))
	otherJob := task(0, 1, 5)
	otherJob.JobID = "another"
	second := b.open(otherJob)
	b.must(second.Write(t.Context(), []string{"second"}))
	for _, w := range []stream.TwoPhaseWriter[string]{first, second} {
		_, err := w.PreCommit(t.Context(), stream.FinalCheckpoint)
		b.must(err)
		b.must(w.Commit(t.Context(), stream.FinalCheckpoint))
	}
	if lines, _ := b.visible(); !strings.Contains(lines, "first") || !strings.Contains(lines, "second") {
		t.Errorf("visible: %q", lines)
	}
}

// TestExactlyOnce runs a sink through random failures: of single operations, with and without effect, of the
// process, and of the machine (unsynced data is lost). After each it goes on from the latest complete
// checkpoint. In the end each record must be visible once.
func TestExactlyOnce(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		b := newBench(t, RollSize(int64(rapid.IntRange(5, 200).Draw(r, "roll"))))
		run := &exactlyOnce{r: r, bench: b}
		run.start()
		for range rapid.IntRange(1, 40).Draw(r, "steps") {
			run.step()
		}
		b.fs.Hook(nil)
		run.failed = true
		run.recover()
		run.finish()
		var want []string
		for i := range run.next {
			want = append(want, fmt.Sprintf("%06d", i))
		}
		got, hidden := b.visible()
		if lines := strings.Fields(got); !slices.Equal(lines, want) || hidden > 0 {
			r.Fatalf("visible: %q and %d hidden files, want %q", lines, hidden, want)
		}
	})
}

type exactlyOnce struct {
	r       *rapid.T
	bench   *bench
	w       stream.TwoPhaseWriter[string]
	attempt int
	failed  bool
	next    int // record to write
	// checkpoint is the newest that began; complete the newest complete one, with its record and state.
	checkpoint, complete int64
	position             int
	state                []byte
}

func (e *exactlyOnce) start() {
	var restored []stream.Prepared
	if e.state != nil {
		restored = append(restored, stream.Prepared{Checkpoint: e.complete, State: e.state})
	}
	e.next = e.position
	w, err := e.bench.sink.Open(e.bench.t.Context(), task(0, 1, e.attempt), restored)
	e.attempt++
	if e.failed = err != nil; !e.failed {
		e.w = w.(stream.TwoPhaseWriter[string])
	}
}

func (e *exactlyOnce) recover() {
	for e.failed {
		if e.w != nil && rapid.Bool().Draw(e.r, "process goes on") {
			_ = e.w.Close()
		}
		e.start()
	}
}

func (e *exactlyOnce) step() {
	ctx := e.bench.t.Context()
	e.recover()
	switch rapid.SampledFrom([]string{"write", "write", "checkpoint", "checkpoint", "abort", "fault", "crash"}).Draw(e.r, "step") {
	case "write":
		for range rapid.IntRange(1, 5).Draw(e.r, "records") {
			if err := e.w.Write(ctx, []string{fmt.Sprintf("%06d", e.next)}); err != nil {
				e.failed = true
				return
			}
			e.next++
		}
	case "checkpoint":
		e.precommit(true)
	case "abort":
		e.precommit(false)
	case "fault":
		boom := errors.New("boom")
		if rapid.Bool().Draw(e.r, "applied") {
			boom = filesystem.Applied(boom)
		}
		e.bench.fs.Hook(filesystem.FailNth(rapid.IntRange(1, 8).Draw(e.r, "operation"), boom))
	case "crash":
		e.bench.fs.Crash()
		e.w, e.failed = nil, true
	}
}

func (e *exactlyOnce) precommit(completes bool) {
	ctx := e.bench.t.Context()
	e.checkpoint++
	state, err := e.w.PreCommit(ctx, e.checkpoint)
	if err != nil {
		e.failed = true
		return
	}
	if !completes {
		return
	}
	e.complete, e.position, e.state = e.checkpoint, e.next, state
	if rapid.Bool().Draw(e.r, "notified") {
		e.failed = e.w.Commit(ctx, e.complete) != nil
	}
}

func (e *exactlyOnce) finish() {
	ctx := e.bench.t.Context()
	if _, err := e.w.PreCommit(ctx, stream.FinalCheckpoint); err != nil {
		e.r.Fatal(err)
	}
	if err := e.w.Commit(ctx, stream.FinalCheckpoint); err != nil {
		e.r.Fatal(err)
	}
	if err := e.w.Close(); err != nil {
		e.r.Fatal(err)
	}
}

// TestAFileThatCannotBeSyncedGoesWithItsTask: also when the task is being cancelled by then.
func TestAFileThatCannotBeSyncedGoesWithItsTask(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	opened, err := b.sink.Open(ctx, task(0, 1, 0), nil)
	b.must(err)
	w := opened.(stream.TwoPhaseWriter[string])
	b.must(w.Write(ctx, []string{"a"}))
	full := errors.New("disk full")
	b.fs.Hook(func(o filesystem.Operation) error {
		if o.Name != "Sync" {
			return nil
		}
		cancel()
		return full
	})
	if _, err := w.PreCommit(ctx, 1); !errors.Is(err, full) {
		t.Errorf("PreCommit = %v, want that the disk is full", err)
	}
	b.must(w.Close())
	b.want("closed", "", 0)
}

package resourcemanager

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

var rewrite = flag.Bool("rewrite", false, "write what the transcripts print now")

// TestTranscripts runs every testdata/*.txt: blocks of commands, a line ----, and what they print.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &script{core: nil}
			s.core = newCore(s.nextAllocation)
			got := s.run(t, string(data))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(data) {
				t.Errorf("%s: got\n%s\nwant\n%s", file, got, data)
			}
		})
	}
}

// script is one transcript in progress. Jobs are named a, b, c; allocations a1, a2, ... in the order
// of their making, and x1, x2, ... for those made in an earlier term.
type script struct {
	core        *core
	allocations int
	leases      map[id.Allocation]lease
}

func (s *script) nextAllocation() id.Allocation {
	s.allocations++
	return s.allocation(fmt.Sprintf("a%d", s.allocations))
}

func (s *script) allocation(name string) (a id.Allocation) {
	copy(a[:], name)
	return a
}

func jobOf(name string) (j id.Job) {
	copy(j[:], name)
	return j
}

func instanceOf(name string) (i id.Instance) {
	copy(i[:], name)
	return i
}

// tokenOf returns a token of an epoch that is the same at each call.
func tokenOf(epoch string) (t id.FencingToken) {
	n, err := strconv.ParseUint(epoch, 10, 8)
	if err != nil {
		panic(err)
	}
	t[5] = byte(n)
	return t
}

func text(b []byte) string { return strings.TrimRight(string(b), "\x00") }

func (s *script) run(t *testing.T, data string) string {
	var out strings.Builder
	for i, block := range strings.Split(strings.TrimRight(data, "\n"), "\n\n") {
		if i > 0 {
			out.WriteString("\n")
		}
		commands, _, _ := strings.Cut(block, "\n----")
		fmt.Fprintf(&out, "%s\n", commands)
		var printed strings.Builder
		for line := range strings.Lines(commands) {
			if words := strings.Fields(line); len(words) > 0 && !strings.HasPrefix(line, "#") {
				s.do(t, words, &printed)
			}
		}
		if printed.Len() > 0 {
			fmt.Fprintf(&out, "----\n%s", printed.String())
		}
	}
	return out.String()
}

func (s *script) do(t *testing.T, w []string, out *strings.Builder) {
	complain := func(err error) {
		if err != nil {
			fmt.Fprintf(out, "%s %s: %v\n", w[0], w[1], err)
		}
	}
	switch w[0] {
	case "tm": // tm NAME INSTANCE VERSION SLOT...
		s.core.register(protocol.RegisterTaskManagerRequest{
			ID: id.TaskManager(w[1]), Instance: instanceOf(w[2]), Version: number(t, w[3]), Slots: s.slots(w[4:]),
		})
	case "report": // report NAME INSTANCE VERSION SLOT...
		complain(s.core.report(s.report(t, w[1], w[2], w[3], w[4:])))
	case "lose": // lose NAME INSTANCE
		s.core.lose(id.TaskManager(w[1]), instanceOf(w[2]))
	case "master": // master JOB EPOCH
		complain(s.core.registerJobMaster(protocol.RegisterJobMasterRequest{Job: jobOf(w[1]), Token: tokenOf(w[2])}))
	case "declare": // declare JOB EPOCH SLOTS HELD...
		r := protocol.DeclareRequirementsRequest{Job: jobOf(w[1]), Token: tokenOf(w[2]), Slots: int(number(t, w[3]))}
		for _, held := range w[4:] {
			r.Held = append(r.Held, s.allocation(held))
		}
		complain(s.core.declare(r))
	case "end": // end JOB EPOCH
		complain(s.core.endJob(protocol.DisconnectJobMasterRequest{Job: jobOf(w[1]), Token: tokenOf(w[2])}))
	case "silent": // silent JOB
		s.core.silence(jobOf(w[1]))
	case "grant": // grant ALLOCATION VERSION SLOT...
		l := s.leases[s.allocation(w[1])]
		s.core.granted(l, protocol.SlotReport{ID: l.TaskManager, Instance: l.Instance, Version: number(t, w[2]), Slots: s.slots(w[3:])})
	case "refuse": // refuse ALLOCATION
		s.core.refused(s.leases[s.allocation(w[1])])
	case "match":
		if s.leases == nil {
			s.leases = map[id.Allocation]lease{}
		}
		for _, l := range s.core.match() {
			s.leases[l.Allocation] = l
			fmt.Fprintf(out, "ask %s for slot %d: job %s, %s\n", l.TaskManager, l.Slot, text(l.Job[:]), text(l.Allocation[:]))
		}
	case "missing":
		for _, m := range s.core.missing() {
			fmt.Fprintf(out, "job %s misses %d of %d\n", text(m.Job[:]), m.Slots, m.Needed)
		}
	default:
		t.Fatalf("unknown command %q", w)
	}
}

func (s *script) report(t *testing.T, name, instance, version string, slots []string) protocol.SlotReport {
	return protocol.SlotReport{ID: id.TaskManager(name), Instance: instanceOf(instance), Version: number(t, version), Slots: s.slots(slots)}
}

// slots reads "-" for a free slot and JOB:ALLOCATION for a leased one.
func (s *script) slots(words []string) []protocol.Slot {
	slots := make([]protocol.Slot, len(words))
	for i, w := range words {
		slots[i].Index = i
		if job, allocation, leased := strings.Cut(w, ":"); leased {
			slots[i].Job, slots[i].Allocation = jobOf(job), s.allocation(allocation)
		}
	}
	return slots
}

func number(t *testing.T, s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

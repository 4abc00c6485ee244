package simulation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tamias-project/tamias/pkg/checkpoint"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// saveState is what a simulated task does for a checkpoint: each operator writes a file.
func (w *world) saveState(job id.Job, a id.ExecutionAttempt, checkpoint int64, operators []jobgraph.Operator) (state []protocol.OperatorState, err error) {
	for i, o := range operators {
		file, text := fmt.Sprintf("%s-%d", stateFile(job, a, checkpoint), i), stateText(a, checkpoint)
		if err := w.files.Create(w.lateCtx, file, strings.NewReader(text)); err != nil {
			return nil, err
		}
		state = append(state, protocol.OperatorState{
			UID: o.UID, Subtask: a.Subtask, Raw: []byte(text), Keyed: []protocol.KeyedState{{File: file, Size: int64(len(text)), First: 0, Last: 127}},
		})
	}
	return state, nil
}

// restoreState is what a simulated task does at its start: it reads the files.
func (w *world) restoreState(_ id.Job, _ id.ExecutionAttempt, r *protocol.RestoredState) error {
	return w.checkState(r.Checkpoint, r.Operators)
}

// checkState checks that state is of that checkpoint, and its files are there.
func (w *world) checkState(n int64, operators []protocol.OperatorState) error {
	suffix := fmt.Sprintf("@%d", n)
	for _, o := range operators {
		if len(o.Raw) > 0 && !strings.HasSuffix(string(o.Raw), suffix) {
			return fmt.Errorf("state of operator %s, subtask %d, is %q", o.UID, o.Subtask, o.Raw)
		}
		for _, k := range o.Keyed {
			text, err := w.readFile(k.File)
			if err != nil {
				return fmt.Errorf("state of operator %s: %w", o.UID, err)
			}
			if !strings.HasSuffix(string(text), suffix) {
				return fmt.Errorf("file %s holds %q", k.File, text)
			}
		}
	}
	return nil
}

// checkPointers checks that whatever a node points to is there: graphs, ledgers, results, and checkpoints
// with all their state.
func (w *world) checkPointers() (errs []error) {
	for path, data := range w.ha.Nodes() {
		var node struct {
			File string `json:"file"`
			ID   int64  `json:"id"`
		}
		if json.Unmarshal([]byte(data), &node) != nil || node.File == "" {
			continue
		}
		content, err := w.readFile(node.File)
		if err == nil && strings.Contains(path, "/checkpoints/") {
			err = w.checkCheckpoint(node.ID, content)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("node %s points to %s: %w", path, node.File, err))
		}
	}
	return errs
}

func (w *world) checkCheckpoint(n int64, metadata []byte) error {
	var cp checkpoint.Completed
	if err := json.Unmarshal(metadata, &cp); err != nil {
		return err
	}
	if cp.ID != n {
		return fmt.Errorf("it is checkpoint %d, want %d", cp.ID, n)
	}
	for _, v := range cp.Vertices {
		if len(v.Operators) != v.Parallelism {
			return fmt.Errorf("vertex %s: state of %d subtasks, want %d", v.Vertex, len(v.Operators), v.Parallelism)
		}
		if err := w.checkState(n, v.Operators); err != nil {
			return err
		}
	}
	return nil
}

// checkStored checks in which order checkpoints were stored: their IDs rise, whoever led.
func (w *world) checkStored() (errs []error) {
	newest := map[string]int64{}
	for _, r := range w.ha.Audit() {
		dir, n, ok := checkpointPath(r.Path)
		if !ok || r.Operation != "create" || r.Err != nil {
			continue
		}
		// A request is repeated when its answer was lost.
		if n < newest[dir] {
			errs = append(errs, fmt.Errorf("%s was stored after checkpoint %d", r.Path, newest[dir]))
		}
		newest[dir] = max(n, newest[dir])
	}
	return errs
}

// checkpointPath parses jobs/<job>/checkpoints/<n>.
func checkpointPath(path string) (dir string, n int64, ok bool) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 || !strings.HasSuffix(path[:i], "/checkpoints") {
		return "", 0, false
	}
	n, err := strconv.ParseInt(path[i+1:], 10, 64)
	return path[:i], n, err == nil
}

// leftovers lists what is left of jobs that have ended, but for their results, and results that are not
// clean. With zombies, TaskManagers that were given up may have written state after the clean-up.
func (w *world) leftovers(ended []id.Job, zombies bool) (list []string) {
	of := func(path string) bool {
		return slices.ContainsFunc(ended, func(job id.Job) bool { return strings.Contains(path, job.String()) })
	}
	for path, data := range w.ha.Nodes() {
		result := strings.HasPrefix(path, "job-results/")
		if of(path) && (!result || !strings.Contains(data, `"dirty":false`)) {
			list = append(list, path)
		}
	}
	for _, file := range w.files.Files() {
		switch {
		case !of(file), strings.Contains(file, "/job-results/"):
		case zombies && strings.HasPrefix(file, "/checkpoints/"):
		default:
			list = append(list, file)
		}
	}
	slices.Sort(list)
	return list
}

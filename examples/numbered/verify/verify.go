// Package verify checks the committed output of the numbered job: whether each record is there once, in
// order, with the right running count.
package verify

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tamias-project/tamias/pkg/filesystem"
)

// Report is what was found. OK sums it up.
type Report struct {
	// Files and Records that were read, and Keys that occur.
	Files   int   `json:"files"`
	Records int64 `json:"records"`
	Keys    int64 `json:"keys"`
	// Lost counts sequence numbers that are missing below a key's highest one. Of a bounded job, with Expect,
	// it counts all that are missing.
	Lost int64 `json:"lost"`
	// Repeated counts records that were there before.
	Repeated int64 `json:"repeated"`
	// OutOfOrder counts records whose running count is below that of an earlier record of their key.
	OutOfOrder int64 `json:"out-of-order"`
	// Reordered counts records that come after a later one of their key. That is a fault only if one subtask of
	// the source emits all records of a key: if the parallelism divides the number of keys.
	Reordered int64 `json:"reordered"`
	// CountGaps counts running counts of a key that are missing below its highest one, or are there again:
	// state was lost, or applied twice.
	CountGaps int64 `json:"count-gaps"`
	// Malformed counts lines that are not four numbers: a file was cut off.
	Malformed int64 `json:"malformed"`
	// Behind is by how many records the slowest key is behind the fastest. It is no fault: the slow one's
	// latest checkpoint may be about to be committed.
	Behind int64 `json:"behind"`
	// Times when records were counted, microseconds since 1970, sorted; if asked for.
	Times []int64 `json:"times,omitempty"`
}

// OK reports whether the output is exactly right so far.
func (r *Report) OK() bool {
	return r.Lost == 0 && r.Repeated == 0 && r.OutOfOrder == 0 && r.CountGaps == 0 && r.Malformed == 0
}

// Options of Directory.
type Options struct {
	// Expect is the number of records of a bounded job that has finished; 0 if what comes last may be
	// missing because it is not committed yet.
	Expect int64
	// Keys is the number of keys that the job was started with; needed with Expect only.
	Keys int64
	// Times asks for Report.Times.
	Times bool
}

// Directory checks the files in the job's output directory, a path or URI. The job may be running.
func Directory(ctx context.Context, dir string, o Options) (*Report, error) {
	fs, err := filesystem.For(dir)
	if err != nil {
		return nil, err
	}
	names, err := committed(ctx, fs, dir)
	if err != nil {
		return nil, err
	}
	c := checker{keys: map[int64]*key{}, times: o.Times}
	for _, name := range names {
		if err := c.read(ctx, fs, filesystem.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	c.report.Files = len(names)
	return c.conclude(o), nil
}

// committed lists the output files in the order in which each subtask wrote them. While a directory is being
// listed, a file may escape although a later one is found. A file is never renamed again, so once
// two listings are alike, whatever came before a file in them is in them too.
func committed(ctx context.Context, fs filesystem.FileSystem, dir string) ([]string, error) {
	var last []string
	for {
		names, err := fs.List(ctx, dir)
		if err != nil {
			return nil, err
		}
		names = slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, ".") })
		if last != nil && slices.Equal(names, last) {
			return names, nil
		}
		last = append([]string{}, names...)
	}
}

// key is what was seen of one key.
type key struct {
	seqs, counts       numbers
	lastSeq, lastCount int64
}

// numbers is a set of numbers from 0 on.
type numbers struct {
	words   []uint64
	count   int64 // of distinct ones
	highest int64
}

// add reports false for one that is there already.
func (n *numbers) add(x int64) bool {
	for int64(len(n.words)) <= x/64 {
		n.words = append(n.words, 0)
	}
	bit := uint64(1) << (x % 64)
	if n.words[x/64]&bit != 0 {
		return false
	}
	n.words[x/64] |= bit
	n.count++
	n.highest = max(n.highest, x)
	return true
}

type checker struct {
	report Report
	keys   map[int64]*key
	times  bool
}

func (c *checker) read(ctx context.Context, fs filesystem.FileSystem, path string) error {
	f, err := fs.Open(ctx, path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		c.line(lines.Bytes())
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// most bounds sequence numbers, so that a damaged line does not fill the memory.
const most = 1 << 28

func (c *checker) line(line []byte) {
	var fields [4]int64
	rest := line
	for i := range fields {
		word, after, more := bytes.Cut(rest, []byte{' '})
		x, err := strconv.ParseInt(string(word), 10, 64)
		if err != nil || x < 0 || more != (i < 3) || i < 3 && x > most {
			c.report.Malformed++
			return
		}
		fields[i], rest = x, after
	}
	c.record(fields[0], fields[1], fields[2])
	if c.times {
		c.report.Times = append(c.report.Times, fields[3])
	}
}

func (c *checker) record(k, seq, count int64) {
	c.report.Records++
	state := c.keys[k]
	if state == nil {
		state = new(key)
		c.keys[k] = state
	}
	if !state.seqs.add(seq) {
		c.report.Repeated++
	} else if seq < state.lastSeq {
		c.report.Reordered++
	}
	if count == 0 || !state.counts.add(count-1) {
		c.report.CountGaps++
	} else if count < state.lastCount {
		c.report.OutOfOrder++
	}
	state.lastSeq, state.lastCount = max(state.lastSeq, seq), max(state.lastCount, count)
}

func (c *checker) conclude(o Options) *Report {
	r := &c.report
	r.Keys = int64(len(c.keys))
	var fastest, present int64
	slowest, highestKey := int64(most), int64(0)
	for k, state := range c.keys {
		r.Lost += state.seqs.highest + 1 - state.seqs.count
		r.CountGaps += state.counts.highest + 1 - state.counts.count
		fastest, slowest = max(fastest, state.seqs.highest), min(slowest, state.seqs.highest)
		highestKey = max(highestKey, k)
		if k < o.Keys {
			present += state.seqs.count
		}
	}
	if len(c.keys) > 0 {
		r.Behind = fastest - slowest
		if highestKey >= int64(len(c.keys)) { // one has not come at all
			r.Behind = fastest + 1
		}
	}
	if o.Expect > 0 {
		r.Lost = max(o.Expect-present, 0)
	}
	slices.Sort(r.Times)
	return r
}

package hatest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tamias-project/tamias/pkg/haservices"
)

func write(op haservices.Operation, path, data string, version int64) haservices.Write {
	return haservices.Write{Operation: op, Path: path, Data: []byte(data), Version: version}
}

// writes fails unless the write ends with want.
func (s *suite) writes(term haservices.Term, w haservices.Write, want error) {
	s.Helper()
	if err := term.Write(s.ctx, w); !errors.Is(err, want) {
		s.Errorf("write %d of %s = %v, want %v", w.Operation, w.Path, err, want)
	}
}

func (s *suite) missing(d haservices.Driver, path string) {
	s.Helper()
	if n, err := d.Read(s.ctx, path); !errors.Is(err, haservices.ErrNotFound) {
		s.Errorf("Read %s = %q, %v, want ErrNotFound", path, n.Data, err)
	}
}

func createNode(s *suite) {
	d := s.process()
	term := s.lead(d, dispatcher)
	s.missing(d, "jobgraphs/a")
	s.writes(term, write(haservices.Create, "jobgraphs/a", "1", 0), nil)
	s.holds(d, "jobgraphs/a", "1")
	s.writes(term, write(haservices.Create, "jobgraphs/a", "2", 0), haservices.ErrExists)
	s.holds(d, "jobgraphs/a", "1")
	s.writes(term, write(haservices.Create, "jobs/j/checkpoints/0000000000000000001", "deep", 0), nil)
	s.holds(d, "jobs/j/checkpoints/0000000000000000001", "deep")
	s.writes(term, write(haservices.Create, "jobgraphs/empty", "", 0), nil)
	s.holds(d, "jobgraphs/empty", "")
}

func setNode(s *suite) {
	d := s.process()
	term := s.lead(d, dispatcher)
	s.writes(term, write(haservices.Set, "jobs/j/counter", "1", haservices.AnyVersion), haservices.ErrNotFound)
	s.writes(term, write(haservices.Set, "jobs/j/counter", "1", 0), haservices.ErrNotFound)
	s.missing(d, "jobs/j/counter")
	s.writes(term, write(haservices.Create, "jobs/j/counter", "1", 0), nil)
	first := s.read(d, "jobs/j/counter")
	s.writes(term, write(haservices.Set, "jobs/j/counter", "2", first.Version), nil)
	second := s.read(d, "jobs/j/counter")
	if string(second.Data) != "2" || second.Version == first.Version {
		s.Errorf("after Set the node holds %q in version %d, want 2 in another version than %d", second.Data, second.Version, first.Version)
	}
	s.writes(term, write(haservices.Set, "jobs/j/counter", "3", first.Version), haservices.ErrVersion)
	s.holds(d, "jobs/j/counter", "2")
	s.writes(term, write(haservices.Set, "jobs/j/counter", "3", haservices.AnyVersion), nil)
	s.holds(d, "jobs/j/counter", "3")
}

func putNode(s *suite) {
	d := s.process()
	term := s.lead(d, dispatcher)
	for _, data := range []string{"1", "2", "2", "", "3"} {
		s.writes(term, write(haservices.Put, "jobs/j/executions", data, 0), nil)
		s.holds(d, "jobs/j/executions", data)
	}
}

func deleteNode(s *suite) {
	d := s.process()
	term := s.lead(d, dispatcher)
	s.writes(term, write(haservices.Delete, "jobgraphs/a", "", haservices.AnyVersion), nil)
	s.put(term, "jobgraphs/a", "1")
	before := s.read(d, "jobgraphs/a")
	s.put(term, "jobgraphs/a", "2")
	s.writes(term, write(haservices.Delete, "jobgraphs/a", "", before.Version), haservices.ErrVersion)
	s.holds(d, "jobgraphs/a", "2")
	s.writes(term, write(haservices.Delete, "jobgraphs/a", "", s.read(d, "jobgraphs/a").Version), nil)
	s.missing(d, "jobgraphs/a")

	for i := range 20 {
		s.put(term, fmt.Sprintf("jobs/j/checkpoints/%019d", i), "x")
	}
	s.put(term, "jobs/j/executions", "x")
	s.put(term, "jobs/k/executions", "kept")
	s.put(term, "jobs/jj", "kept")
	for range 2 {
		s.writes(term, write(haservices.Delete, "jobs/j", "", haservices.AnyVersion), nil)
		s.missing(d, "jobs/j/executions")
		s.missing(d, "jobs/j/checkpoints/0000000000000000007")
	}
	s.children(d, "jobs/j")
	s.children(d, "jobs", "jj", "k")
	s.holds(d, "jobs/k/executions", "kept")
	s.holds(d, "jobs/jj", "kept")
	s.put(term, "jobs/j/executions", "again")
	s.holds(d, "jobs/j/executions", "again")
}

func (s *suite) children(d haservices.Driver, path string, want ...string) {
	s.Helper()
	got, err := d.Children(s.ctx, path)
	if err != nil || !slices.Equal(got, want) {
		s.Errorf("Children %s = %q, %v, want %q", path, got, err, want)
	}
}

func listChildren(s *suite) {
	d := s.process()
	term := s.lead(d, dispatcher)
	s.children(d, "jobgraphs")
	for _, name := range []string{"c", "a", "b"} {
		s.put(term, "jobgraphs/"+name, name)
	}
	s.children(d, "jobgraphs", "a", "b", "c")
	s.children(d, "jobgraphs/a")
	s.put(term, "jobs/x/checkpoints/2", "")
	s.put(term, "jobs/x/checkpoints/1", "")
	s.put(term, "jobs/x/intent", "")
	s.children(d, "jobs", "x")
	s.children(d, "jobs/x", "checkpoints", "intent")
	s.children(d, "jobs/x/checkpoints", "1", "2")
}

// repeatedRequests: whoever did not hear the answer asks again and must not be told that it failed.
func repeatedRequests(s *suite) {
	d := s.process()
	term := s.lead(d, dispatcher)
	for range 2 {
		s.writes(term, write(haservices.Create, "jobgraphs/a", "1", 0), nil)
	}
	version := s.read(d, "jobgraphs/a").Version
	for range 2 {
		s.writes(term, write(haservices.Set, "jobgraphs/a", "2", version), nil)
	}
	s.holds(d, "jobgraphs/a", "2")
	s.writes(term, write(haservices.Create, "jobgraphs/a", "1", 0), haservices.ErrExists)
	version = s.read(d, "jobgraphs/a").Version
	for range 2 {
		s.writes(term, write(haservices.Delete, "jobgraphs/a", "", version), nil)
	}
	s.missing(d, "jobgraphs/a")
}

func nodesOutliveTheirWriter(s *suite) {
	s.needChanges()
	a, b := s.process(), s.process()
	s.put(s.lead(a, dispatcher), "jobgraphs/a", "kept")
	s.must("Close", a.Close())
	s.put(s.lead(b, dispatcher), "jobgraphs/b", "new")
	s.holds(b, "jobgraphs/a", "kept")
	s.children(b, "jobgraphs", "a", "b")
}

// nodesSeenByNextLeader: what a leader wrote last is what its successor reads first.
func nodesSeenByNextLeader(s *suite) {
	s.needChanges()
	processes := []haservices.Driver{s.process(), s.process()}
	for i := range 20 {
		d := processes[i%2]
		term := s.lead(d, resourceManager)
		if i > 0 {
			s.holds(d, "jobgraphs/a", fmt.Sprint(i-1))
		}
		s.put(term, "jobgraphs/a", fmt.Sprint(i))
		s.holds(d, "jobgraphs/a", fmt.Sprint(i))
		term.Resign(s.ctx)
	}
}

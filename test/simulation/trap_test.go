package simulation

import (
	"path"
	"sync"

	"github.com/tamias-project/tamias/pkg/haservices"
)

// moment is a point in what a process does at which a trap can catch it.
type moment string

const (
	// sending a message, before it leaves; answered when its answer is there.
	sending  moment = "sending"
	answered moment = "answered"
	// arrived: a message is there, nothing has been done about it; handled: done, and not yet answered.
	arrived moment = "arrived"
	handled moment = "handled"
	// writing to the HA services, before the request leaves; written when its answer is there.
	writing moment = "writing"
	written moment = "written"
)

// trap does something to a process at a precise moment of its life.
type trap struct {
	at moment
	// what is the method of a message, or the operation and path of a write, as a pattern of path.Match.
	what string
	// left is how many times more the moment passes before the trap springs.
	left int
	// spring returns true when the message, or the answer to the write, is to be lost, too.
	spring func(l *life) (lose bool)
}

// traps holds the trap that is set, if one is. The processes pass it on all their goroutines.
type traps struct {
	mu  sync.Mutex // guards set
	set *trap
}

func (s *traps) put(t *trap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = t
}

func (s *traps) clear() { s.put(nil) }

// pass is called at each moment of each life. A trap springs on the goroutine that passes it.
func (s *traps) pass(l *life, at moment, what string) (lose bool) {
	if t := s.caught(l, at, what); t != nil {
		return t.spring(l)
	}
	return false
}

func (s *traps) caught(l *life, at moment, what string) *trap {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.set
	if t == nil || t.at != at || l.killed() {
		return nil
	}
	if ok, err := path.Match(t.what, what); err != nil || !ok {
		return nil
	}
	if t.left--; t.left > 0 {
		return nil
	}
	s.set = nil
	return t
}

// operations of writes, as traps name them.
var operations = map[haservices.Operation]string{
	haservices.Create: "create", haservices.Set: "set", haservices.Put: "put", haservices.Delete: "delete",
}

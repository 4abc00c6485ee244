package shuffle

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
)

// channelKey names a channel.
type channelKey struct {
	consumer id.ExecutionAttempt
	input    int
	producer id.ExecutionAttempt
}

// link carries items to a gate. deliver does not block.
type link interface {
	deliver(item Item)
	// leave tells the gate that nothing more will come.
	leave()
}

// Sender is the producer's end of a channel.
type Sender struct {
	key  channelKey
	wake chan struct{} // room for one: a token says that credit or an error has come

	mu      sync.Mutex // guards the rest
	link    link       // nil until the consumer has accepted
	backlog []Item     // events that came before link
	credit  int
	err     error
	closed  bool
}

func newSender(k channelKey) *Sender {
	return &Sender{key: k, wake: make(chan struct{}, 1)}
}

// send waits for credit and passes f on. It returns how long it waited.
func (s *Sender) send(ctx context.Context, f *Frame) (blocked time.Duration, err error) {
	var start time.Time
	for {
		s.mu.Lock()
		switch {
		case s.err != nil:
			err = s.err
		case s.credit > 0:
			s.credit--
			s.link.deliver(Item{Kind: Data, Frame: f})
			f = nil
		}
		s.mu.Unlock()
		if f == nil || err != nil {
			break
		}
		if start.IsZero() {
			start = time.Now()
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			break
		}
	}
	if f != nil {
		f.recycle()
	}
	if !start.IsZero() {
		blocked = time.Since(start)
	}
	return blocked, err
}

// event passes on an item that needs no credit. It fails when the channel has failed before; what happens to it
// later shows at the next call.
func (s *Sender) event(item Item) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if s.link == nil {
		s.backlog = append(s.backlog, item)
	} else {
		s.link.deliver(item)
	}
	return nil
}

// accepted waits until the consumer has accepted the channel. From then on its side notices when the channel breaks.
func (s *Sender) accepted(ctx context.Context) error {
	for {
		s.mu.Lock()
		there, err := s.link != nil, s.err
		s.mu.Unlock()
		if there || err != nil {
			return err
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// accept begins the flow.
func (s *Sender) accept(l link, credit int) {
	s.mu.Lock()
	s.link = l
	s.credit += credit
	for _, item := range s.backlog {
		l.deliver(item)
	}
	s.backlog = nil
	if s.closed {
		l.leave()
	}
	s.mu.Unlock()
	s.signal()
}

// grant adds credit.
func (s *Sender) grant(n int) {
	s.mu.Lock()
	s.credit += n
	s.mu.Unlock()
	s.signal()
}

// fail makes every later send and event fail, also behind the end: a barrier that cannot arrive holds up its
// checkpoint.
func (s *Sender) fail(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = &PeerError{fmt.Errorf("send to consumer %s: %w", s.key.consumer, err)}
	}
	s.mu.Unlock()
	s.signal()
}

func (s *Sender) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.link != nil {
		s.link.leave()
	}
}

func (s *Sender) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// local is a link within the process.
type local struct {
	gate    *Gate
	channel int
}

func (l local) deliver(item Item) { l.gate.push(l.channel, item) }
func (l local) leave()            { l.gate.leave(l.channel) }

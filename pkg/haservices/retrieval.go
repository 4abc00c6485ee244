package haservices

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/logging"
)

// LeaderRetrievalListener is told who leads. Flink's class of that name.
type LeaderRetrievalListener interface {
	// NotifyLeader is called with the confirmed leader, and with the zero value when there is none any more.
	// Calls do not overlap; it must not block.
	NotifyLeader(LeaderInformation)
}

// LeaderRetrievalService follows the leader of one component. Flink's class of that name.
type LeaderRetrievalService struct {
	services  *Services
	component Component
}

// Run tells listener the present leader, if there is one, and every change, until ctx ends; then it
// returns nil. It tells no value twice in a row and never an older leader after a newer one.
func (r *LeaderRetrievalService) Run(ctx context.Context, listener LeaderRetrievalListener) error {
	var last LeaderInformation
	var highest uint64
	b := backoff{first: 10 * time.Millisecond, most: time.Second}
	for {
		err := r.services.driver.Observe(ctx, r.component, func(l LeaderInformation) {
			b.reset()
			// Observe began anew after an error knows nothing of what was told before.
			if l == last || !l.IsEmpty() && l.Token.Epoch() < highest {
				return
			}
			last, highest = l, max(highest, l.Token.Epoch())
			listener.NotifyLeader(l)
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrClosed):
			return fmt.Errorf("follow the leader of %s: %w", r.component, err)
		}
		pause := b.pause()
		r.services.log.Warn("could not follow the leader",
			append(componentFields(r.component), logging.RetryIn(pause), zap.Error(err))...)
		if wait(ctx, pause) != nil {
			return nil
		}
	}
}

// LeaderChannel is a listener that is a channel: the reader gets the latest value, and misses older ones
// that it was too slow for. Use one for one Run.
type LeaderChannel struct {
	latest chan LeaderInformation
}

// NewLeaderChannel returns a channel without a value.
func NewLeaderChannel() *LeaderChannel {
	return &LeaderChannel{latest: make(chan LeaderInformation, 1)} // the one slot is the latest value
}

// C gives each change once. It is never closed.
func (c *LeaderChannel) C() <-chan LeaderInformation { return c.latest }

// NotifyLeader implements LeaderRetrievalListener.
func (c *LeaderChannel) NotifyLeader(l LeaderInformation) {
	select {
	case <-c.latest:
	default:
	}
	c.latest <- l // there is room: nobody else sends
}

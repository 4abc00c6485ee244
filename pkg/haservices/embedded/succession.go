package embedded

import (
	"context"
	"fmt"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/protocol"
)

var (
	_ haservices.Successor  = (*Term)(nil)
	_ haservices.Chronicler = (*Driver)(nil)
)

// departure is how the last leader of a component left.
type departure struct {
	process   haservices.Contender
	why       protocol.SuccessionReason // "" while nobody has left
	at        time.Time
	lastHeard time.Time // zero if it was heard to the end
}

// lossReason is why d's session ends. It needs cluster.mu.
func (d *Driver) lossReason() protocol.SuccessionReason {
	switch {
	case d.dead:
		return protocol.ProcessGone
	case d.frozen:
		return protocol.Silent
	case d.closing:
		return protocol.Resigned
	default:
		return protocol.SessionLost
	}
}

// succession is how k comes to lead now. It needs cluster.mu.
func (e *election) succession(k *contender) haservices.Succession {
	s := haservices.Succession{Epoch: e.epoch, Leader: k.me, Reason: protocol.FirstLeader, Detected: k.since, Won: time.Now()}
	if e.left.why == "" {
		return s
	}
	before := e.left.process
	s.Predecessor, s.Reason = &before, e.left.why
	if e.left.at.After(s.Detected) {
		s.Detected = e.left.at
	}
	if s.Reason == protocol.Silent {
		s.LastHeard = e.left.lastHeard
	}
	return s
}

// Succession implements haservices.Successor.
func (t *Term) Succession() haservices.Succession { return t.how }

// Succession implements haservices.Chronicler.
func (d *Driver) Succession(ctx context.Context, c haservices.Component) (how haservices.Succession, err error) {
	err = d.do(ctx, "succession", c.Path(), haservices.ErrUnavailable, func() error {
		leader := d.cluster.election(c).leader
		if leader == nil {
			return haservices.ErrNotFound
		}
		how = leader.how
		return nil
	})
	if err != nil {
		return haservices.Succession{}, fmt.Errorf("read leadership of %s: %w", c, err)
	}
	return how, nil
}

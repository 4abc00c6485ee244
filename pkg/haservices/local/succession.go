package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/haservices/internal/nodes"
	"github.com/tamias-project/tamias/pkg/protocol"
)

var (
	_ haservices.Successor  = (*Term)(nil)
	_ haservices.Chronicler = (*Driver)(nil)
)

// departure is the file beside a lock in which a holder that resigns, or who shoots a holder, says so. A
// holder that ends in any other way leaves none.
type departure struct {
	haservices.Contender
	Epoch     uint64                    `json:"epoch"`
	Reason    protocol.SuccessionReason `json:"reason"`
	At        time.Time                 `json:"at"`
	LastHeard time.Time                 `json:"last-heard,omitzero"`
}

func (l latch) departureFile() string { return filepath.Join(l.dir, "departure") }

// depart writes a departure. It is for people only, so a failure is passed over, and no disk is waited for.
func (l latch) depart(d departure) {
	_ = l.tree.ReplaceIn(l.departureFile(), nodes.Readable(haservices.EncodeRecord(d)), false)
}

// departed reads how the holder of that epoch left; the zero value when nothing says.
func (l latch) departed(epoch uint64) (d departure) {
	data, err := os.ReadFile(l.departureFile())
	if err != nil || haservices.DecodeRecord(data, &d) != nil || d.Epoch != epoch {
		return departure{}
	}
	return d
}

// succession is how the holder of the lock comes to lead. Its caller holds the lock, has raised the epoch,
// and has not yet described itself. noticed is when it learned that the lock is free.
func (d *Driver) succession(l latch, epoch uint64, me haservices.Contender, noticed time.Time) haservices.Succession {
	s := haservices.Succession{Epoch: epoch, Leader: me, Reason: protocol.FirstLeader, Detected: noticed, Won: time.Now()}
	if epoch == 1 {
		return s
	}
	before, left := l.holder(), l.departed(epoch-1)
	if before != nil && before.Epoch == epoch-1 && left.Reason == "" {
		left = d.shotBefore(before.Owner) // for the lock of another component, perhaps
	}
	switch {
	case left.Reason == protocol.Shot:
		s.Detected, s.LastHeard = left.At, left.LastHeard
		fallthrough
	case left.Reason != "":
		s.Reason, s.Predecessor = left.Reason, &left.Contender
	case before != nil && before.Epoch == epoch-1:
		s.Reason, s.Predecessor = protocol.ProcessGone, &before.Contender
	default:
		s.Reason = protocol.UnknownReason // its files were deleted
	}
	return s
}

// noteShot remembers that this process kills another.
func (d *Driver) noteShot(p nodes.Process, left departure) {
	d.shotMu.Lock()
	defer d.shotMu.Unlock()
	d.shot[p] = left
}

// shotBefore says how a process was shot by this one; the zero value if it was not.
func (d *Driver) shotBefore(p nodes.Process) departure {
	d.shotMu.Lock()
	defer d.shotMu.Unlock()
	return d.shot[p]
}

// Succession implements haservices.Successor.
func (t *Term) Succession() haservices.Succession { return t.how }

// Succession implements haservices.Chronicler.
func (d *Driver) Succession(ctx context.Context, c haservices.Component) (haservices.Succession, error) {
	if err := d.member.Usable(ctx); err != nil {
		return haservices.Succession{}, err
	}
	h := d.latch(c).holder()
	if h == nil {
		return haservices.Succession{}, fmt.Errorf("read leadership of %s: %w", c, haservices.ErrNotFound)
	}
	return haservices.Succession{
		Epoch: h.Epoch, Leader: h.Contender, Predecessor: h.Predecessor, Reason: h.Reason,
		LastHeard: h.LastHeard, Detected: h.Detected, Won: h.Since,
	}, nil
}

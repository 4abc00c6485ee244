package zookeeper

import (
	"context"
	"fmt"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

var (
	_ haservices.Successor  = (*Term)(nil)
	_ haservices.Chronicler = (*Driver)(nil)
)

// resignation is the content of leaderlatch/<component>_resigned: the last leader that went in order. One
// that went in any other way leaves none, so it is looked for under the epoch of the leader before.
type resignation struct {
	Epoch uint64 `json:"epoch"`
	haservices.Contender
	Why string    `json:"why"`
	At  time.Time `json:"at"`
}

// suspicion is the last eviction that a candidacy has tried.
type suspicion struct {
	process   id.Instance
	reason    protocol.SuccessionReason
	at        time.Time
	lastHeard time.Time // zero unless the process was silent
}

// suspects notes that the process behind the node before ours is about to be evicted.
func (k *candidacy) suspects(them latchNode, found verdict) {
	k.suspicion = suspicion{process: them.Process, reason: found.reason, at: time.Now(), lastHeard: found.lastHeard}
}

// succession is how this candidacy comes to lead, as far as is known before the epoch is raised.
func (k *candidacy) succession(before lastTerm) haservices.Succession {
	how := haservices.Succession{
		Epoch: uint64(before.latch.stat.Version) + 1, Leader: k.me, Reason: protocol.FirstLeader, Detected: k.noticed,
	}
	var last leadership
	if before.latch.stat.Version == 0 || haservices.DecodeRecord(before.latch.data, &last) != nil {
		return how
	}
	predecessor := last.Contender
	how.Predecessor = &predecessor
	if s := k.suspicion; s.process == predecessor.Process {
		how.Reason, how.Detected, how.LastHeard = s.reason, s.at, s.lastHeard
		return how
	}
	how.Reason = protocol.SessionLost
	if before.resigned.Epoch == last.Epoch {
		how.Reason = protocol.Resigned
	}
	return how
}

// Succession implements haservices.Successor.
func (t *Term) Succession() haservices.Succession { return t.how }

// Succession implements haservices.Chronicler.
func (d *Driver) Succession(ctx context.Context, c haservices.Component) (haservices.Succession, error) {
	n, err := d.Read(ctx, latchFolder+"/"+c.Path())
	if err != nil {
		return haservices.Succession{}, err
	}
	var l leadership
	if len(n.Data) == 0 || haservices.DecodeRecord(n.Data, &l) != nil {
		return haservices.Succession{}, fmt.Errorf("read leadership of %s: %w", c, haservices.ErrNotFound)
	}
	return haservices.Succession{
		Epoch: l.Epoch, Leader: l.Contender, Predecessor: l.Predecessor, Reason: l.Reason,
		LastHeard: l.LastHeard, Detected: l.Detected, Won: l.Since,
	}, nil
}

// farewell returns the operation that leaves a resignation behind, nil for a term that did not end in
// order. The node is set, or created if there is none yet.
func (t *Term) farewell(create bool) any {
	t.mu.Lock()
	why := t.why
	t.mu.Unlock()
	if why != endResigned && why != endSuspended {
		return nil
	}
	path := t.driver.resignedPath(t.component)
	data := encode(resignation{Epoch: t.token.Epoch(), Contender: t.how.Leader, Why: why, At: time.Now().UTC()})
	if create {
		return t.driver.client.creation(path, data, 0)
	}
	return &zk.SetDataRequest{Path: path, Data: data, Version: anyVersion}
}

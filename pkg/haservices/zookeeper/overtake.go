package zookeeper

import (
	"context"
	"errors"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// overtake gets in line and wins in one transaction, if there is nobody in line, or only a process that this one
// knows to be gone. That is how the job masters of a dead process are taken over, of which there may be
// thousands. Neither a term nor an error means: get in line.
//
// It is for job masters only, for which one process contends: the one that leads the Dispatcher. Of several
// that come at the same time, one might get in line before us and win after us, which would cost a change of
// leaders.
func (k *candidacy) overtake(ctx context.Context) (*Term, error) {
	if k.component.Kind != haservices.JobManager {
		return nil, nil
	}
	names, err := k.session.children(ctx, k.latch)
	if err != nil {
		return nil, nil // there is no latch yet, or we shall see again
	}
	var gone []any
	switch places := line(names); len(places) {
	case 0:
	case 1:
		path := k.latch + "/" + places[0].name
		n, err := k.session.get(ctx, path)
		var them latchNode
		if err != nil || haservices.DecodeRecord(n.data, &them) != nil {
			return nil, nil
		}
		known := k.driver.knows(them, n.stat)
		if known.why == "" {
			return nil, nil
		}
		k.suspects(them, known)
		gone = append(gone, deletion(path, known.version))
	default:
		return nil, nil
	}
	term, err := k.win(ctx, gone...)
	if errors.Is(err, zk.ErrNoNode) {
		return nil, nil // somebody has just cleaned up
	}
	return term, err
}

// knows says what this process has found out already about the one behind a latch node: a reason to evict it
// that needs no further question.
func (d *Driver) knows(them latchNode, stat *zk.Stat) verdict {
	if d.client.owns(stat.EphemeralOwner) {
		// Left over from a campaign or a session of ours that has ended.
		return verdict{why: "our own, from before", reason: protocol.SessionLost, version: anyVersion}
	}
	if since, condemned := d.isCondemned(them.Process, stat.Czxid); condemned {
		return verdict{
			why: "process was silent before", reason: protocol.Silent, lastHeard: since.Add(-d.cfg.ProbeTimeout), version: anyVersion,
		}
	}
	if d.hasEnded(them.Process) && !them.EvictedAlive {
		return verdict{why: "process is gone", reason: protocol.ProcessGone, version: anyVersion}
	}
	return verdict{}
}

// noteEnd remembers that a process was found to be gone, for as long as its nodes may outlive it.
func (d *Driver) noteEnd(p id.Instance) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for other, at := range d.finished {
		if now.Sub(at) > d.cfg.SessionTimeout {
			delete(d.finished, other)
		}
	}
	d.finished[p] = now
}

func (d *Driver) hasEnded(p id.Instance) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, known := d.finished[p]
	return known && time.Since(at) <= d.cfg.SessionTimeout
}

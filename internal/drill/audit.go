package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tamias-project/tamias/pkg/haservices"
)

// contenders are the processes that contend at a latch of the ZooKeeper backend, those included that have ended
// and whose session has not.
func (c *client) contenders(ctx context.Context, latch string) (list []haservices.Contender, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	path := "leaderlatch/" + latch
	names, err := c.driver.Children(ctx, path)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		node, err := c.driver.Read(ctx, path+"/"+name)
		if errors.Is(err, haservices.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var contender haservices.Contender
		if json.Unmarshal(node.Data, &contender) == nil {
			list = append(list, contender)
		}
	}
	return list, nil
}

// record is what the nodes below jobs/<id> have in common.
type record struct {
	// Epoch of the JobMaster that wrote it.
	Epoch uint64 `json:"epoch"`
}

// staleWrites counts records of the drilled job that were written under the epoch of a JobMaster although a
// later one had written the same record, or one like it, before: the later one has stored its ledger and a
// checkpoint by now, so the ledger, the counter and the newest checkpoint are its.
func (d *drill) staleWrites(ctx context.Context, before haservices.LeaderInformation) (stale int64, err error) {
	if d.master.last().leader.Token.Epoch() <= before.Token.Epoch() {
		return 0, nil // nobody came after it
	}
	job := "jobs/" + d.job.id.String() + "/"
	paths := []string{job + "executions", job + "checkpoint_id_counter"}
	checkpoints, err := d.client.driver.Children(ctx, job+"checkpoints")
	if err != nil {
		return 0, fmt.Errorf("look for writes of the old leader: %w", err)
	}
	if n := len(checkpoints); n > 0 {
		paths = append(paths, job+"checkpoints/"+checkpoints[n-1])
	}
	for _, path := range paths {
		node, err := d.client.driver.Read(ctx, path)
		if errors.Is(err, haservices.ErrNotFound) {
			continue // subsumed meanwhile
		}
		if err != nil {
			return 0, fmt.Errorf("look for writes of the old leader: %w", err)
		}
		var r record
		if err := json.Unmarshal(node.Data, &r); err != nil {
			return 0, fmt.Errorf("look for writes of the old leader: %s: %w", path, err)
		}
		if r.Epoch != 0 && r.Epoch <= before.Token.Epoch() {
			stale++
		}
	}
	return stale, nil
}

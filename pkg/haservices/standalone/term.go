package standalone

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
)

// Campaign implements haservices.Driver: it is won at once, or ErrContended.
func (d *Driver) Campaign(ctx context.Context, c haservices.Component, me haservices.Contender) (haservices.Term, error) {
	if err := d.member.Usable(ctx); err != nil {
		return nil, err
	}
	if err := d.member.Claim(c); err != nil {
		return nil, err
	}
	t := &Term{driver: d, component: c, me: me, lost: make(chan struct{})}
	if d.hasEpochs(c) {
		epoch, err := d.nextEpoch(c)
		if err != nil {
			d.member.Withdraw(c)
			return nil, fmt.Errorf("campaign for %s: %w", c, err)
		}
		t.token = id.NewFencingToken(epoch)
		d.leaders.Withdraw(c, nil) // what an ended process left
	}
	if !d.member.Settle(c, t) {
		return nil, haservices.ErrClosed
	}
	return t, nil
}

func (d *Driver) epochDir(c haservices.Component) string {
	return d.tree.File("leaderlatch/" + c.Path())
}

const epochPrefix = "epoch-"

// nextEpoch creates the next epoch file of c. Exclusive creation decides if two processes try at a time.
func (d *Driver) nextEpoch(c haservices.Component) (uint64, error) {
	dir := d.epochDir(c)
	for {
		last, err := latestEpoch(dir)
		if err != nil {
			return 0, err
		}
		err = d.createEpoch(dir, last+1)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if last > 0 {
			_ = os.Remove(filepath.Join(dir, epochFile(last))) // the present one is enough
		}
		return last + 1, nil
	}
}

func epochFile(epoch uint64) string { return epochPrefix + strconv.FormatUint(epoch, 10) }

func (d *Driver) createEpoch(dir string, epoch uint64) error {
	if err := d.tree.MakeDirectory(dir); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, epochFile(epoch)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	parent, err := os.Open(dir)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close(), parent.Sync(), parent.Close())
}

// latestEpoch is the highest epoch that has a file in dir, 0 if none has.
func latestEpoch(dir string) (uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: %w", haservices.ErrUnavailable, err)
	}
	var latest uint64
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), epochPrefix)
		epoch, err := strconv.ParseUint(number, 10, 48)
		if ok && err == nil {
			latest = max(latest, epoch)
		}
	}
	return latest, nil
}

// Term is one leadership. Only this process can end it, except that of a job master whose epoch is not
// the highest any more: then another JobManager was started on the same directory.
type Term struct {
	driver    *Driver
	component haservices.Component
	me        haservices.Contender
	token     id.FencingToken
	lost      chan struct{}

	mu   sync.Mutex // guards over; held for a write, so that Resign waits for it
	over bool
}

// Token implements haservices.Term.
func (t *Term) Token() id.FencingToken { return t.token }

// Lost implements haservices.Term.
func (t *Term) Lost() <-chan struct{} { return t.lost }

// fence needs t.mu.
func (t *Term) fence(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if t.over {
		return haservices.ErrNotLeader
	}
	if !t.driver.hasEpochs(t.component) {
		return nil
	}
	epoch, err := latestEpoch(t.driver.epochDir(t.component))
	if err == nil && epoch != t.token.Epoch() {
		t.end()
		return fmt.Errorf("%w: epoch %d has begun", haservices.ErrNotLeader, epoch)
	}
	return err
}

// end needs t.mu.
func (t *Term) end() {
	t.over = true
	t.driver.member.Forget(t.component, t) // first: who sees Lost may contend again
	close(t.lost)
}

// Publish implements haservices.Term. Only job masters with epochs have anything to tell.
func (t *Term) Publish(ctx context.Context, address string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.fence(ctx)
	if err == nil && t.driver.hasEpochs(t.component) {
		err = t.driver.leaders.Publish(t.component, t.me, t.token, address)
	}
	if err != nil {
		return fmt.Errorf("publish leader of %s: %w", t.component, err)
	}
	return nil
}

// Write implements haservices.Term.
func (t *Term) Write(ctx context.Context, w haservices.Write) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.fence(ctx)
	if err == nil {
		err = t.driver.nodes.Apply(w)
	}
	if err != nil {
		return fmt.Errorf("write node %s: %w", w.Path, err)
	}
	return nil
}

// Resign implements haservices.Term.
func (t *Term) Resign(context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	if t.driver.hasEpochs(t.component) {
		t.driver.leaders.Withdraw(t.component, &t.token)
	}
	t.end()
}

package embedded

import (
	"context"
	"fmt"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// Term is one leadership of a simulated process.
type Term struct {
	driver    *Driver
	component haservices.Component
	token     id.FencingToken
	how       haservices.Succession
	lost      chan struct{}

	// Guarded by the cluster's mu.
	over     bool // the cluster has taken it back
	resigned bool // the process has given it up
	told     bool // lost is closed
}

func newTerm(d *Driver, c haservices.Component, how haservices.Succession) *Term {
	return &Term{driver: d, component: c, token: id.NewFencingToken(how.Epoch), how: how, lost: make(chan struct{})}
}

// closeLost needs the cluster's mu.
func (t *Term) closeLost() {
	if !t.told {
		t.told = true
		close(t.lost)
	}
}

// Token implements haservices.Term.
func (t *Term) Token() id.FencingToken { return t.token }

// Lost implements haservices.Term.
func (t *Term) Lost() <-chan struct{} { return t.lost }

// Publish implements haservices.Term.
func (t *Term) Publish(ctx context.Context, address string) error {
	c := t.driver.cluster
	err := t.driver.do(ctx, "publish", t.component.Path(), haservices.ErrUnknownOutcome, func() error {
		err := t.fence()
		if err == nil {
			c.election(t.component).published = haservices.LeaderInformation{Address: address, Token: t.token}
			c.notify()
		}
		c.recordWrite(t, "publish", t.component.Path(), err)
		return err
	})
	if err != nil {
		return fmt.Errorf("publish leader of %s: %w", t.component, err)
	}
	return nil
}

// Write implements haservices.Term.
func (t *Term) Write(ctx context.Context, w haservices.Write) error {
	c := t.driver.cluster
	operation := operationNames[w.Operation]
	err := t.driver.do(ctx, operation, w.Path, haservices.ErrUnknownOutcome, func() error {
		err := t.fence()
		if err == nil {
			err = c.nodes.Apply(w)
		}
		c.recordWrite(t, operation, w.Path, err)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s node %s: %w", operation, w.Path, err)
	}
	return nil
}

var operationNames = map[haservices.Operation]string{
	haservices.Create: "create", haservices.Set: "set", haservices.Put: "put", haservices.Delete: "delete",
}

// fence needs the cluster's mu.
func (t *Term) fence() error {
	if t.over || t.resigned || t.driver.cluster.election(t.component).epoch != t.token.Epoch() {
		return haservices.ErrNotLeader
	}
	return nil
}

// Resign implements haservices.Term. A process that is frozen or cut off resigns in its own eyes at
// once; the cluster learns of it when the process is back.
func (t *Term) Resign(ctx context.Context) {
	c := t.driver.cluster
	c.mu.Lock()
	t.resigned = true
	t.closeLost()
	if t.driver.running() {
		c.end(t, protocol.Resigned)
		c.tell(t.driver)
	}
	c.mu.Unlock()
	// back ends the term when the process can speak again; an ended ctx does not wait for that.
	_ = c.await(ctx, func() bool { return t.over || t.driver.closed })
}
